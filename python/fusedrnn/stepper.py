"""Streaming: a layer taken one time step at a time, with its state inside."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import StackStepper
from fusedrnn.sequences import OneHot

MAX_ROWS = 2**31 - 1


class Stepper:
    """All layers of an RNN, GRU or LSTM, one time step a call, for inference; ``layer.stepper(batch)`` makes one.

    On the CPU, steps give the bits that one call of the layer gives for the whole sequence.

    Parameters
    ----------
    layer : RNN, GRU or LSTM, not bidirectional
    batch : B, rows of every step; None: unbatched, a step takes (I,) and returns (P,)

    Attributes
    ----------
    batch : as given

    Raises
    ------
    ValueError
        `layer` is bidirectional: its reverse direction needs the future.
    RuntimeError
        A ``writable`` block of the layer is open.

    Notes
    -----
    The weights are those of the layer when the stepper was made, packed once and shared with it. When they change
    (an optimiser's step, ``load_state_dict``, a ``writable`` block), the next step is a RuntimeError; `refresh` takes
    the new ones and keeps the state. A stepper that shall keep old weights is made of a copy of the layer.

    On the CPU a step allocates no memory. What it computes with, and how many threads it may use, is settled when the
    stepper is made; steps of small layers run on the calling thread alone. Those of about 20 microseconds and more let
    other threads of Python run meanwhile. A stepper is for one thread at a time: a call while another thread is in a
    step is a RuntimeError. It can be neither copied nor pickled: make another one, and give it the `state`.

    On a GPU all arrays are CuPy's, the mask of `reset` too, and nothing waits: a step is queued on the current stream,
    which has to be the same one for all that is done with a stepper. A bad id gives NaN until `reset`. There, steps
    have the bits of calls of the layer with T = 1, since those with more steps may run in another tier with sums in
    another order; in 16 bits c goes on in float32 between steps.

    Examples
    --------
    >>> lstm = fr.LSTM(3, 5, seed=0)
    >>> x = np.ones((7, 2, 3), "float32")
    >>> step = lstm.stepper(batch=2)
    >>> y = np.stack([step(x_t).copy() for x_t in x])
    >>> whole, state = lstm(x)
    >>> np.array_equal(y, whole), np.array_equal(step.state.c, state.c)
    (True, True)
    """

    __slots__ = ("_core", "_layer", "_layout", "_step", "_where", "batch")

    # `layer` is a `Recurrent`, whose module imports this one.
    def __init__(self, layer: Any, batch: int | None = None) -> None:
        self._where = where = f"{type(layer).__name__}.stepper"
        if layer.bidirectional:
            raise ValueError(
                f"{where}: the layer must have one direction, got bidirectional=True, which needs the future"
            )
        self.batch = None if batch is None else checks.integer(where, "batch", batch, 1, MAX_ROWS)
        self._layer = layer
        self._layout = layer._layout(where, unbatched=batch is None)
        self._core = self._pack()
        self._step = self._core.step

    def _pack(self) -> StackStepper:
        """A stepper of the kernels with the layer's present weights, its state zero."""
        layer = self._layer
        changed = layer._weights_changed  # first: weights that change from here on raise it
        if layer._writers > 0:
            raise RuntimeError(f"{self._where}: the weights must not be open for writing, got an open writable() block")
        packs = [layer._packed(number, 0) for number in range(layer.num_layers)]
        stepper: StackStepper = layer._backend.stepper(
            self._where,
            layer.dtype,
            packs,
            self._rows,
            self.batch is not None,
            changed,
            lambda: layer._weights_changed is not changed,
        )
        return stepper

    def __repr__(self) -> str:
        return f"{self._layer!r}.stepper({'' if self.batch is None else self.batch})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self._where}: a stepper must not be copied or pickled, since it works in memory of its own; "
            "make another one of the layer and reset it to the state"
        )

    def __call__(self, x: np.ndarray | OneHot, out: np.ndarray | None = None) -> np.ndarray:
        """Take one time step.

        Parameters
        ----------
        x : (B, I) array of the layer's dtype, any strides, or `OneHot` of ids (B,); (I,) or () unbatched
        out : (B, P) array for the result, (P,) unbatched; C-contiguous; it may be x

        Returns
        -------
        y : (B, P) array, (P,) unbatched: `out`, or without it always the same array, up to a `refresh`
            The next step overwrites that array; copy what has to last, or give an `out`.

        Raises
        ------
        RuntimeError
            The layer's weights have changed since the stepper was made, or another thread is in a step.
        TypeError
            An array has another dtype than the layer; nothing is cast.
        ValueError
            Shapes or ids do not fit. As after all of these errors, the state is what it was.
        """
        y: np.ndarray | None = self._step(x, out)
        return self._take_other(x, out) if y is None else y

    def _take_other(self, x: Any, out: Any) -> np.ndarray:
        """Step for arguments that are no plain arrays: ids, arrays of subclasses, and all that is an error."""
        plain_out = None if out is None else self._plain_out(out)
        if isinstance(x, OneHot):
            y = self._core.step_ids(self._plain_ids(x), plain_out)
        else:
            x = self._layout.backend.array(self._where, "x", x, self._layout.dtype)
            self._check_shape("x", x, "I", self._layout.input_size)
            y = self._core.step(self._layout.backend.step_input(x), plain_out)
        assert y is not None  # everything was checked
        result: np.ndarray = y if out is None else out
        return result

    def _plain_ids(self, x: OneHot) -> np.ndarray:
        if x.depth != self._layout.input_size:
            raise ValueError(f"{self._where}: x.depth must be input_size = {self._layout.input_size}, got {x.depth}")
        if self.batch is None:
            checks.shape(self._where, "x.ids", x.ids, "()", ())
        else:
            checks.shape(self._where, "x.ids", x.ids, "(B,)", (self.batch,))
        ids: np.ndarray = self._layout.backend.indices(self._where, "x.ids", x.ids)
        return ids.reshape(-1)

    def _plain_out(self, out: Any) -> np.ndarray:
        out = self._layout.backend.array(self._where, "out", out, self._layout.dtype)
        letter = "P" if self._layer.proj_size else "H"
        self._check_shape("out", out, letter, self._layout.output_size)
        plain: np.ndarray = self._layout.backend.step_output(self._where, out)
        return plain

    def _check_shape(self, name: str, value: np.ndarray, letter: str, columns: int) -> None:
        if self.batch is None:
            checks.shape(self._where, name, value, f"({letter},)", (columns,))
        else:
            checks.shape(self._where, name, value, f"(B, {letter})", (self.batch, columns))

    @property
    def state(self) -> Any:
        """A copy of the state after the last step, in the layer's form: h, or for an LSTM ``LSTMState(h, c)``.

        Each is (L, B, P) or (L, B, H), without B unbatched; the layer takes it, and `reset` does.
        """
        return self._layer._state_out(self._layout, self._core.state())

    def reset(self, state: Any = None, *, rows: np.ndarray | None = None) -> None:
        """Set the state, of all rows or of some.

        Parameters
        ----------
        state : in the layer's form, of all rows; None: zeros
        rows : bool array (B,), which rows to set; the others keep their state. None: all

        Raises
        ------
        TypeError
            An array has the wrong dtype.
        ValueError
            Shapes do not fit.

        Examples
        --------
        Episodes that end at different times:

        >>> step = fr.GRU(3, 4, seed=0).stepper(batch=2)
        >>> y = step(np.ones((2, 3), "float32"))
        >>> step.reset(rows=np.array([False, True]))
        >>> step.state.any(axis=(0, 2)).tolist()
        [True, False]
        """
        chosen = None
        if rows is not None:
            if self.batch is None:
                raise ValueError(f"{self._where}: rows must be None unbatched, got {checks.describe(rows)}")
            rows = self._layout.backend.array(self._where, "rows", rows, np.dtype(bool))
            checks.shape(self._where, "rows", rows, "(B,)", (self._rows,))
            chosen = self._layout.backend.dense(rows).view(np.uint8)
        parts: tuple[np.ndarray | None, ...] = (None,) * len(self._layout.state_widths)
        if state is not None:
            parts = self._layout.states("state", state, self._rows)
        self._core.set_state(parts, chosen)

    @property
    def _rows(self) -> int:
        return 1 if self.batch is None else self.batch

    def refresh(self) -> None:
        """Take over the layer's present weights and the number of threads; the state stays.

        Raises
        ------
        RuntimeError
            A ``writable`` block of the layer is open, or another thread is in a step.

        Examples
        --------
        >>> rnn = fr.RNN(3, 4, seed=0)
        >>> step = rnn.stepper()
        >>> with rnn.writable() as weights:
        ...     weights["bias_ih_l0"][:] = 1
        >>> step.refresh()
        >>> step(np.zeros(3, "float32")).shape
        (4,)
        """
        fresh = self._pack()
        fresh.set_state(self._core.state(), None)
        self._core, self._step = fresh, fresh.step
