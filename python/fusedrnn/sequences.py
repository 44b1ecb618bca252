"""Intake of a recurrent layer: what the user gives, checked, as time-major views; and the way back.

Inside, everything is time-major: x (T, B, I), states (L*D, B, H). `batch_first` and the missing B axis of unbatched
input end here. Views are taken where strides allow it; a copy is made only when the last axis of x is not contiguous
or memory is misaligned, and for states and lengths, which are small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import Backend, is_on_gpu, of_array


class OneHot:
    """One-hot input as indices: a layer looks columns of its input weights up instead of multiplying.

    It stands wherever a recurrent layer takes `x`; the gradient of x is then None.

    Parameters
    ----------
    ids : integer array, (T, B), (B, T) with ``batch_first``, or (T,) unbatched, values in [0, depth)
    depth : the number of classes, the layer's ``input_size``
    check : also look at ids that are on a GPU, which waits for it
        Elsewhere they are looked at in any case. There, a bad one gives NaN.

    Raises
    ------
    TypeError
        `ids` is not an integer array.
    ValueError
        An id is outside [0, depth).

    Examples
    --------
    >>> rnn = fr.RNN(4, 3, seed=0)
    >>> ids = np.array([[0, 2], [3, 1]])
    >>> y, h = rnn(fr.OneHot(ids, 4))
    >>> dense, _ = rnn(np.eye(4, dtype="float32")[ids])
    >>> np.allclose(y, dense)
    True
    """

    __slots__ = ("depth", "ids")

    def __init__(self, ids: np.ndarray, depth: int, *, check: bool = False) -> None:
        self.depth = checks.integer("OneHot", "depth", depth, 1)
        on_gpu = is_on_gpu(ids)
        if on_gpu:
            ids = of_array(ids).integers("OneHot", "ids", ids)
        elif not isinstance(ids, np.ndarray) or isinstance(ids, np.ma.MaskedArray) or ids.dtype.kind not in "iu":
            raise TypeError(f"OneHot: ids must be an integer array, got {checks.describe(ids)}")
        if not on_gpu or checks.boolean("OneHot", "check", check):
            wrong = np.argwhere((ids < 0) | (ids >= self.depth))
            if len(wrong):
                place = tuple(int(axis) for axis in wrong[0])
                raise ValueError(
                    f"OneHot: ids must be in [0, depth) = [0, {self.depth}), got {int(ids[place])} at {place}"
                )
        self.ids = ids


class Batch(NamedTuple):
    """One call's input, time-major: `x` (T, B, I) or `ids` (T, B), the other one None."""

    x: np.ndarray | None
    ids: np.ndarray | None
    steps: int
    rows: int
    lengths: Any  # (B,), as `Backend.lengths` returns them, or None
    reset: np.ndarray | None  # (T, B) uint8
    states: tuple[np.ndarray, ...] | None  # h (L*D, B, P), further ones (L*D, B, H)


