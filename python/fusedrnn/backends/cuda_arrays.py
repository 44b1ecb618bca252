"""What functions of arrays, losses and optimisers ask of a GPU; see `fusedrnn.backends.Backend`.

The products are CuPy's (cuBLAS), the rest are kernels of `_cuda` with sums in a fixed order. Everything is queued on
CuPy's current stream and nothing waits for the device, but for `host` and what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends.cuda_parts import Array, as_cupy, on_current, parts, stream
from fusedrnn.backends.cuda_products import matrix_product


class CudaArrays:
    """The part of the CUDA backend that is not about recurrent layers."""

    checks_values = False
    logits_bytes = 2**28

    def dense(self, value: Array) -> Array:
        # ascontiguousarray would give an array without axes one.
        return value if value.flags.c_contiguous else parts()[0].ascontiguousarray(value)

    def integers(self, where: str, name: str, value: Any) -> Array:
        value = as_cupy(where, name, value, "integers")
        if value.dtype.kind not in "iu":
            raise TypeError(f"{where}: {name} must be a cupy array of integers, got {checks.describe(value)}")
        return value

    def floats(self, where: str, name: str, value: Any, narrow: bool = False) -> Array:
        rule = "float16, bfloat16, float32 or float64" if narrow else "float32 or float64"
        value = as_cupy(where, name, value, rule)
        if value.dtype.name not in ("float32", "float64", *(("float16", "bfloat16") if narrow else ())):
            raise TypeError(f"{where}: {name} must be a cupy array of {rule}, got {checks.describe(value)}")
        return value

    def number(self, value: Array) -> Array:
        return value

    def host(self, value: Array) -> np.ndarray:
        array: np.ndarray = parts()[0].asnumpy(value)
        return array

    def read(self, values: Sequence[Any]) -> list[float]:
        cupy, _ = parts()
        numbers: list[float] = cupy.stack([cupy.asarray(value, np.float64) for value in values]).get().tolist()
        return numbers

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        return parts()[0].zeros(shape, dtype)

    def full(self, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> Array:
        return parts()[0].full(shape, value, dtype)

    def product(
        self,
        a: Array,
        b: Array,
        bias: Array | None = None,
        *,
        out: Array | None = None,
        add: bool = False,
        row_sums: Array | None = None,
    ) -> Array:
        cupy, _ = parts()
        with a.device:
            made = cupy.empty((len(a), b.shape[1]), a.dtype) if out is None or add else out
            matrix_product(a, b, made)
            if bias is not None:
                made += bias
            if row_sums is not None:
                sums = a.sum(axis=1)
                row_sums[...] = row_sums + sums if add else sums
            if out is not None and add:
                out += made
        return made if out is None else out

    def take_rows(self, table: Array, ids: Array) -> Array:
        cupy, module = parts()
        with table.device:
            out = cupy.empty((ids.size, table.shape[1]), table.dtype)
            bits = np.dtype(f"uint{8 * table.itemsize}")  # whatever they mean
            module.take_rows(table.view(bits), self.index(ids), out.view(bits), stream())
        return out.reshape(*ids.shape, table.shape[1])

    def sum_rows(self, ids: Array, rows: Array, count: int) -> Array:
        cupy, _ = parts()
        with rows.device:
            out = cupy.empty((count, rows.shape[1]), rows.dtype)
            sum_by_id(rows, self.index(ids), out)
        return out

    def softmax(self, x: Array, index: Array) -> tuple[Array, Array, Array, Array]:
        cupy, module = parts()
        with x.device:
            exponentials = cupy.empty(x.shape, x.dtype)
            maxima, sums, chosen = (cupy.empty(len(x), x.dtype) for _ in range(3))
            module.exponentials(x, self.index(index), exponentials, maxima, sums, chosen, stream())
        return exponentials, maxima, sums, chosen

    def softmax_gradient(self, exponentials: Array, index: Array, factors: Array, shifts: Array, out: Array) -> None:
        with out.device:
            parts()[1].softmax_gradient(exponentials, self.index(index), factors, shifts, out, stream())

    def cross_entropy(
        self, logits: Array, index: Array, factors: Array | None, maxima: Array, sums: Array, chosen: Array
    ) -> None:
        with logits.device:
            parts()[1].cross_entropy(logits, self.index(index), factors, maxima, sums, chosen, stream())

    def index(self, ids: Array) -> Array:
        """Ids of any form and integer type as a flat dense array of int64."""
        return parts()[0].ascontiguousarray(ids.reshape(-1).astype(np.int64, copy=False))

    def update(
        self,
        rule: str,
        numbers: list[float],
        parameters: list[Array],
        gradients: list[Array],
        states: list[list[Array] | None],
        rates: list[float],
        decays: list[float],
    ) -> None:
        with on_current(f"{rule}: parameters", parameters[0]).device:
            parts()[1].update(rule, numbers, parameters, gradients, states, rates, decays, stream())

    def sums_of_squares(self, arrays: Sequence[Array]) -> Array:
        cupy, module = parts()
        with arrays[0].device:
            sums = cupy.empty(len(arrays), np.float64)
            scratch = cupy.empty((len(arrays), module.SQUARES_PARTS), np.float64)
            module.sums_of_squares(list(arrays), scratch, sums, stream())
        return sums

    def clip(self, arrays: Sequence[Array], norm: Array, most: float) -> None:
        """Arrays of one dtype times min(most / norm, 1) in place; zeros where the norm is not finite."""
        with arrays[0].device:
            dense = [self.dense(array) for array in arrays]
            parts()[1].clip(dense, norm, most, stream())
            for array, clipped in zip(arrays, dense, strict=True):
                if clipped is not array:
                    array[...] = clipped


def sum_by_id(rows: Array, ids: Array, out: Array) -> None:
    """out[i] = the sum of the rows r with ids[r] == i, in rising order; rows (N, C), ids (N,), out (I, C)."""
    cupy, module = parts()
    order = cupy.argsort(ids, kind="stable")
    starts = cupy.searchsorted(ids[order], cupy.arange(len(out) + 1))
    module.sum_by_id(rows, order, starts, out, stream())
