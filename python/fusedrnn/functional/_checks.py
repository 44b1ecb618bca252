"""What the functions of this package share: checks of arrays and ids, and dense views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedrnn.backends import Backend, is_on_gpu, of_array, of_device


def float_array(where: str, name: str, value: Any, *, narrow: bool = False) -> np.ndarray:
    """Return `value` as a NumPy or CuPy array if it is one of float32 or float64, else raise TypeError.

    With `narrow`, one on a GPU may be of float16 or bfloat16 too.
    """
    device = of_array(value) if is_on_gpu(value) else of_device(where, "cpu")
    array: np.ndarray = device.floats(where, name, value, narrow)
    return array


def check_ids(
    where: str,
    name: str,
    ids: Any,
    vocabulary_size: int,
    *,
    device: Backend,
    used: np.ndarray | None = None,
    check: bool = False,
) -> np.ndarray:
    """Return `ids` as indices after checking that each lies in [0, vocabulary_size).

    On a GPU this last is left out unless `check` asks for it, since it waits for the device.

    Parameters
    ----------
    where, name : the function and the argument for the message
    ids : (...) array of any integer dtype
    vocabulary_size : V
    device : where they must be
    used : (...) bool array, optional
        Where False, the id is not read and 0 takes its place.
    check : look at the ids wherever they are

    Returns
    -------
    (...) array of int64; `ids` itself where nothing had to change

    Raises
    ------
    TypeError
        `ids` is not an array of integers.
    ValueError
        An id is outside; the message names the first one, its position and the range.
    """
    values = device.integers(where, name, ids)
    if used is not None:
        values = np.where(used, values, values.dtype.type(0))
    look = (device.checks_values or check) and values.size > 0
    if look and (int(values.min()) < 0 or int(values.max()) >= vocabulary_size):
        bad = (values < 0) | (values >= vocabulary_size)
        at = tuple(int(axis) for axis in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ValueError(
            f"{where}: {name} must be in [0, V) = [0, {vocabulary_size}), got {int(values[at])} at position {at}"
        )
    index: np.ndarray = values.astype(np.int64, copy=False)
    return index


def dense(value: np.ndarray) -> np.ndarray:
    """`value` as the kernels read it: C-contiguous and aligned; itself where it is."""
    view: np.ndarray = of_array(value).dense(value)
    return view


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """a (M, K) · b (K, N) + bias (N,)."""
    out: np.ndarray = of_array(a).product(a, b, bias)
    return out


def as_matrix(value: np.ndarray) -> np.ndarray:
    """`value` (..., C) as a dense (rows, C) matrix; also for sizes of zero, where reshape(-1) cannot guess."""
    return dense(value).reshape(math.prod(value.shape[:-1]), value.shape[-1])
