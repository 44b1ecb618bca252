"""A recurrent convolutional network: words in their context, convolved and pooled into one vector for each sentence.

::

    e[t]    = embedding[ids[t]]
    y       = LSTM in both directions over e                      what stands before and after the word
    x[t]    = (e[t], dropout(y[t]))                               0 at or beyond the row's length
    z_k     = relu(conv_k(x))                                     for each kernel size k, "valid"
    r       = (mean z_k for each k, max z_k for each k)           over the windows of the row
    out     = r · W_outᵀ + b_out

A row with fewer than k words has no window of k: it is padded with zeros to k words and has one.

====  =======================================================
T, B  steps and rows
E, H  columns of the embedding, units of the LSTM a direction
F     filters of each convolution
K     kernel sizes
====  =======================================================

After S. Lai, L. Xu, K. Liu and J. Zhao, "Recurrent convolutional neural networks for text classification", 2015, in
the variant of document 001: no shift of the contexts, several kernels, ReLU in place of tanh, the mean beside the
maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_device
from fusedrnn.functional import kept
from fusedrnn.layers import LSTM
from fusedrnn.module import Module
from fusedrnn.nn import Conv1d, Dropout, Embedding, Linear, MaxPool, MeanPool
from fusedrnn.random import MAX_SEED
from fusedrnn.saved import Saved, expect


class RCNN(Module):
    """Embedding, LSTM in both directions, convolutions of several widths over both, mean and maximum, linear map.

    Parameters
    ----------
    vocabulary_size : number of ids
    outputs : columns of the output
    embed_size : E
    hidden_size : H
    filters : F
    kernel_sizes : K different numbers >= 1
    dropout : probability of dropping an output of the LSTM in training
    one_bias : keep the LSTM's second bias vectors at zero
        They are then left out of the gradients and named in `frozen`.
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
    forget_bias : of the LSTM's forget gates at the start, None leaves it to `init`
    seed : of initial values and dropout masks, 0 <= seed < 2**64; None takes one from the operating system
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU

    Attributes
    ----------
    device : str
    embedding : Embedding
    rnn : LSTM
    conv1, conv2, ... : Conv1d, one for each kernel size
    output : Linear
    frozen : tuple of str
        Names of parameters that no optimiser may move: ``fr.optim.Group(model.frozen, frozen=True)``.

    Raises
    ------
    ValueError
        A size is smaller than 1, a kernel size comes twice, or `dropout` is no probability.

    Examples
    --------
    >>> model = fr.models.RCNN(vocabulary_size=30, outputs=2, embed_size=5, hidden_size=4, filters=3, seed=1)
    >>> ids = np.array([[1, 5], [7, 0], [2, 0]])
    >>> out, saved = model.forward(ids, lengths=[3, 1])
    >>> out.shape
    (2, 2)
    >>> grads = model.backward(saved, np.ones_like(out))
    >>> sorted(grads) == sorted(model.state_dict())
    True
    """

    def __init__(
        self,
        vocabulary_size: int,
        outputs: int,
        *,
        embed_size: int = 100,
        hidden_size: int = 128,
        filters: int = 128,
        kernel_sizes: Sequence[int] = (1, 2, 3, 4),
        dropout: float = 0.0,
        one_bias: bool = False,
        init: Any = "torch",
        forget_bias: float | None = None,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        where = "RCNN"
        self.kernel_sizes = tuple(checks.integer(where, "kernel_sizes", size, 1) for size in kernel_sizes)
        if not self.kernel_sizes or len(set(self.kernel_sizes)) < len(self.kernel_sizes):
            raise ValueError(f"{where}: kernel_sizes must be different, at least one, got {self.kernel_sizes}")
        filters = checks.integer(where, "filters", filters, 1)
        one_bias = checks.boolean(where, "one_bias", one_bias)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        seed = checks.integer(where, "seed", seed, 0, MAX_SEED)
        # Each part draws from a seed of its own: with one seed, equal draws would appear in several matrices.
        words = np.random.SeedSequence(seed).generate_state(4 + len(self.kernel_sizes), np.uint64)
        seeds = iter(int(word) for word in words)
        shared = {"init": init, "dtype": dtype, "device": device}
        self._backend = of_device(where, device)
        self.device = self._backend.name

        self.embedding = Embedding(vocabulary_size, embed_size, **shared, seed=next(seeds))
        self.rnn = LSTM(
            embed_size, hidden_size, bidirectional=True, forget_bias=forget_bias, **shared, seed=next(seeds)
        )
        self.output = Linear(2 * len(self.kernel_sizes) * filters, outputs, **shared, seed=next(seeds))
        self._drop = Dropout(dropout, seed=next(seeds))
        for size in self.kernel_sizes:
            conv = Conv1d(embed_size + 2 * hidden_size, filters, size, **shared, seed=next(seeds))
            setattr(self, f"conv{size}", conv)
        self._mean, self._max = MeanPool(), MaxPool()
        self.frozen = ("rnn.bias_hh_l0", "rnn.bias_hh_l0_reverse") if one_bias else ()
        with self.writable() as parameters:
            for name in self.frozen:
                parameters[name][:] = 0

    def __call__(self, ids: np.ndarray, *, lengths: Any = None) -> np.ndarray:
        """The output alone, for inference: nothing is kept and nothing dropped.

        Parameters
        ----------
        ids, lengths : as for `forward`
        """
        e = self.embedding(ids)
        y, _ = self.rnn(e, lengths=lengths)
        x, real = self._join(e, y, lengths)
        means, maxima = [], []
        for size, conv in self._convs().items():
            longer = np.maximum(real, size)
            z = np.maximum(conv(x, lengths=longer), 0)
            windows = conv.lengths(longer)
            means.append(self._mean(z, lengths=windows))
            maxima.append(self._max(z, lengths=windows))
        return self.output(np.concatenate(means + maxima, axis=1))

    def forward(
        self,
        ids: np.ndarray,
        *,
        lengths: Any = None,
        training: bool = True,
        step: int = 0,
        row_offset: int = 0,
        checkpoint_every: int | None = None,
    ) -> tuple[np.ndarray, Saved]:
        """Compute the output and keep what `backward` needs.

        Parameters
        ----------
        ids : (T, B) integer array
        lengths : (B) integers, 0 <= length <= T; None: T each
            Ids at or beyond a row's length must be in the vocabulary, and change nothing.
        training : False turns dropout off
        step, row_offset : coordinates of the dropout masks, see `fusedrnn.random`
        checkpoint_every : as for `forward` of the recurrent layers, for long sequences: less memory, the same bits

        Returns
        -------
        out : (B, outputs) array
        saved : Saved, for one `backward`

        Raises
        ------
        TypeError, ValueError
            As the parts raise them, or `checkpoint_every` is no integer >= 1.
        """
        if checkpoint_every is not None:
            checks.integer("RCNN.forward", "checkpoint_every", checkpoint_every, 1)
        parts: dict[str, Saved] = {}
        e, parts["embedding"] = self.embedding.forward(ids)
        y, _, parts["rnn"] = self.rnn.forward(e, lengths=lengths, checkpoint_every=checkpoint_every)
        y, parts["drop"] = self._drop.forward(y, training=training, step=step, row_offset=row_offset)
        x, real = self._join(e, y, lengths)
        means: list[np.ndarray] = []
        maxima: list[np.ndarray] = []
        positive: dict[int, np.ndarray] = {}
        for size, conv in self._convs().items():
            longer = np.maximum(real, size)
            z, parts[f"conv{size}"] = conv.forward(x, lengths=longer)
            positive[size] = z > 0
            z = np.maximum(z, 0)
            windows = conv.lengths(longer)
            for name, pool, pooled in (("mean", self._mean, means), ("max", self._max, maxima)):
                r, parts[f"{name}{size}"] = pool.forward(z, lengths=windows)
                pooled.append(r)
        out, parts["output"] = self.output.forward(np.concatenate(means + maxima, axis=1))
        return out, Saved(self, parts=parts, positive=positive, lengths=real, steps=len(e))

    def backward(self, saved: Saved, dout: np.ndarray, *, retain: bool = False) -> dict[str, np.ndarray]:
        """Gradients for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : gradient of the loss with respect to `out`
        retain : keep `saved` for another backward

        Returns
        -------
        grads : names and shapes of ``state_dict()``, without those in `frozen`

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "RCNN.backward"
        retain = checks.boolean(where, "retain", retain)
        fields = expect(where, saved).take(where, retain, self)
        parts: dict[str, Saved] = fields.parts
        grads: dict[str, dict[str, np.ndarray]] = {}
        dr: Any
        dy: Any
        de: Any

        # out, parts["output"] = self.output.forward(np.concatenate(means + maxima, axis=1))
        dr, grads["output"] = self.output.backward(parts["output"], dout, retain=retain)
        dmeans, dmaxima = (np.split(half, len(self.kernel_sizes), axis=1) for half in np.split(dr, 2, axis=1))
        dx: Any = 0
        for (size, conv), dmean, dmax in zip(self._convs().items(), dmeans, dmaxima, strict=True):
            # r, parts[...] = pool.forward(z), twice
            dz = self._mean.backward(parts[f"mean{size}"], dmean, retain=retain)[0]
            dz += self._max.backward(parts[f"max{size}"], dmax, retain=retain)[0]
            # z = np.maximum(z, 0)
            dz *= fields.positive[size]
            # z, parts[...] = conv.forward(x)
            dwindows, grads[f"conv{size}"] = conv.backward(parts[f"conv{size}"], dz, retain=retain)
            dx += dwindows
        # x, real = self._join(e, y, lengths)
        dx = kept(dx[: fields.steps], fields.lengths)
        de, dy = dx[:, :, : self.embedding.embedding_dim], dx[:, :, self.embedding.embedding_dim :]
        # y, parts["drop"] = self._drop.forward(y)
        dy, _ = self._drop.backward(parts["drop"], dy, retain=retain)
        # y, _, parts["rnn"] = self.rnn.forward(e)
        through, _, grads["rnn"] = self.rnn.backward(parts["rnn"], dy, retain=retain)
        # e, parts["embedding"] = self.embedding.forward(ids)
        _, grads["embedding"] = self.embedding.backward(parts["embedding"], de + through, retain=retain)
        named = {f"{part}.{name}": value for part, values in grads.items() for name, value in values.items()}
        return {name: value for name, value in named.items() if name not in self.frozen}

    def _convs(self) -> dict[int, Conv1d]:
        return {size: getattr(self, f"conv{size}") for size in self.kernel_sizes}

    def _join(self, e: np.ndarray, y: np.ndarray, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
        """x (max(T, largest k), B, E + 2·H), zero at or beyond the lengths; and these as a NumPy array (B,)."""
        steps, rows, columns = e.shape
        real = np.full(rows, steps) if lengths is None else np.asarray(lengths)
        x = self._backend.zeros((max(steps, *self.kernel_sizes), rows, columns + y.shape[2]), e.dtype)
        x[:steps] = kept(np.concatenate([e, y], axis=2), real)
        return x, real
