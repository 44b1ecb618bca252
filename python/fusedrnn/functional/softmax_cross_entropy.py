"""Cross entropy of the softmax of logits.

For a position with logits x (V), target y, weight w and what its loss is divided by, d::

    loss = w · (log Σᵥ exp(xᵥ) - x_y)                                           (1)
    dxᵥ = dloss · w / d · (exp(xᵥ) / Σᵤ exp(xᵤ) - [v = y])                      (2)
"""

from __future__ import annotations

import numpy as np

from fusedrnn import checks
from fusedrnn.functional._checks import as_matrix, float_array
from fusedrnn.functional._reduction import Reduction, positions
from fusedrnn.saved import Saved, expect


def softmax_cross_entropy_forward(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    reduction: Reduction = "mean",
    weights: np.ndarray | None = None,
    check: bool = False,
    where: str = "softmax_cross_entropy_forward",
) -> tuple[float | np.ndarray, Saved]:
    """Cross entropy between softmax of logits and target classes, in nats.

    ``loss[n] = weights[n] · (log Σᵥ exp(logits[n, v]) - logits[n, targets[n]])``

    Parameters
    ----------
    logits : (..., V) array
        Numbers before the softmax, not probabilities; large ones do not overflow.
    targets : (...) array of any integer dtype, each 0 <= target < V
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights (the number of positions without weights).
    weights : (...) array of the dtype of `logits`, or bool, optional
        A position of weight 0 is ignored: its target is not read (so it may be any padding id) and its
        gradient is zero.
    check : also look at targets that are on a GPU, which waits for it
        Elsewhere they are looked at in any case. There, a bad one makes the loss NaN.

    Returns
    -------
    loss : float, summed in float64; with "none" a (...) array of the dtype of `logits`
    saved : Saved, for one `softmax_cross_entropy_backward`

    Raises
    ------
    TypeError
        An argument is no array, or of a dtype that is not stated above.
    ValueError
        Shapes do not fit, a target is outside [0, V), a weight is not finite, or the weights that "mean"
        divides by do not have a positive sum.

    Examples
    --------
    Equal logits over V classes cost log V, so the perplexity is V:

    >>> loss, saved = fr.functional.softmax_cross_entropy_forward(np.zeros((3, 8)), np.array([0, 3, 7]))
    >>> round(float(np.exp(loss)), 12)
    8.0
    """
    logits = float_array(where, "logits", logits)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"{where}: logits must have shape (..., V) with V >= 1, got {logits.shape}")
    at = positions(where, reduction, weights, logits, logits.shape[:-1])
    index = at.targets(where, targets, logits.shape[-1], check=check)
    # Dividing by the sums waits for backward, where it is part of a product that is made anyway.
    exponentials, maxima, sums, chosen = at.device.softmax(as_matrix(logits), index)
    sums = sums.astype(np.float64)
    losses = np.log(sums) + (maxima - chosen.astype(np.float64))
    saved = Saved(softmax_cross_entropy_forward, exponentials=exponentials, sums=sums, index=index, at=at)
    return at.reduce(losses), saved


def softmax_cross_entropy_backward(
    saved: Saved,
    dloss: float | np.ndarray = 1.0,
    *,
    retain: bool = False,
    where: str = "softmax_cross_entropy_backward",
) -> np.ndarray:
    """Gradient of `softmax_cross_entropy_forward` with respect to the logits.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dloss : number, or with reduction "none" a (...) array of the dtype of the logits
    retain : keep `saved` for another backward, at the price of one array of the size of the logits

    Returns
    -------
    (..., V) array

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> loss, saved = fr.functional.softmax_cross_entropy_forward(np.zeros((1, 4)), np.array([2]))
    >>> fr.functional.softmax_cross_entropy_backward(saved)
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    s = expect(where, saved).read(where, softmax_cross_entropy_forward)
    retain = checks.boolean(where, "retain", retain)
    coefficients = s.at.coefficients(where, dloss)

    saved.take(where, retain, softmax_cross_entropy_forward)
    # loss[n] = c·(log Σ exp(x) - x[target])  ->  dx = c·(exp(x) / Σ exp(x) - [v == target])
    dlogits: np.ndarray = np.empty_like(s.exponentials) if retain else s.exponentials
    factors, shifts = ((coefficients / s.sums).astype(s.at.dtype), coefficients.astype(s.at.dtype))
    s.at.device.softmax_gradient(s.exponentials, s.index, factors, shifts, dlogits)
    return dlogits.reshape(*s.at.shape, dlogits.shape[-1])
