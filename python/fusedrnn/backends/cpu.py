"""NumPy arrays and the compiled kernels of `_core`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedrnn import _core, checks
from fusedrnn.backends.cpu_sums import CpuSums
from fusedrnn.backends.processes import Processes


class CpuBackend:
    """See `fusedrnn.backends.Backend`."""

    name: str = "cpu"
    dtypes: tuple[str, ...] = ("float32", "float64")
    checks_values = True
    logits_bytes = 2**24  # smaller parts would go through the weight more often
    array = staticmethod(checks.array)
    loaded = staticmethod(checks.array)
    empty = staticmethod(_core.empty)

    number = staticmethod(float)

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.zeros(shape, dtype)

    def full(self, shape: tuple[int, ...], value: float, dtype: np.dtype) -> np.ndarray:
        return np.full(shape, value, dtype)

    def array_or_mask(self, where: str, name: str, value: Any, dtype: np.dtype) -> np.ndarray:
        is_mask = isinstance(value, np.ndarray) and value.dtype == np.dtype(bool)
        return checks.array(where, name, value, np.dtype(bool) if is_mask else dtype)

    def integers(self, where: str, name: str, value: Any) -> np.ndarray:
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            return value
        raise TypeError(f"{where}: {name} must be a numpy array of integers, got {checks.describe(value)}")

    def floats(self, where: str, name: str, value: Any, narrow: bool = False) -> np.ndarray:
        if not isinstance(value, np.ndarray) or value.dtype.type not in (np.float32, np.float64):
            came = checks.describe(value)
            raise TypeError(f"{where}: {name} must be a numpy array of float32 or float64, got {came}")
        return checks.array(where, name, value, np.dtype(value.dtype.type))

    def read(self, values: Sequence[Any]) -> list[float]:
        return [float(value) for value in values]

    def host(self, value: np.ndarray) -> np.ndarray:
        return value

    def own(self, value: np.ndarray) -> np.ndarray:
        return value

    def dense(self, value: np.ndarray) -> np.ndarray:
        return value if is_dense(value) else np.require(value, requirements=("C", "A"))

    def readable(self, value: np.ndarray) -> np.ndarray:
        return np.array(value, order="C") if needs_copy(value) else value

    def indices(self, where: str, name: str, value: Any) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where}: {name} must be a numpy array of integers, got {checks.describe(value)}")
        return value if value.dtype == np.int64 and is_dense(value) else np.require(value, np.int64, ("C", "A"))

    def lengths(self, value: np.ndarray) -> np.ndarray:
        return value

    def protect(self, value: np.ndarray, on: bool) -> None:
        value.flags.writeable = not on

    def running_dtype(self, dtype: np.dtype) -> np.dtype:
        return dtype

    def dropout(self, x: np.ndarray, p: float, *, seed: int, site: int, step: int, row_offset: int) -> np.ndarray:
        out = _core.empty(x.shape, x.dtype)
        _core.dropout(self.dense(x), out, p, seed, site, step, row_offset)
        return out

    def product(
        self,
        a: np.ndarray,
        b: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        out: np.ndarray | None = None,
        add: bool = False,
        row_sums: np.ndarray | None = None,
    ) -> np.ndarray:
        """The same bits for any number of threads."""
        if out is None:
            out = _core.empty((a.shape[0], b.shape[1]), a.dtype)
        _core.matmul(a, b, bias, out, add, row_sums)
        return out

    def take_rows(self, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return np.take(table, ids, axis=0)

    def sum_rows(self, ids: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
        out = _core.empty((count, rows.shape[1]), rows.dtype)
        _core.scatter_add(self.dense(ids.astype(np.int64, copy=False)), rows, out)
        return out

    def softmax(self, x: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        exponentials = _core.empty(x.shape, x.dtype)
        maxima, sums = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
        _core.exponentials(x, exponentials, maxima, sums)
        return exponentials, maxima, sums, x[np.arange(len(x)), index]

    def softmax_gradient(
        self, exponentials: np.ndarray, index: np.ndarray, factors: np.ndarray, shifts: np.ndarray, out: np.ndarray
    ) -> None:
        _core.scale_rows(exponentials, factors, out)
        out[np.arange(len(index)), index] -= shifts
        if not shifts.all():
            out[shifts == 0] = 0

    def cross_entropy(
        self,
        logits: np.ndarray,
        index: np.ndarray,
        factors: np.ndarray | None,
        maxima: np.ndarray,
        sums: np.ndarray,
        chosen: np.ndarray,
    ) -> None:
        _core.cross_entropy(logits, index.astype(np.int64, copy=False), factors, maxima, sums, chosen)

    def update(
        self,
        rule: str,
        numbers: list[float],
        parameters: list[np.ndarray],
        gradients: list[np.ndarray],
        states: list[list[np.ndarray] | None],
        rates: list[float],
        decays: list[float],
    ) -> None:
        _core.update(rule, numbers, parameters, gradients, states, rates, decays)

    def sums_of_squares(self, arrays: Sequence[np.ndarray]) -> list[float]:
        return _core.sums_of_squares(list(arrays))

    def pack(self, cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, *, tf32: bool) -> Any:
        """The CPU has no TF32, and rounds to float32 whether more was allowed or not."""
        return _core.pack(cell, w_ih, w_hh, b_ih, b_hh, w_hr)

    def sums(self, where: str, processes: Processes, size: int, dtype: np.dtype, told: int) -> CpuSums:
        return CpuSums(processes, size, dtype, told)

    def stepper(
        self,
        where: str,
        dtype: np.dtype,
        packs: Sequence[Any],
        rows: int,
        batched: bool,
        flag: _core.Flag,
        changed: Callable[[], bool],
    ) -> _core.Stepper32 | _core.Stepper64:
        kind = _core.Stepper32 if dtype == np.float32 else _core.Stepper64
        return kind(where, tuple(packs), rows, batched, flag)

    def step_input(self, value: np.ndarray) -> np.ndarray:
        plain = np.empty(value.shape, value.dtype.type)
        plain[...] = value
        return plain

    def step_output(self, where: str, value: np.ndarray) -> np.ndarray:
        flags = value.flags
        if not (flags.c_contiguous and flags.aligned and flags.writeable):
            raise ValueError(
                f"{where}: out must be C-contiguous, aligned and writable, got C-contiguous: "
                f"{flags.c_contiguous}, aligned: {flags.aligned}, writable: {flags.writeable}"
            )
        return np.asarray(value).view(value.dtype.type)

    def summary(self) -> str:
        return f"backend cpu, instruction set {_core.isa()}, up to {_core.num_threads()} threads"


BACKEND = CpuBackend()


def is_dense(value: np.ndarray) -> bool:
    """Whether `value` is C-contiguous and aligned: most arrays are, and `np.require` takes microseconds to see it."""
    flags = value.flags
    return flags.c_contiguous and flags.aligned


def needs_copy(value: np.ndarray) -> bool:
    """Whether the kernels cannot read `value` (..., C) in place: last axis not contiguous or memory not aligned."""
    if is_dense(value):
        return False
    size = value.itemsize
    return (
        (value.shape[-1] > 1 and value.strides[-1] != size)
        or not value.flags.aligned
        or any(stride % size for stride in value.strides)
    )
