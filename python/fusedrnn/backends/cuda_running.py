"""What goes on from step to step and from chunk to chunk: in float32, where the arrays of a layer have 16 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts


def running_dtype(dtype: np.dtype) -> np.dtype:
    """Of states, and of sums over chunks, that are kept in `dtype`, where 16 bits would be rounded at every turn."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def running_states(states: tuple[Array, ...]) -> tuple[Array, ...]:
    """Room for states from step to step, where those that are kept have only 16 bits; else they themselves serve."""
    return tuple(parts()[0].empty(state.shape, np.float32) for state in states if state.itemsize == 2)


class Total:
    """The sum of what the chunks of a loop add to a gradient, in their order; `put` when all have."""

    def __init__(self, out: Array, chunks: int) -> None:
        dtype = running_dtype(out.dtype)
        self._out, self._begun = out, False
        self._sum = out if chunks == 1 or dtype == out.dtype else parts()[0].empty(out.shape, dtype)

    def add(self, make: Callable[[Array], object]) -> None:
        """Add what `make` assigns to an array like the gradient."""
        if not self._begun and self._sum is self._out:
            make(self._out)
        else:
            part = parts()[0].empty(self._out.shape, self._out.dtype)
            make(part)
            part = part.astype(self._sum.dtype, copy=False)
            self._sum[...] = self._sum + part if self._begun else part
        self._begun = True

    def put(self) -> None:
        if self._sum is not self._out:
            self._out[...] = self._sum.astype(self._out.dtype)
