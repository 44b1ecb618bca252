"""Cross entropy of independent yes-or-no questions, from logits.

For a logit x with target y, weight w and what its loss is divided by, d, and σ(x) = 1 / (1 + exp(-x))::

    loss = -w · (y·log σ(x) + (1 - y)·log(1 - σ(x)))                            (1)
    dx = dloss · w / d · (σ(x) - y)                                             (2)
"""

from __future__ import annotations

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import float_array
from fusedrnn.functional._reduction import Reduction, entries
from fusedrnn.functional._sigmoid import sigmoid_losses
from fusedrnn.saved import Saved, expect


def binary_cross_entropy_forward(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    reduction: Reduction = "mean",
    weights: np.ndarray | None = None,
    where: str = "binary_cross_entropy_forward",
) -> tuple[float | np.ndarray, Saved]:
    """Cross entropy, in nats, between σ(logits) and targets, equation (1).

    Parameters
    ----------
    logits : (...) array
        Numbers before the sigmoid, not probabilities; large ones do not overflow.
    targets : (...) array of the dtype of `logits`, 0 <= target <= 1, or bool
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights of all entries (the number of entries without weights).
    weights : array of the dtype of `logits`, or bool, optional
        Of the shape of `logits`, or of that without the last axis: then one weight counts for all columns. Where it
        is 0, logit and target are not read and the gradient is zero.

    Returns
    -------
    loss : float, summed in float64; with "none" a (...) array of the dtype of `logits`
    saved : Saved, for one `binary_cross_entropy_backward`

    Raises
    ------
    TypeError
        An argument is no array, or of a dtype that is not stated above.
    ValueError
        Shapes do not fit, a target is outside [0, 1], a weight is not finite, or the weights that "mean" divides by
        do not have a positive sum.

    Examples
    --------
    >>> loss, saved = fr.functional.binary_cross_entropy_forward(np.array([0.0, 1e4]), np.array([True, True]))
    >>> round(2 * loss, 6)
    0.693147
    """
    logits = float_array(where, "logits", logits)
    targets = of_array(logits).array_or_mask(where, "targets", targets, logits.dtype)
    checks.shape(where, "targets", targets, "(...)", logits.shape)
    at = entries(where, reduction, weights, logits)
    x, y = at.read(logits), at.read(targets)
    if at.device.checks_values:
        _check_targets(where, y, logits.shape)
    losses, sigmoid = sigmoid_losses(x, y)
    return at.reduce(losses), Saved(binary_cross_entropy_forward, differences=sigmoid - y, at=at)


def _check_targets(where: str, targets: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless all of (n,) targets are in [0, 1]; `shape` is that of the argument."""
    fits = (targets >= 0) & (targets <= 1)
    if not fits.all():
        first = int(np.argmin(fits))
        place = tuple(int(axis) for axis in np.unravel_index(first, shape))
        raise ValueError(f"{where}: targets must be in [0, 1], got {targets[first]} at position {place}")


def binary_cross_entropy_backward(
    saved: Saved,
    dloss: float | np.ndarray = 1.0,
    *,
    retain: bool = False,
    where: str = "binary_cross_entropy_backward",
) -> np.ndarray:
    """Gradient of `binary_cross_entropy_forward` with respect to the logits, equation (2).

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dloss : number, or with reduction "none" a (...) array of the dtype of the logits
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
    >>> loss, saved = fr.functional.binary_cross_entropy_forward(np.zeros(2), np.array([1.0, 0.0]), reduction="sum")
    >>> fr.functional.binary_cross_entropy_backward(saved)
    array([-0.5,  0.5])
    """
    s = expect(where, saved).read(where, binary_cross_entropy_forward)
    retain = checks.boolean(where, "retain", retain)
    coefficients = s.at.coefficients(where, dloss)
    saved.take(where, retain, binary_cross_entropy_forward)
    # loss = -c·(y·log σ(x) + (1 - y)·log(1 - σ(x)))  ->  dx = c·(σ(x) - y)
    dx: np.ndarray = (coefficients * s.differences).astype(s.at.dtype)
    return dx.reshape(s.at.shape)
