"""Mean squared error.

For an entry x with target y, weight w and what its loss is divided by, d::

    loss = w · (x - y)²                                                         (1)
    dx = dloss · w / d · 2·(x - y)                                              (2)
"""

from __future__ import annotations

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import float_array
from fusedrnn.functional._reduction import Reduction, entries
from fusedrnn.saved import Saved, expect


def mean_squared_error_forward(
    x: np.ndarray,
    targets: np.ndarray,
    *,
    reduction: Reduction = "mean",
    weights: np.ndarray | None = None,
    where: str = "mean_squared_error_forward",
) -> tuple[float | np.ndarray, Saved]:
    """Square of the difference between outputs and targets, equation (1).

    Parameters
    ----------
    x : (...) array
    targets : (...) array of the shape and dtype of `x`
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights of all entries (the number of entries without weights).
    weights : array of the dtype of `x`, or bool, optional
        Of the shape of `x`, or of that without the last axis: then one weight counts for all columns. Where it is 0,
        x and the target are not read and the gradient is zero.

    Returns
    -------
    loss : float, summed in float64; with "none" a (...) array of the dtype of `x`
    saved : Saved, for one `mean_squared_error_backward`

    Raises
    ------
    TypeError
        An argument is no array, or of a dtype that is not stated above.
    ValueError
        Shapes do not fit, a weight is not finite, or the weights that "mean" divides by do not have a positive sum.

    Examples
    --------
    >>> loss, saved = fr.functional.mean_squared_error_forward(np.array([1.0, 5.0]), np.array([2.0, 2.0]))
    >>> loss
    5.0
    """
    x = float_array(where, "x", x)
    targets = of_array(x).array(where, "targets", targets, x.dtype)
    checks.shape(where, "targets", targets, "(...)", x.shape)
    at = entries(where, reduction, weights, x)
    differences = at.read(x) - at.read(targets)
    return at.reduce(np.square(differences)), Saved(mean_squared_error_forward, differences=differences, at=at)


def mean_squared_error_backward(
    saved: Saved,
    dloss: float | np.ndarray = 1.0,
    *,
    retain: bool = False,
    where: str = "mean_squared_error_backward",
) -> np.ndarray:
    """Gradient of `mean_squared_error_forward` with respect to x, equation (2); that of the targets is its negative.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dloss : number, or with reduction "none" a (...) array of the dtype of `x`
    retain : keep `saved` for another backward

    Returns
    -------
    (...) array

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> loss, saved = fr.functional.mean_squared_error_forward(np.array([1.0, 5.0]), np.array([2.0, 2.0]))
    >>> fr.functional.mean_squared_error_backward(saved)
    array([-1.,  3.])
    """
    s = expect(where, saved).read(where, mean_squared_error_forward)
    retain = checks.boolean(where, "retain", retain)
    coefficients = s.at.coefficients(where, dloss)
    saved.take(where, retain, mean_squared_error_forward)
    # loss = c·(x - y)²  ->  dx = 2·c·(x - y)
    dx: np.ndarray = (2 * coefficients * s.differences).astype(s.at.dtype)
    return dx.reshape(s.at.shape)
