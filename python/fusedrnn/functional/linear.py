"""The linear map over the last axis.

With rows x (K), a weight W (N, K) and a bias b (N)::

    out = x · Wᵀ + b                                                            (1)
    dx = dout · W,   dW = Σ doutᵀ · x,   db = Σ dout   over all rows            (2)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import as_matrix, dense, float_array, product


def check_linear(where: str, x: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return `x` (..., K) and `weight` (N, K) after checking that they fit."""
    weight = float_array(where, "weight", weight)
    x = of_array(weight).array(where, "x", x, weight.dtype)
    if weight.ndim != 2:
        raise ValueError(f"{where}: weight must have shape (N, K), got {weight.shape}")
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"{where}: x must have shape (..., K) = (..., {weight.shape[1]}), got {x.shape}")
    return x, weight


def linear_forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, *, where: str = "linear_forward"
) -> np.ndarray:
    """Compute ``out = x · weightᵀ + bias``.

    Parameters
    ----------
    x : (..., K) array
    weight : (N, K) array
    bias : (N,) array, optional

    Returns
    -------
    (..., N) array

    Raises
    ------
    TypeError
        An argument is no array, or its dtype differs from that of `weight`.
    ValueError
        Shapes do not fit.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0]])
    >>> fr.functional.linear_forward(x, np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([10.0, 20.0]))
    array([[13., 26.]])
    """
    x, weight = check_linear(where, x, weight)
    if bias is not None:
        bias = of_array(weight).array(where, "bias", bias, weight.dtype)
        checks.shape(where, "bias", bias, "(N,)", weight.shape[:1])
    out = product(as_matrix(x), dense(weight).T, None if bias is None else dense(bias))
    return out.reshape(*x.shape[:-1], len(weight))


def linear_backward(
    x: np.ndarray, weight: np.ndarray, dout: np.ndarray, *, need_dx: bool = True, where: str = "linear_backward"
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of `linear_forward`.

    Parameters
    ----------
    x, weight : as in the forward call
    dout : (..., N) array
    need_dx : without it dx is None, which saves a matrix product where x is data

    Returns
    -------
    dx : (..., K) array or None, ``dout · weight``
    dweight : (N, K) array, ``doutᵀ · x``
    dbias : (N,) array, `dout` summed over all rows

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [0.0, 3.0]])
    >>> dx, dweight, dbias = fr.functional.linear_backward(x, weight, np.array([[1.0, 10.0]]))
    >>> dx.tolist(), dweight.tolist(), dbias.tolist()
    ([[1.0, 31.0]], [[1.0, 2.0], [10.0, 20.0]], [1.0, 10.0])
    """
    x, weight = check_linear(where, x, weight)
    device = of_array(weight)
    dout = device.array(where, "dout", dout, weight.dtype)
    checks.shape(where, "dout", dout, "(..., N)", (*x.shape[:-1], len(weight)))
    need_dx = checks.boolean(where, "need_dx", need_dx)
    drows = as_matrix(dout)
    dx = device.product(drows, dense(weight)).reshape(x.shape) if need_dx else None
    dbias = device.empty((len(weight),), weight.dtype)
    return dx, device.product(drows.T, as_matrix(x), row_sums=dbias), dbias
