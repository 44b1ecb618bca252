"""The large products, which cuBLAS makes: CuPy's own, or by name where CuPy would not make them as they are wanted.

These are those whose factors may be rounded to TF32, since which products CuPy rounds is a setting of the process, and
other threads have theirs; and all where CuPy's current stream is captured, since CuPy 14 refuses to call cuBLAS there.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts, stream

# cudaDataType, cublasComputeType_t and cublasGemmAlgo_t: library_types.h and cublas_api.h of CUDA's toolkit.
KINDS = {"float16": 2, "bfloat16": 14, "float32": 0, "float64": 1}
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77
DEFAULT_TENSOR_OP = 99

# cublasSetStream_v2(handle, stream); cublasGemmEx(handle, turn a, turn b, rows, columns, depth, one, a, kind, pitch,
# b, kind, pitch, zero, out, kind, pitch, compute, algorithm)
_INT, _POINTER = ctypes.c_int, ctypes.c_void_p
_MATRIX = (_POINTER, _INT, _INT)
SetStream = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER)
Gemm = ctypes.CFUNCTYPE(_INT, _POINTER, *[_INT] * 5, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX, _INT, _INT)


class Library(NamedTuple):
    """The functions of cuBLAS that are called past CuPy."""

    set_stream: Any
    gemm: Any


def matrix_product(a: Array, b: Array, out: Array, *, tf32: bool = False) -> None:
    """out (M, N) = a (M, K) b (K, N); zeros where K is 0. With `tf32` and float32 on tensor cores, rounded for them."""
    if a.shape[1] == 0:
        out[...] = 0
    elif out.size:
        cupy, _ = parts()
        rounded, captured = tf32 and a.dtype == np.float32, cupy.cuda.get_current_stream().is_capturing()
        if rounded or captured:
            _product_by_name(a, b, out, rounded, captured)
        else:
            cupy.matmul(a, b, out=out)


def transposed_product(a: Array, b: Array, out: Array, *, tf32: bool = False) -> None:
    """out (M, N) = a (K, M)^T b (K, N)."""
    matrix_product(a.T, b, out, tf32=tf32)


def _product_by_name(a: Array, b: Array, out: Array, rounded: bool, captured: bool) -> None:
    cupy, _ = parts()
    (a, a_turned), (b, b_turned) = _as_stored(a), _as_stored(b)
    made = out if out.flags.c_contiguous else cupy.empty(out.shape, out.dtype)
    rows, columns = made.shape
    depth = a.shape[0] if a_turned else a.shape[1]
    double = out.dtype == np.float64
    one, zero = (np.array(value, np.float64 if double else np.float32) for value in (1, 0))
    gemm = _gemm_past_cupy if captured else cupy.cuda.cublas.gemmEx
    # cuBLAS counts columns first, so that it sees each array turned: out^T = b^T a^T.
    gemm(
        cupy.cuda.device.get_cublas_handle(),
        int(b_turned),
        int(a_turned),
        columns,
        rows,
        depth,
        one.ctypes.data,
        b.data.ptr,
        KINDS[b.dtype.name],
        b.shape[1],
        a.data.ptr,
        KINDS[a.dtype.name],
        a.shape[1],
        zero.ctypes.data,
        made.data.ptr,
        KINDS[made.dtype.name],
        columns,
        COMPUTE_32F_FAST_TF32 if rounded else COMPUTE_64F if double else COMPUTE_32F,
        DEFAULT_TENSOR_OP,
    )
    if made is not out:
        out[...] = made


def _as_stored(matrix: Array) -> tuple[Array, bool]:
    """A dense array of the matrix, or of the matrix turned, and whether it is that."""
    if not matrix.flags.c_contiguous and matrix.T.flags.c_contiguous:
        return matrix.T, True
    return matrix if matrix.flags.c_contiguous else parts()[0].ascontiguousarray(matrix), False


def _gemm_past_cupy(handle: int, turn_b: int, turn_a: int, columns: int, rows: int, depth: int, *rest: int) -> None:
    """A node of the graph that CuPy's current stream is captured for, with memory of its own from CUDA."""
    if max(columns, rows, depth) > np.iinfo(np.int32).max:  # ctypes would cut them off
        raise ValueError(f"cuda: a product must have sizes below 2**31, got {rows} x {depth} x {columns}")
    library = _library()
    _check("cublasSetStream", library.set_stream(handle, stream()))
    _check("cublasGemmEx", library.gemm(handle, turn_b, turn_a, columns, rows, depth, *rest))


@cache
def _library() -> Library:
    """The cuBLAS that CuPy has loaded: of the same version, so it is found by its name alone."""
    name = f"libcublas.so.{parts()[0].cuda.runtime.runtimeGetVersion() // 1000}"
    try:
        loaded = ctypes.CDLL(name)
    except OSError as error:
        raise RuntimeError(
            f"cuda: a product in a captured stream needs {name}, which cannot be loaded: {error}"
        ) from None
    return Library(SetStream(("cublasSetStream_v2", loaded)), Gemm(("cublasGemmEx", loaded)))


def _check(name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"cuda: {name} must return 0 while CuPy's current stream is captured, got status {status}")
