"""Where the rows of the large products of a layer are, with lengths and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts


@dataclass(frozen=True)
class Packed:
    """The live steps of rows of several lengths, packed step after step; rows are in order of falling length."""

    order: tuple[Array, Array, Array, list[int]]  # row (B,), its length (B,), and the first place of each step, twice
    index: Array  # (places,) into the rows of x
    time_index: Array  # (places,) into the rows of a time-major array


class Lengths:
    """The lengths (B,) of a batch, with their `Packed` made and moved to the GPU once for all layers and passes."""

    def __init__(self, host: np.ndarray) -> None:
        self._host = host
        self._packed: dict[tuple[bool, bool], Packed] = {}

    def packed(self, steps: int, reverse: bool, batch_major: bool) -> Packed:
        """The steps of a batch of `steps` steps, from the last one on with `reverse`; x is (B, T) in memory or not."""
        key = (reverse, batch_major)
        if key not in self._packed:
            self._packed[key] = self._pack(steps, reverse, batch_major)
        return self._packed[key]

    def _pack(self, steps: int, reverse: bool, batch_major: bool) -> Packed:
        cupy, _ = parts()
        row = np.argsort(-self._host, kind="stable")
        length = self._host[row]
        live = np.searchsorted(-length, -np.arange(steps), side="left")  # rows longer than s
        first = np.concatenate(([0], np.cumsum(live))).astype(np.int64)
        step = np.repeat(np.arange(steps), live)
        position = np.arange(first[-1]) - first[step]
        t = length[position] - 1 - step if reverse else step
        time_index = cupy.asarray(t * len(row) + row[position])
        index = cupy.asarray(row[position] * steps + t) if batch_major else time_index
        order = (cupy.asarray(row), cupy.asarray(length), cupy.asarray(first), first.tolist())
        return Packed(order, index, time_index)


@dataclass(frozen=True)
class Places:
    """Where the rows of the large products are: one for every live step of every row.

    Without lengths they are the rows of x (T*B, I), in the order in which those lie in memory. With lengths they are
    packed, step after step, and `packed` says which row of x each is.
    """

    rows: Any  # _cuda.Rows
    steps: int
    batch: int
    batch_major: bool
    packed: Packed | None  # None: as x

    def new(self, columns: int, dtype: np.dtype) -> tuple[Array, Array]:
        """An array with a row a place: as a matrix for products, and as the loops take it."""
        cupy, _ = parts()
        if self.packed is not None:
            matrix = cupy.empty((len(self.packed.index), columns), dtype)
            return matrix, matrix
        outer = (self.batch, self.steps) if self.batch_major else (self.steps, self.batch)
        value = cupy.empty((*outer, columns), dtype)
        return value.reshape(self.steps * self.batch, columns), value.swapaxes(0, 1) if self.batch_major else value

    def gather(self, matrix: Array) -> Array:
        """Rows of x (T*B, C), in the order of the places."""
        return matrix if self.packed is None else matrix[self.packed.index]

    def gather_time_major(self, value: Array) -> Array:
        """Rows of a dense time-major array (T, B, C), in the order of the places."""
        columns = value.shape[-1]
        if self.packed is not None:
            return value.reshape(self.steps * self.batch, columns)[self.packed.time_index]
        value = parts()[0].ascontiguousarray(value.swapaxes(0, 1) if self.batch_major else value)
        return value.reshape(self.steps * self.batch, columns)

    def scatter(self, matrix: Array, out: Array) -> None:
        """Put a row a place where it belongs in `out` (T, B, C), which is a view; zeros elsewhere."""
        if self.packed is None:
            outer = (self.batch, self.steps) if self.batch_major else (self.steps, self.batch)
            value = matrix.reshape(*outer, matrix.shape[1])
            out[...] = value.swapaxes(0, 1) if self.batch_major else value
        else:
            out[...] = 0
            time_index = self.packed.time_index
            out[time_index // self.batch, time_index % self.batch] = matrix
