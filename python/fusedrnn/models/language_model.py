"""A recurrent language model: which token comes next, given all tokens so far.

::

    x[t] = dropout(embedding[ids[t]])            or the one-hot vector of ids[t]
    y, state = rnn(x, state)                     dropout between layers too
    logits[t] = dropout(y[t]) · W_outᵀ + b_out
    loss = cross entropy of softmax(logits[t]) against targets[t]

====  =======================================================
T, B  steps and rows
V     tokens in the vocabulary
E, H  columns of the embedding, hidden size
====  =======================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.backends import of_device
from fusedrnn.layers import GRU, LSTM, RNN, OneHot
from fusedrnn.module import Module
from fusedrnn.nn import Dropout, Embedding, Linear
from fusedrnn.random import MAX_SEED, part_seeds
from fusedrnn.saved import Saved, expect

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
REDUCTIONS = ("mean", "sum_over_steps")
CONFIG_NAMES = (
    "vocabulary_size",
    "hidden_size",
    "embed_size",
    "num_layers",
    "cell",
    "dropout",
    "one_bias",
    "seed",
    "dtype",
)

Reduction = Literal["mean", "sum_over_steps"]
State = Any


class LanguageModel(Module):
    """Embedding or one-hot input, recurrent layers, a linear map to one number per token.

    Parameters
    ----------
    vocabulary_size : V
    hidden_size : H
    embed_size : E, or None for one-hot input, which is an index lookup and has no embedding
    num_layers : recurrent layers
    cell : {"lstm", "gru", "rnn"}
        "rnn" uses tanh.
    dropout : probability of dropping, on the embedding and on the output of each recurrent layer
    one_bias : keep the second bias vector of every cell at zero, as in textbooks, which have only one
        It is left out of the gradients and named in `frozen`.
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
    forget_bias : of an LSTM's forget gate at the start, None leaves it to `init`
    seed : of initial values and dropout masks, 0 <= seed < 2**64; None takes one from the operating system
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU

    Attributes
    ----------
    embedding : Embedding, absent with one-hot input
    rnn : LSTM, GRU or RNN
    output : Linear
    dtype : numpy.dtype
    device : str
    frozen : tuple of str
        Names of parameters that no optimiser may move: ``fr.optim.Group(model.frozen, frozen=True)``.

    Raises
    ------
    ValueError
        A size is smaller than 1, `dropout` is not a probability, `cell` is unknown, or `forget_bias` is given to a
        cell that has no forget gate.

    Examples
    --------
    >>> model = fr.models.LanguageModel(vocabulary_size=30, hidden_size=8, embed_size=5, seed=1)
    >>> ids, targets = np.zeros((7, 2), "int32"), np.ones((7, 2), "int32")
    >>> loss, state, saved = model.forward(ids, targets)
    >>> grads = model.backward(saved)
    >>> sorted(grads) == sorted(model.state_dict())
    True
    >>> logits, state = model(ids)
    >>> logits.shape
    (7, 2, 30)
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_size: int,
        *,
        embed_size: int | None = None,
        num_layers: int = 1,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        dropout: float = 0.0,
        one_bias: bool = False,
        init: Any = "torch",
        forget_bias: float | None = None,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        where = "LanguageModel"
        self.vocabulary_size = checks.integer(where, "vocabulary_size", vocabulary_size, 1)
        self.hidden_size = checks.integer(where, "hidden_size", hidden_size, 1)
        self.embed_size = None if embed_size is None else checks.integer(where, "embed_size", embed_size, 1)
        self.num_layers = checks.integer(where, "num_layers", num_layers, 1)
        self.cell = checks.choice(where, "cell", cell, CELLS)
        self.dropout = checks.real(where, "dropout", dropout, 0.0, 1.0)
        self.one_bias = checks.boolean(where, "one_bias", one_bias)
        if forget_bias is not None and cell != "lstm":
            raise ValueError(f"{where}: forget_bias must be None for a {cell}, which has no forget gate")
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        self.seed = checks.integer(where, "seed", seed, 0, MAX_SEED)

        self._backend = of_device(where, device)
        self.device = self._backend.name

        seeds = part_seeds(self.seed, 4)
        shared = {"init": init, "dtype": dtype, "device": device}
        if self.embed_size is not None:
            self.embedding = Embedding(self.vocabulary_size, self.embed_size, **shared, seed=seeds[0])
        self.rnn = CELLS[cell](
            self.vocabulary_size if self.embed_size is None else self.embed_size,
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            **({"forget_bias": forget_bias} if cell == "lstm" else {}),
            **shared,
            seed=seeds[1],
        )
        self.output = Linear(self.hidden_size, self.vocabulary_size, **shared, seed=seeds[2])
        self.frozen = tuple(f"rnn.bias_hh_l{layer}" for layer in range(self.num_layers)) if self.one_bias else ()
        with self.writable() as parameters:
            for name in self.frozen:
                parameters[name][:] = 0
        self.dtype = self.output.dtype
        self._drop_input = Dropout(self.dropout, seed=seeds[3], site=0)
        self._drop_output = Dropout(self.dropout, seed=seeds[3], site=1)

    def config(self) -> dict[str, Any]:
        """What `from_config` needs to build a model of the same form, ready for JSON.

        `init` and `forget_bias` are not in it: they say where training starts, and the weights say where it is. Nor is
        `device`: weights move from one to another.

        Examples
        --------
        >>> model = fr.models.LanguageModel(30, 8, cell="gru", seed=1)
        >>> fr.models.LanguageModel.from_config(model.config()).config() == model.config()
        True
        """
        return {name: getattr(self, name) for name in CONFIG_NAMES} | {"dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, device: str = "cpu") -> LanguageModel:
        """A model of the form that `config` describes, with fresh weights; load them with `load_state_dict`."""
        checks.names("LanguageModel.from_config", config, CONFIG_NAMES)
        return cls(**config, device=device)

    def forward(
        self,
        ids: np.ndarray,
        targets: np.ndarray,
        state: State = None,
        *,
        training: bool = True,
        step: int = 0,
        row_offset: int = 0,
        reduction: Reduction = "mean",
        checkpoint_every: int | None = None,
    ) -> tuple[Any, State, Saved]:
        """Predict `targets` from `ids` and keep what `backward` needs.

        Parameters
        ----------
        ids : (T, B) integer array, each 0 <= id < V
        targets : (T, B) integer array
        state : of the recurrent layers, None for zeros
        training : False turns dropout off
        step, row_offset : coordinates of the dropout masks, see `fusedrnn.random`
        reduction : {"mean", "sum_over_steps"}
            "mean" is the mean over all T*B predictions; "sum_over_steps" adds up the steps and takes the mean over
            the rows, which is T times as much.
        checkpoint_every : as for `forward` of the recurrent layers, for long sequences: less memory, the same bits

        Returns
        -------
        loss : float, in nats; on a GPU an array without axes, so that nothing waits
        state : after the last step, to go on from
        saved : Saved, for one `backward`

        Raises
        ------
        TypeError, ValueError
            Arguments do not fit, or an id is outside the vocabulary. On a GPU ids are not looked at, and such a one
            makes the loss NaN.
        """
        where = "LanguageModel.forward"
        ids = self._check_ids(where, ids)
        targets = self._check_ids(where, targets, "targets")
        checks.shape(where, "targets", targets, "(T, B)", ids.shape)
        checks.choice(where, "reduction", reduction, REDUCTIONS)
        if checkpoint_every is not None:
            checks.integer(where, "checkpoint_every", checkpoint_every, 1)
        coordinates: dict[str, Any] = {
            "training": checks.boolean(where, "training", training),
            "step": step,
            "row_offset": row_offset,
        }
        dropping = training and self.dropout > 0
        parts: dict[str, Saved] = {}

        if self.embed_size is None:
            x: Any = OneHot(ids, self.vocabulary_size)
        else:
            x, parts["embedding"] = self.embedding.forward(ids)
            if dropping:
                x, parts["drop_input"] = self._drop_input.forward(x, **coordinates)
        y, state, parts["rnn"] = self.rnn.forward(x, state, **coordinates, checkpoint_every=checkpoint_every)
        if dropping:
            y, parts["drop_output"] = self._drop_output.forward(y, **coordinates)
        output = self.output.parameters()
        loss, parts["output"] = functional.linear_cross_entropy_forward(
            y,
            output["weight"],
            output["bias"],
            targets,
            scale=len(ids) if reduction == "sum_over_steps" else 1,
            training=training,
            where=where,
        )
        return loss, state, Saved(self, parts=parts)

    def backward(self, saved: Saved, dloss: float = 1.0, *, retain: bool = False) -> dict[str, np.ndarray]:
        """Gradients of the loss that `forward` returned with `saved`.

        The gradient stops at the initial state: this is truncated backpropagation through time.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dloss : factor on all gradients
        retain : keep `saved` for another backward

        Returns
        -------
        grads : names and shapes of ``state_dict()``, without those in `frozen`

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "LanguageModel.backward"
        retain = checks.boolean(where, "retain", retain)
        fields = expect(where, saved).take(where, retain, self)
        parts = fields.parts

        # loss, parts["output"] = linear_cross_entropy_forward(y, weight, bias, targets)
        dy: Any
        dy, dweight, dbias = functional.linear_cross_entropy_backward(parts["output"], dloss, retain=retain)
        # y, parts["drop_output"] = self._drop_output.forward(y)
        if "drop_output" in parts:
            dy, _ = self._drop_output.backward(parts["drop_output"], dy, retain=retain)
        # y, state, parts["rnn"] = self.rnn.forward(x, state)
        dx: Any
        dx, _, rnn_grads = self.rnn.backward(parts["rnn"], dy, retain=retain)
        grads = {"rnn": rnn_grads, "output": {"weight": dweight, "bias": dbias}}
        if self.embed_size is not None:
            # x, parts["drop_input"] = self._drop_input.forward(x)
            if "drop_input" in parts:
                dx, _ = self._drop_input.backward(parts["drop_input"], dx, retain=retain)
            # x, parts["embedding"] = self.embedding.forward(ids)
            _, grads["embedding"] = self.embedding.backward(parts["embedding"], dx, retain=retain)
        named = {f"{part}.{name}": value for part, values in grads.items() for name, value in values.items()}
        return {name: value for name, value in named.items() if name not in self.frozen}

    def __call__(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """Logits (T, B, V) after each of `ids` (T, B), and the state after the last step; saves and drops nothing."""
        y, state = self._run("LanguageModel", ids, state)
        return self.output(y), state

    def _run(self, where: str, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Outputs of the recurrent layers (T, B, H) and their state."""
        ids = self._check_ids(where, ids)
        x = OneHot(ids, self.vocabulary_size) if self.embed_size is None else self.embedding(ids)
        y, state = self.rnn(x, state)
        return y, state

    def _check_ids(self, where: str, ids: Any, name: str = "ids") -> np.ndarray:
        found: np.ndarray = self._backend.integers(where, name, ids)
        if found.ndim != 2:
            raise ValueError(f"{where}: {name} must have shape (T, B), got {found.shape}")
        return found

    def sample(
        self,
        prompt_ids: np.ndarray,
        length: int,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: np.random.Generator | None = None,
    ) -> np.ndarray:
        """Go on after a prompt, one token at a time.

        Parameters
        ----------
        prompt_ids : (N,) integer array in host memory, N >= 1
        length : how many ids to add
        temperature : > 0, divides the logits: below 1 likely tokens become more likely, above 1 less
        greedy : take the most likely token (of equal ones the first) instead of drawing
        generator : what draws; needed unless `greedy`

        Returns
        -------
        (length,) int32 array in host memory, without the prompt

        Raises
        ------
        ValueError
            The prompt is empty, a number is out of range, or the model's logits are not finite.

        Examples
        --------
        >>> model = fr.models.LanguageModel(30, 8, seed=1)
        >>> ids = model.sample(np.array([3, 4]), 5, generator=np.random.default_rng(0))
        >>> ids.shape, ids.dtype.name
        ((5,), 'int32')
        """
        where = "LanguageModel.sample"
        length = checks.integer(where, "length", length, 0)
        temperature = checks.real(where, "temperature", temperature, 0.0, np.inf, open_low=True)
        greedy = checks.boolean(where, "greedy", greedy)
        if not isinstance(prompt_ids, np.ndarray) or prompt_ids.ndim != 1 or not prompt_ids.size:
            raise ValueError(f"{where}: prompt_ids must have shape (N,), N >= 1, got {checks.describe(prompt_ids)}")
        if not greedy and not isinstance(generator, np.random.Generator):
            raise TypeError(f"{where}: generator must be a numpy.random.Generator, got {checks.describe(generator)}")
        chosen = np.empty(length, dtype=np.int32)
        own, host = self._backend.own, self._backend.host
        ids, state = own(prompt_ids[:, None]), None
        for position in range(length):
            y, state = self._run(where, ids, state)
            logits = host(self.output(y[-1, 0])).astype(np.float64)
            if not np.isfinite(logits).all():
                raise ValueError(f"{where}: logits must be finite, got {logits[np.argmin(np.isfinite(logits))]}")
            chosen[position] = logits.argmax() if generator is None or greedy else _draw(logits, temperature, generator)
            ids = own(chosen[position : position + 1, None])
        return chosen


def _draw(logits: np.ndarray, temperature: float, generator: np.random.Generator) -> int:
    """Draw from softmax(logits / temperature) (V,) by one uniform number and the running sum of the probabilities."""
    with np.errstate(over="ignore"):  # at a tiny temperature all but the largest become exp(-inf) = 0, as they should
        exponentials = np.exp((logits - logits.max()) / temperature)
    sums = exponentials.cumsum()
    drawn = np.searchsorted(sums, generator.random() * sums[-1], side="right")
    # Rounding may put the product at the last sum itself.
    return int(min(drawn, np.flatnonzero(exponentials)[-1]))
