"""The linear map to one number per class with softmax and cross entropy, as one operation.

With rows x (K), a weight W (V, K), a bias b (V), targets and the coefficient c of a row in the loss::

    logits = x · Wᵀ + b                                                          (1)
    loss = Σ c · (log Σᵥ exp(logits[v]) - logits[target])                        (2)
    dlogits = c · (softmax(logits) - [v == target])                              (3)
    dx = dlogits · W,   dW = Σ dlogitsᵀ · x,   db = Σ dlogits   over all rows    (4)

The loss is the end of the way, so its gradient is known as soon as the logits are. They are made for some rows at a
time, turned into their gradient in place, and used up: the logits of a large vocabulary never exist as a whole.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import as_matrix, dense
from fusedrnn.functional._reduction import positions
from fusedrnn.functional.linear import check_linear
from fusedrnn.saved import Saved, expect


class Gradients(NamedTuple):
    """Of `linear_cross_entropy_forward`: ``dx`` (..., K), ``dweight`` (V, K), ``dbias`` (V,) or None."""

    dx: np.ndarray
    dweight: np.ndarray
    dbias: np.ndarray | None


def linear_cross_entropy_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    targets: np.ndarray,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    weights: np.ndarray | None = None,
    scale: float = 1.0,
    training: bool = True,
    check: bool = False,
    where: str = "linear_cross_entropy_forward",
) -> tuple[Any, Saved]:
    """Cross entropy of the softmax of ``x · weightᵀ + bias`` against targets, in nats.

    The same as `linear_forward` and `softmax_cross_entropy_forward`, in less memory.

    Parameters
    ----------
    x : (..., K) array
    weight : (V, K) array
    bias : (V,) array or None
    targets : (...) array of any integer dtype, each 0 <= target < V
    reduction : {"mean", "sum"}
        "mean" divides the sum by the sum of the weights (the number of positions without weights).
    weights : (...) array of the dtype of `x`, or bool, optional
        A position of weight 0 is ignored: its target is not read and its gradient is zero. Its x must be finite all
        the same, for its zero times x joins the gradient of the weight.
    scale : factor on the loss and on its gradients
    training : whether the gradients are wanted
        They are made at once then. Without it only the loss is, in a third of the time, and
        `linear_cross_entropy_backward` has to start over: until then x, weight and bias must stay as they are.
    check : also look at targets that are on a GPU, which waits for it
        Elsewhere they are looked at in any case. There, a bad one makes the loss NaN.

    Returns
    -------
    loss : float, summed in float64; on a GPU an array without axes of it
    saved : Saved, for one `linear_cross_entropy_backward`

    Raises
    ------
    TypeError
        An argument is no array, or of a dtype that is not stated above.
    ValueError
        Shapes do not fit, a target is outside [0, V), a weight is not finite, or the weights that "mean"
        divides by do not have a positive sum.

    Examples
    --------
    >>> x, weight, targets = np.ones((4, 3)), np.zeros((8, 3)), np.array([0, 1, 2, 7])
    >>> loss, saved = fr.functional.linear_cross_entropy_forward(x, weight, None, targets)
    >>> round(float(np.exp(loss)), 12)
    8.0
    >>> grads = fr.functional.linear_cross_entropy_backward(saved)
    >>> grads.dweight[:, 0].tolist(), grads.dbias
    ([-0.125, -0.125, -0.125, 0.125, 0.125, 0.125, 0.125, -0.125], None)
    """
    x, weight = check_linear(where, x, weight)
    if not len(weight):
        raise ValueError(f"{where}: weight must have shape (V, K) with V >= 1, got {weight.shape}")
    if bias is not None:
        bias = of_array(weight).array(where, "bias", bias, weight.dtype)
        checks.shape(where, "bias", bias, "(V,)", weight.shape[:1])
    checks.choice(where, "reduction", reduction, ("mean", "sum"))
    at = positions(where, reduction, weights, x, x.shape[:-1])
    index = at.targets(where, targets, len(weight), check=check)
    rows = _Rows(as_matrix(x), dense(weight), None if bias is None else dense(bias), index)
    scale = checks.real(where, "scale", scale, -math.inf, math.inf)
    factors = at.coefficients(where, scale).astype(x.dtype)
    losses, grads = rows.compute(factors if checks.boolean(where, "training", training) else None)
    saved = Saved(linear_cross_entropy_forward, rows=rows, factors=factors, grads=grads, shape=x.shape)
    return at.reduce(losses) * scale, saved


def linear_cross_entropy_backward(
    saved: Saved, dloss: float = 1.0, *, retain: bool = False, where: str = "linear_cross_entropy_backward"
) -> Gradients:
    """Gradients of `linear_cross_entropy_forward`.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dloss : number
    retain : keep `saved` for another backward, at the price of a copy of the gradients

    Returns
    -------
    dx : (..., K) array
    dweight : (V, K) array
    dbias : (V,) array, or None without a bias
        As a named tuple.

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> x, weight = np.array([[1.0]]), np.array([[0.0], [0.0]])
    >>> _, saved = fr.functional.linear_cross_entropy_forward(x, weight, np.zeros(2), np.array([1]))
    >>> grads = fr.functional.linear_cross_entropy_backward(saved, 4.0)
    >>> grads.dweight.tolist(), grads.dbias.tolist()
    ([[2.0], [-2.0]], [2.0, -2.0])
    """
    s = expect(where, saved).read(where, linear_cross_entropy_forward)
    retain = checks.boolean(where, "retain", retain)
    number = checks.real(where, "dloss", dloss, -math.inf, math.inf)
    saved.take(where, retain, linear_cross_entropy_forward)
    grads: Gradients = s.grads
    if grads is None:
        _, grads = s.rows.compute(s.factors)
    elif retain:
        grads = Gradients(grads.dx.copy(), grads.dweight.copy(), None if grads.dbias is None else grads.dbias.copy())
    if number != 1.0:
        for part in grads:
            if part is not None:
                part *= part.dtype.type(number)
    return grads._replace(dx=grads.dx.reshape(s.shape))


class _Rows(NamedTuple):
    """Dense arguments: ``x`` (R, K), ``weight`` (V, K), ``bias`` (V,) or None, ``targets`` (R,) int64."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    targets: np.ndarray

    def compute(self, factors: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """The loss of each row (R,) in float64, and with `factors` (R,), the c of equation (3), the gradients."""
        count, dtype, device = len(self.x), self.x.dtype, of_array(self.x)
        maxima, sums, chosen = (device.empty((count,), dtype) for _ in range(3))
        grads = None if factors is None else self._empty_gradients()
        parts = min(count, math.ceil(count * len(self.weight) * dtype.itemsize / device.logits_bytes))
        scratch = device.empty((math.ceil(count / max(parts, 1)), len(self.weight)), dtype)
        for part in range(parts):
            rows = slice(count * part // parts, count * (part + 1) // parts)
            x, logits = self.x[rows], scratch[: rows.stop - rows.start]
            device.product(x, self.weight.T, self.bias, out=logits)
            of_rows = None if factors is None else factors[rows]
            device.cross_entropy(logits, self.targets[rows], of_rows, maxima[rows], sums[rows], chosen[rows])
            if grads is not None:
                device.product(logits, self.weight, out=grads.dx[rows])
                device.product(logits.T, x, out=grads.dweight, add=part > 0, row_sums=grads.dbias)
        losses = np.log(sums.astype(np.float64)) + (maxima.astype(np.float64) - chosen)
        return losses, grads

    def _empty_gradients(self) -> Gradients:
        """For the first rows to fill; zeros where there is no row."""
        arrays = (self.x, self.weight) if self.bias is None else (self.x, self.weight, self.bias)
        dx, dweight, *dbias = (of_array(array).empty(array.shape, array.dtype) for array in arrays)
        if not len(self.x):
            for gradient in (dx, dweight, *dbias):
                gradient[...] = 0
        return Gradients(dx, dweight, dbias[0] if dbias else None)