class Layout(NamedTuple):
    """The user's axes, and the sizes that arrays must have."""

    where: str  # "lstm", for messages
    dtype: np.dtype
    backend: Backend
    batch_first: bool
    input_size: int
    output_size: int  # D*P
    state_widths: tuple[int, ...]  # P, then H for every further state
    state_rows: int  # L*D
    unbatched: bool = False

    def named(self, where: str) -> Layout:
        """The same layout for messages of another function."""
        return self._replace(where=where)

    def batch(self, x: Any, state: Any, lengths: Any, reset: Any) -> Batch:
        """Check all arguments of a forward call; see api of the layers for what they may be."""
        if isinstance(x, OneHot):
            if x.depth != self.input_size:
                raise ValueError(f"{self.where}: x.depth must be input_size = {self.input_size}, got {x.depth}")
            self._check_rank(x.ids, 2)
            given = self.backend.indices(self.where, "x.ids", x.ids)
        else:
            self._check_rank(x := self.backend.array(self.where, "x", x, self.dtype), 3)
            if x.shape[-1] != self.input_size:
                raise ValueError(
                    f"{self.where}: x must have I = input_size = {self.input_size} columns, got shape {x.shape}"
                )
            given = self.backend.readable(x)
        inward = self.inward(given)
        steps, rows = inward.shape[:2]
        is_ids = isinstance(x, OneHot)
        return Batch(
            x=None if is_ids else inward,
            ids=inward if is_ids else None,
            steps=steps,
            rows=rows,
            lengths=None if lengths is None else self.backend.lengths(self.host_lengths(lengths, steps, rows)),
            reset=None if reset is None else self._reset(reset, steps, rows),
            states=None if state is None else self.states("state", state, rows),
        )

    def _check_rank(self, value: np.ndarray, batched: int) -> None:
        if value.ndim not in (batched, batched - 1):
            axes = "B, T" if self.batch_first else "T, B"
            last = ", I" if batched == 3 else ""
            raise ValueError(
                f"{self.where}: x must have {batched} axes ({axes}{last}), or {batched - 1} axes "
                f"(T{last or ','}) unbatched, got shape {value.shape}"
            )

    def inward(self, value: np.ndarray) -> np.ndarray:
        """A view with the axes (T, B, ...)."""
        if self.unbatched:
            return value[:, None]
        return value.swapaxes(0, 1) if self.batch_first else value

    def new_sequence(self, steps: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """A new C-contiguous array in the user's layout, and the view (T, B, columns) of it."""
        outer = (rows, steps, columns) if self.batch_first and not self.unbatched else (steps, rows, columns)
        value = self.backend.empty(outer[:1] + outer[2:] if self.unbatched else outer, self.dtype)
        return value, self.inward(value)

    def sequence(self, name: str, value: Any, steps: int, rows: int) -> np.ndarray:
        """Check an array like y, and return it as a view (T, B, D*P)."""
        columns = self.output_size
        value = self.backend.array(self.where, name, value, self.dtype)
        if self.unbatched:
            checks.shape(self.where, name, value, "(T, D*P)", (steps, columns))
        elif self.batch_first:
            checks.shape(self.where, name, value, "(B, T, D*P)", (rows, steps, columns))
        else:
            checks.shape(self.where, name, value, "(T, B, D*P)", (steps, rows, columns))
        return self.inward(self.backend.readable(value))

    def states(self, name: str, value: Any, rows: int) -> tuple[np.ndarray, ...]:
        """Check a state in the user's form, and return its parts as C-contiguous (L*D, B, width) arrays."""
        widths = self.state_widths
        parts, labels = (value,), [name]
        if len(widths) > 1:
            if not isinstance(value, (tuple, list)) or len(value) != len(widths):
                raise TypeError(
                    f"{self.where}: {name} must be a tuple of {len(widths)} arrays (h, c), got {checks.describe(value)}"
                )
            parts, labels = tuple(value), [f"{name}[{k}]" for k in range(len(widths))]
        checked = []
        letter = "P" if widths[0] != widths[-1] else "H"
        for label, part, width in zip(labels, parts, widths, strict=True):
            part = self.backend.array(self.where, label, part, self.dtype)
            if self.unbatched:
                checks.shape(self.where, label, part, f"(L*D, {letter})", (self.state_rows, width))
                part = part[:, None]
            else:
                checks.shape(self.where, label, part, f"(L*D, B, {letter})", (self.state_rows, rows, width))
            letter = "H"
            checked.append(self.backend.dense(part))
        return tuple(checked)

    def outward_states(self, parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """States in the user's form, as a tuple of their parts."""
        return tuple(part[:, 0] for part in parts) if self.unbatched else parts

    def host_lengths(self, lengths: Any, steps: int, rows: int) -> np.ndarray:
        """Check lengths, and return them as (B,) int64 in host memory."""
        if not isinstance(lengths, (list, tuple, np.ndarray)):
            raise TypeError(
                f"{self.where}: lengths must be a list or an array of integers, got {checks.describe(lengths)}"
            )
        if isinstance(lengths, np.ndarray):
            if lengths.dtype.kind not in "iu" or not lengths.dtype.isnative:
                raise TypeError(f"{self.where}: lengths must be integers, got {checks.describe(lengths)}")
            checks.shape(self.where, "lengths", lengths, "(B,)", (rows,))
            wrong = np.flatnonzero((lengths < 0) | (lengths > steps))
        else:
            for b, length in enumerate(lengths):
                if isinstance(length, (bool, np.bool_)) or not isinstance(length, (int, np.integer)):
                    came = checks.describe(length)
                    raise TypeError(f"{self.where}: lengths must be integers, got {came} at b = {b}")
            if len(lengths) != rows:
                raise ValueError(f"{self.where}: lengths must have shape (B,) = ({rows},), got ({len(lengths)},)")
            wrong = np.array([b for b, length in enumerate(lengths) if not 0 <= length <= steps], int)
        if len(wrong):
            b = int(wrong[0])
            raise ValueError(f"{self.where}: lengths must be in [0, T] = [0, {steps}], got {lengths[b]} at b = {b}")
        return np.require(lengths, np.int64, ("C", "A"))

    def _reset(self, reset: Any, steps: int, rows: int) -> np.ndarray:
        reset = self.backend.array(self.where, "reset", reset, np.dtype(bool))
        if self.unbatched:
            checks.shape(self.where, "reset", reset, "(T,)", (steps,))
        elif self.batch_first:
            checks.shape(self.where, "reset", reset, "(B, T)", (rows, steps))
        else:
            checks.shape(self.where, "reset", reset, "(T, B)", (steps, rows))
        return self.inward(reset.view(np.uint8))
