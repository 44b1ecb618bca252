"""The product of cuBLAS that the package asks for by name: of float32, with factors rounded to TF32."""

from __future__ import annotations

import ctypes

import numpy as np

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT_TENSOR_OP = 99
CUBLAS_COMPUTE_32F_FAST_TF32 = 77
CUDA_R_32F = 0

products = 0  # how many there were


def gemmEx(  # noqa: N802
    handle: int,
    turn_a: int,
    turn_b: int,
    rows: int,
    columns: int,
    depth: int,
    alpha: int,
    a: int,
    a_type: int,
    lda: int,
    b: int,
    b_type: int,
    ldb: int,
    beta: int,
    c: int,
    c_type: int,
    ldc: int,
    compute_type: int,
    algorithm: int,
) -> None:
    """C = alpha op(A) op(B) + beta C, column by column in memory."""
    global products
    products += 1
    assert (a_type, b_type, c_type) == (CUDA_R_32F,) * 3
    assert (compute_type, algorithm) == (CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT_TENSOR_OP)
    factors = (
        _matrix(a, depth, rows, lda).T if turn_a else _matrix(a, rows, depth, lda),
        _matrix(b, columns, depth, ldb).T if turn_b else _matrix(b, depth, columns, ldb),
    )
    out, (one,), (zero,) = _matrix(c, rows, columns, ldc), _numbers(alpha, 1), _numbers(beta, 1)
    out[...] = one * (_rounded(factors[0]) @ _rounded(factors[1])) + (zero * out if zero else 0)


def _numbers(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (count,))


def _matrix(address: int, rows: int, columns: int, pitch: int) -> np.ndarray:
    return _numbers(address, pitch * columns).reshape(columns, pitch)[:, :rows].T


def _rounded(matrix: np.ndarray) -> np.ndarray:
    """To ten bits of mantissa, ties away from zero."""
    bits = np.ascontiguousarray(matrix).view(np.uint32)
    finite = bits & 0x7F800000 != 0x7F800000
    return np.where(finite, (bits + (1 << 12)) & ~np.uint32((1 << 13) - 1), bits).view(np.float32)
