"""NumPy arrays and the compiled kernels of `_core`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import _core, checks


class CpuBackend:
    """See `fusedrnn.backends.Backend`."""

    name: str = "cpu"
    dtypes: tuple[str, ...] = ("float32", "float64")
    array = staticmethod(checks.array)
    loaded = staticmethod(checks.array)
    empty = staticmethod(_core.empty)
    pack = staticmethod(_core.pack)

    def own(self, value: np.ndarray) -> np.ndarray:
        return value

    def dense(self, value: np.ndarray) -> np.ndarray:
        return np.require(value, requirements=("C", "A"))

    def readable(self, value: np.ndarray) -> np.ndarray:
        return np.array(value, order="C") if needs_copy(value) else value

    def indices(self, where: str, name: str, value: Any) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where}: {name} must be a numpy array of integers, got {checks.describe(value)}")
        return np.require(value, np.int64, ("C", "A"))

    def protect(self, value: np.ndarray, on: bool) -> None:
        value.flags.writeable = not on

    def dropout(self, x: np.ndarray, p: float, *, seed: int, site: int, step: int, row_offset: int) -> np.ndarray:
        out = _core.empty(x.shape, x.dtype)
        _core.dropout(self.dense(x), out, p, seed, site, step, row_offset)
        return out

    def summary(self) -> str:
        return f"backend cpu, instruction set {_core.isa()}, up to {_core.num_threads()} threads"


BACKEND = CpuBackend()


def needs_copy(value: np.ndarray) -> bool:
    """Whether the kernels cannot read `value` (..., C) in place: last axis not contiguous or memory not aligned."""
    if value.size == 0:
        return False
    size = value.itemsize
    return (
        (value.shape[-1] > 1 and value.strides[-1] != size)
        or not value.flags.aligned
        or any(stride % size for stride in value.strides)
    )
