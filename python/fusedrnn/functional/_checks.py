"""What the functions of this package share: checks of arrays and ids, dense views, and the product of two matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedrnn import _core, checks
from fusedrnn.backends import of_array


def float_array(where: str, name: str, value: Any) -> np.ndarray:
    """Return `value` if it is a NumPy or CuPy array of float32 or float64, else raise TypeError."""
    if hasattr(value, "__cuda_array_interface__") and value.dtype in (np.float32, np.float64):
        on_device: np.ndarray = of_array(value).array(where, name, value, value.dtype)
        return on_device
    if not isinstance(value, np.ndarray) or value.dtype.type not in (np.float32, np.float64):
        raise TypeError(f"{where}: {name} must be a numpy array of float32 or float64, got {checks.describe(value)}")
    return checks.array(where, name, value, np.dtype(value.dtype.type))


def check_ids(where: str, name: str, ids: Any, vocabulary_size: int, *, used: np.ndarray | None = None) -> np.ndarray:
    """Return `ids` as indices after checking that each lies in [0, vocabulary_size).

    Parameters
    ----------
    where, name : the function and the argument for the message
    ids : (...) array of any integer dtype
    vocabulary_size : V
    used : (...) bool array, optional
        Where False, the id is not read and 0 takes its place.

    Returns
    -------
    (...) array of ``numpy.intp``; `ids` itself where nothing had to change

    Raises
    ------
    TypeError
        `ids` is not an array of integers.
    ValueError
        An id is outside; the message names the first one, its position and the range.
    """
    values = integer_array(where, name, ids)
    if used is not None and not used.all():
        values = np.where(used, values, values.dtype.type(0))
    if values.size and (int(values.min()) < 0 or int(values.max()) >= vocabulary_size):
        bad = (values < 0) | (values >= vocabulary_size)
        at = tuple(int(axis) for axis in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ValueError(
            f"{where}: {name} must be in [0, V) = [0, {vocabulary_size}), got {int(values[at])} at position {at}"
        )
    return values.astype(np.intp, copy=False)


def integer_array(where: str, name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return value
    raise TypeError(f"{where}: {name} must be a numpy array of integers, got {checks.describe(value)}")


def dense(value: np.ndarray) -> np.ndarray:
    """`value` as the kernels read it: C-contiguous and aligned; itself where it is."""
    flags = value.flags
    return value if flags.c_contiguous and flags.aligned else np.require(value, requirements=("C", "A"))


def as_matrix(value: np.ndarray) -> np.ndarray:
    """`value` (..., C) as a dense (rows, C) matrix; also for sizes of zero, where reshape(-1) cannot guess."""
    return dense(value).reshape(math.prod(value.shape[:-1]), value.shape[-1])


def product(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, *, row_sums: np.ndarray | None = None
) -> np.ndarray:
    """a (M, K) · b (K, N) + bias (N,) by the kernels: the same bits for any number of threads.

    The sums of a's rows go to `row_sums` (M,), where it is given.
    """
    out = _core.empty((a.shape[0], b.shape[1]), a.dtype)
    _core.matmul(a, b, bias, out, False, row_sums)
    return out
