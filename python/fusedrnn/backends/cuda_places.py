"""Where the rows of the large products of a layer are, with lengths and without, and how its steps are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts

LEAST_STEPS, MOST_STEPS, ENOUGH_PLACES = 64, 512, 2**15


def chunk_steps(batch: int) -> int:
    """How many steps a launch of the loops and the products around it take, for a batch of so many rows.

    The products want thousands of rows, and a start of the loop should cost little beside its steps; on the other hand
    a chunk's pre-activations and gate gradients are held at a time. It follows from the batch alone, so that every
    call cuts the same steps into the same products, which gives the same bits.
    """
    return max(LEAST_STEPS, min(MOST_STEPS, ENOUGH_PLACES // max(1, batch)))


@dataclass(frozen=True)
class Packed:
    """The live steps of rows of several lengths, packed step after step; rows are in order of falling length."""

    order: tuple[Array, Array, Array, list[int]]  # row (B,), its length (B,), and the first place of each step, twice
    longest: int
    index: Array  # (places,) into the rows of x
    time_index: Array  # (places,) into the rows of a time-major array


class Lengths:
    """The lengths (B,) of a batch, with their `Packed` made and moved to the GPU once for all layers and passes.

    Raises
    ------
    ValueError
        CuPy's current stream is being captured: a graph would move what is later in the host memory that it was given.
    """

    def __init__(self, host: np.ndarray) -> None:
        if parts()[0].cuda.get_current_stream().is_capturing():
            raise ValueError(
                "cuda: lengths must be None while CuPy's current stream is captured, since they come from host memory, "
                f"got lengths of shape {host.shape}"
            )
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
        return Packed(order, int(self._host.max(initial=0)), index, time_index)


class Places:
    """The input of one layer in one direction, and where the rows of its products are.

    There is one place for every live step of every row. Without lengths places are in the order of x, which is batch
    major where x is and one chunk takes all steps. With lengths they are packed, step after step.

    Parameters
    ----------
    x, ids : (T, B, I) or (T, B), the other one None
    lengths, reset, reverse : as `fusedrnn.backends.PackedLayer` has them

    Attributes
    ----------
    rows : _cuda.Rows
    steps, batch : T, B
    longest : steps of the longest row
    chunk : steps of a chunk
    """

    def __init__(self, x: Any, ids: Any, lengths: Lengths | None, reset: Any, reverse: bool) -> None:
        cupy, module = parts()
        self._value = value = x if x is not None else ids[:, :, None]
        self.steps, self.batch, self._columns = value.shape
        self.chunk = chunk_steps(self.batch)
        self._reverse = reverse
        lies_so = not value.flags.c_contiguous and value.swapaxes(0, 1).flags.c_contiguous
        if lengths is None:
            self._packed = None
            self.longest = self.steps
            self._batch_major = lies_so and self.steps <= self.chunk
            order: tuple[Any, ...] = (None, None, None, [])
        else:
            self._packed = lengths.packed(self.steps, reverse, lies_so)
            self.longest = self._packed.longest
            self._batch_major = False
            dense = cupy.ascontiguousarray(value.swapaxes(0, 1) if lies_so else value)
            self._matrix = dense.reshape(self.steps * self.batch, self._columns)
            order = self._packed.order
        self.rows = module.Rows(self.steps, self.batch, reverse, self._batch_major, *order, reset)

    def chunks(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The chunks of the steps from `begin`, where one begins, to before `end`; an empty one if there are none."""
        starts = range(begin, max(end, begin + 1), self.chunk)
        return [(start, min(start + self.chunk, end)) for start in starts]

    def count(self, begin: int, end: int) -> int:
        """How many places the steps [begin, end) have."""
        first, last = self.rows.places(begin, end)
        return int(last - first)

    def inputs(self, begin: int, end: int) -> Array:
        """x (places, I), or ids (places, 1), of the steps [begin, end)."""
        if self._packed is not None:
            return self._matrix[self._packed.index[slice(*self.rows.places(begin, end))]]
        part = self._at_time(self._value, begin, end)
        part = parts()[0].ascontiguousarray(part.swapaxes(0, 1) if self._batch_major else part)
        return part.reshape(self.count(begin, end), self._columns)

    def scatter(self, matrix: Array, out: Array, begin: int, end: int) -> None:
        """Put the rows of the steps [begin, end) where they belong in `out` (T, B, C), which is a view."""
        if self._packed is not None:
            time_index = self._packed.time_index[slice(*self.rows.places(begin, end))]
            out[time_index // self.batch, time_index % self.batch] = matrix
            return
        to = self._at_time(out, begin, end)
        to = to.swapaxes(0, 1) if self._batch_major else to
        to[...] = matrix.reshape(to.shape)

    def _at_time(self, value: Array, begin: int, end: int) -> Array:
        """The part of an array (T, B, C) that belongs to the steps [begin, end), where all rows are equally long."""
        return value[self.steps - end : self.steps - begin] if self._reverse else value[begin:end]
