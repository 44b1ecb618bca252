"""Recurrent layers between a map of the input and a map of the output: for regression and classification.

::

    u = inputs(x)                                  Embedding, Linear, or x itself
    y, state = rnn(u, state, lengths)
    r = read(dropout(y))                           every step, or one vector for each row
    out = output(r)                                Linear

What `read` takes of a row:

=======  ==========================================================================================
"all"    every step
"last"   y at the row's last step; there a reverse direction has read a single step
"final"  the final state of the last layer, both directions: each has read the whole row
"mean"   the mean of y over the row's steps
"max"    the largest of each column over the row's steps
=======  ==========================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.functional import dense
from fusedrnn.module import Module
from fusedrnn.nn import Dropout, Embedding, LastPool, Linear, MaxPool, MeanPool
from fusedrnn.recurrent import Recurrent
from fusedrnn.saved import Saved, expect

POOLS = {"last": LastPool, "mean": MeanPool, "max": MaxPool}
READS = ("all", "final", *POOLS)


class SequenceModel(Module):
    """Recurrent layers with a map of the input and a linear map of what is read of their output.

    Parameters
    ----------
    rnn : RNN, GRU or LSTM, time-major
    output : Linear, from D*P columns
    inputs : Embedding or Linear for each step; None: x goes to the recurrent layers as it is
    read : {"all", "final", "last", "mean", "max"}, see the table above
    dropout : Dropout of the recurrent layers' output, or of the state where that is read; None: nothing is dropped

    Attributes
    ----------
    device : str, that of all parts

    Raises
    ------
    ValueError
        `read` is none of these, the layers are not time-major, sizes do not fit, or the parts are on several devices.

    Examples
    --------
    >>> model = fr.models.SequenceModel(
    ...     fr.LSTM(4, 8, bidirectional=True, seed=1), fr.nn.Linear(16, 3, seed=2), fr.nn.Embedding(9, 4, seed=3), "max"
    ... )
    >>> ids = np.array([[1, 5], [7, 0], [2, 0]])
    >>> out, state, saved = model.forward(ids, lengths=[3, 1])
    >>> out.shape
    (2, 3)
    >>> dx, grads = model.backward(saved, np.ones_like(out))
    >>> sorted(grads) == sorted(model.state_dict())
    True
    """

    def __init__(
        self,
        rnn: Recurrent,
        output: Linear,
        inputs: Embedding | Linear | None = None,
        read: str = "all",
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        where = "SequenceModel"
        self.read = checks.choice(where, "read", read, READS)
        if rnn.batch_first:
            raise ValueError(f"{where}: rnn must be time-major, got one with batch_first=True")
        self._directions = 2 if rnn.bidirectional else 1
        columns = self._directions * (rnn.proj_size or rnn.hidden_size)
        if output.in_features != columns:
            raise ValueError(f"{where}: output must have D*P = {columns} columns in, got {output.in_features}")
        for name, part in (("output", output), ("inputs", inputs)):
            if part is not None and part.device != rnn.device:
                raise ValueError(f"{where}: {name} must be on the device of rnn, {rnn.device}, got {part.device}")
        self.device = rnn.device
        self.inputs = inputs
        self.rnn = rnn
        self.output = output
        self.dropout = dropout
        self._pool = POOLS[read]() if read in POOLS else None

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[np.ndarray, Any]:
        """Output and state, for inference: nothing is kept and nothing dropped.

        Parameters
        ----------
        x, state, lengths : as for `forward`
        """
        u = x if self.inputs is None else self.inputs(x)
        y, state = self.rnn(u, state, lengths=lengths)
        if self.read == "final":
            y = self._final(state)
        elif self._pool is not None:
            y = self._pool(y, lengths=lengths)
        return self.output(y), state

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        training: bool = True,
        step: int = 0,
        row_offset: int = 0,
        checkpoint_every: int | None = None,
    ) -> tuple[np.ndarray, Any, Saved]:
        """Compute the output and keep what `backward` needs.

        Parameters
        ----------
        x : (T, B) ids for an Embedding, (T, B, I) array or `OneHot` else
        state : of the recurrent layers, None for zeros
        lengths : (B) integers, 0 <= length <= T; None: T each
        training : False turns dropout off
        step, row_offset : coordinates of the dropout masks, see `fusedrnn.random`
        checkpoint_every : as for `forward` of the recurrent layers, for long sequences: less memory, the same bits

        Returns
        -------
        out : (T, B, N) for ``read="all"``, else (B, N)
        state : of the recurrent layers after the last step
        saved : Saved, for one `backward`

        Raises
        ------
        TypeError, ValueError
            As the parts raise them, or `checkpoint_every` is no integer >= 1.
        """
        if checkpoint_every is not None:
            checks.integer("SequenceModel.forward", "checkpoint_every", checkpoint_every, 1)
        coordinates: dict[str, Any] = {"training": training, "step": step, "row_offset": row_offset}
        parts: dict[str, Saved] = {}
        u = x
        if self.inputs is not None:
            u, parts["inputs"] = self.inputs.forward(x)
        y, state, parts["rnn"] = self.rnn.forward(
            u, state, lengths=lengths, **coordinates, checkpoint_every=checkpoint_every
        )
        steps = len(y)
        r = self._final(state)[None] if self.read == "final" else y
        if self.dropout is not None:
            r, parts["dropout"] = self.dropout.forward(r, **coordinates)
        if self.read == "final":
            r = r[0]
        elif self._pool is not None:
            r, parts["pool"] = self._pool.forward(r, lengths=lengths)
        out, parts["output"] = self.output.forward(r)
        return out, state, Saved(self, parts=parts, steps=steps, state=state)

    def backward(
        self, saved: Saved, dout: np.ndarray, *, need_dx: bool = True, retain: bool = False
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`; they stop at the initial state.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : gradient of the loss with respect to `out`
        need_dx : False gives dx = None and saves a matrix product, for a model whose input is data
        retain : keep `saved` for another backward

        Returns
        -------
        dx : gradient with respect to x; None for ids and `OneHot`
        grads : names and shapes of ``state_dict()``

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        TypeError, ValueError
            `dout` does not fit.
        """
        where = "SequenceModel.backward"
        retain, need_dx = checks.boolean(where, "retain", retain), checks.boolean(where, "need_dx", need_dx)
        fields = expect(where, saved).take(where, retain, self)
        parts: dict[str, Saved] = fields.parts
        grads: dict[str, dict[str, np.ndarray]] = {}
        dr: Any
        dx: Any

        # out = output(r)
        dr, grads["output"] = self.output.backward(parts["output"], dout, retain=retain)
        # r = pool(dropout(y)), or dropout(final state), or dropout(y)
        if self._pool is not None:
            dr, _ = self._pool.backward(parts["pool"], dr, retain=retain)
        if self.dropout is not None:
            dr, _ = self.dropout.backward(parts["dropout"], dr[None] if dr.ndim == 2 else dr, retain=retain)
        below: dict[str, bool] = {"retain": retain, "need_dx": need_dx or self.inputs is not None}
        if self.read == "final":
            dstate = self._d_final(dr[0] if dr.ndim == 3 else dr, fields.state)
            dx, _, grads["rnn"] = self.rnn.backward(parts["rnn"], None, dstate, **below)
        else:
            dx, _, grads["rnn"] = self.rnn.backward(parts["rnn"], dr, **below)
        # u = inputs(x)
        if isinstance(self.inputs, Linear):
            dx, grads["inputs"] = self.inputs.backward(parts["inputs"], dx, need_dx=need_dx, retain=retain)
        elif self.inputs is not None:
            dx, grads["inputs"] = self.inputs.backward(parts["inputs"], dx, retain=retain)
        return dx, {f"{prefix}.{name}": value for prefix, part in grads.items() for name, value in part.items()}

    def _final(self, state: Any) -> np.ndarray:
        """h of the last layer, (D, B, P), as (B, D*P)."""
        h = (state[0] if isinstance(state, tuple) else state)[-self._directions :]
        return dense(h.swapaxes(0, 1)).reshape(h.shape[1], -1)

    def _d_final(self, dr: np.ndarray, state: Any) -> Any:
        """The way back: a gradient of the state that is zero but for h of the last layer."""
        parts = state if isinstance(state, tuple) else (state,)
        dparts = tuple(np.zeros_like(part) for part in parts)
        rows = dr.reshape(len(dr), self._directions, -1)
        dparts[0][-self._directions :] = rows.swapaxes(0, 1)
        return dparts[0] if len(dparts) == 1 else dparts
