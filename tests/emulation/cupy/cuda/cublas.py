"""The product of cuBLAS that the package asks for by name."""

from __future__ import annotations

import ctypes

import numpy as np

DTYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}  # CUDA_R_32F, _64F, _16F, _16BF
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77
GEMM_DEFAULT_TENSOR_OP = 99

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
    assert algorithm == GEMM_DEFAULT_TENSOR_OP
    assert a_type == b_type
    computed = "float64" if compute_type == COMPUTE_64F else "float32"
    factors = (
        _matrix(a, depth, rows, lda, a_type).T if turn_a else _matrix(a, rows, depth, lda, a_type),
        _matrix(b, columns, depth, ldb, b_type).T if turn_b else _matrix(b, depth, columns, ldb, b_type),
    )
    if compute_type == COMPUTE_32F_FAST_TF32:
        assert a_type == 0
        factors = _rounded(factors[0]), _rounded(factors[1])
    else:
        assert compute_type == (COMPUTE_64F if a_type == 1 else COMPUTE_32F)
    out = _matrix(c, rows, columns, ldc, c_type)
    (one,), (zero,) = _numbers(alpha, 1, computed), _numbers(beta, 1, computed)
    made = one * (factors[0].astype(computed) @ factors[1].astype(computed)) + (zero * out if zero else 0)
    out[...] = made.astype(out.dtype)


def _numbers(address: int, count: int, dtype: str) -> np.ndarray:
    memory = (ctypes.c_byte * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(memory, dtype)


def _matrix(address: int, rows: int, columns: int, pitch: int, kind: int) -> np.ndarray:
    return _numbers(address, pitch * columns, DTYPES[kind]).reshape(columns, pitch)[:, :rows].T


def _rounded(matrix: np.ndarray) -> np.ndarray:
    """To ten bits of mantissa, ties away from zero."""
    bits = np.ascontiguousarray(matrix).view(np.uint32)
    finite = bits & 0x7F800000 != 0x7F800000
    return np.where(finite, (bits + (1 << 12)) & ~np.uint32((1 << 13) - 1), bits).view(np.float32)
