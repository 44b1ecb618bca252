"""The large products, which cuBLAS makes: CuPy's own, or with factors that may be rounded to TF32."""

from __future__ import annotations

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts

ONE, ZERO = np.ones((), np.float32), np.zeros((), np.float32)


def matrix_product(a: Array, b: Array, out: Array, *, tf32: bool = False) -> None:
    """out (M, N) = a (M, K) b (K, N); zeros where K is 0. With `tf32` and float32 on tensor cores, rounded for them."""
    if a.shape[1] == 0:
        out[...] = 0
    elif out.size:
        if tf32 and a.dtype == np.float32:
            _tf32_product(a, b, out)
        else:
            parts()[0].matmul(a, b, out=out)


def transposed_product(a: Array, b: Array, out: Array, *, tf32: bool = False) -> None:
    """out (M, N) = a (K, M)^T b (K, N)."""
    matrix_product(a.T, b, out, tf32=tf32)


def _tf32_product(a: Array, b: Array, out: Array) -> None:
    """By cuBLAS itself: which products CuPy rounds is a setting of the process, and other threads have theirs."""
    cupy, _ = parts()
    cublas, kind = cupy.cuda.cublas, cupy.cuda.runtime.CUDA_R_32F
    (a, a_turned), (b, b_turned) = _as_stored(a), _as_stored(b)
    made = out if out.flags.c_contiguous else cupy.empty(out.shape, out.dtype)
    operations = (cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T)
    rows, columns = made.shape
    depth = a.shape[0] if a_turned else a.shape[1]
    # cuBLAS counts columns first, so that it sees each array turned: out^T = b^T a^T.
    cublas.gemmEx(
        cupy.cuda.device.get_cublas_handle(),
        operations[b_turned],
        operations[a_turned],
        columns,
        rows,
        depth,
        ONE.ctypes.data,
        b.data.ptr,
        kind,
        b.shape[1],
        a.data.ptr,
        kind,
        a.shape[1],
        ZERO.ctypes.data,
        made.data.ptr,
        kind,
        columns,
        cublas.CUBLAS_COMPUTE_32F_FAST_TF32,
        cublas.CUBLAS_GEMM_DEFAULT_TENSOR_OP,
    )
    if made is not out:
        out[...] = made


def _as_stored(matrix: Array) -> tuple[Array, bool]:
    """A dense array of the matrix, or of the matrix turned, and whether it is that."""
    if not matrix.flags.c_contiguous and matrix.T.flags.c_contiguous:
        return matrix.T, True
    return matrix if matrix.flags.c_contiguous else parts()[0].ascontiguousarray(matrix), False
