"""What goes on from step to step, or from chunk to chunk: in float32, where the arrays of a layer have 16 bits."""

from __future__ import annotations

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts


def running_dtype(dtype: np.dtype) -> np.dtype:
    """Of states, and of sums over chunks, that are kept in `dtype`, where 16 bits would be rounded at every turn."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def running_states(states: tuple[Array, ...]) -> tuple[Array, ...]:
    """Room for states from step to step, where those that are kept have only 16 bits; else they themselves serve."""
    return tuple(parts()[0].empty(state.shape, np.float32) for state in states if state.itemsize == 2)
