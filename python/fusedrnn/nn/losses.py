"""Losses: a number for the model's output and the target, and the gradient of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.module import Module
from fusedrnn.saved import Saved


class SoftmaxCrossEntropy(Module):
    """Cross entropy, in nats, between the softmax of logits and target classes.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights (the number of positions without weights).

    Examples
    --------
    >>> loss = fr.nn.SoftmaxCrossEntropy()
    >>> logits = np.zeros((2, 4))
    >>> value, saved = loss.forward(logits, np.array([1, -1]), np.array([1.0, 0.0]))
    >>> round(value, 6)
    1.386294
    >>> loss.backward(saved)
    array([[ 0.25, -0.75,  0.25,  0.25],
           [ 0.  ,  0.  ,  0.  ,  0.  ]])
    """

    def __init__(self, reduction: functional.Reduction = "mean") -> None:
        super().__init__()
        checks.choice("SoftmaxCrossEntropy", "reduction", reduction, functional.REDUCTIONS)
        self.reduction = reduction

    def __call__(
        self, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> float | np.ndarray:
        """The loss alone, see `forward`."""
        return self.forward(logits, targets, weights)[0]

    def forward(
        self, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[float | np.ndarray, Saved]:
        """Loss of logits (..., V) against integer targets (...).

        Parameters
        ----------
        logits : (..., V) array
            Numbers before the softmax, not probabilities.
        targets : (...) array of any integer dtype, each 0 <= target < V
        weights : (...) array of the dtype of `logits`, or bool, optional
            A position of weight 0 is ignored; its target is not read.

        Returns
        -------
        loss : float, summed in float64; on a GPU an array without axes
            With "none" a (...) array of the dtype of `logits`
        saved : Saved, for one `backward`
        """
        return functional.softmax_cross_entropy_forward(
            logits, targets, reduction=self.reduction, weights=weights, where="SoftmaxCrossEntropy.forward"
        )

    def backward(self, saved: Saved, dloss: float | np.ndarray = 1.0, *, retain: bool = False) -> np.ndarray:
        """Gradient (..., V) of the loss with respect to the logits, times `dloss`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dloss : number, or with "none" a (...) array of the dtype of the logits
        retain : keep `saved` for another backward

        Returns
        -------
        (..., V) array

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        return functional.softmax_cross_entropy_backward(
            saved, dloss, retain=retain, where="SoftmaxCrossEntropy.backward"
        )


class _EntryLoss(Module):
    """What losses share in which every entry of an array is a position of its own."""

    _forward: ClassVar[Callable[..., tuple[float | np.ndarray, Saved]]]
    _backward: ClassVar[Callable[..., np.ndarray]]

    def __init__(self, reduction: functional.Reduction = "mean") -> None:
        super().__init__()
        checks.choice(type(self).__name__, "reduction", reduction, functional.REDUCTIONS)
        self.reduction = reduction

    def __call__(self, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
        """The loss alone, see `forward`."""
        return self.forward(x, targets, weights)[0]

    def forward(
        self, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[float | np.ndarray, Saved]:
        """Loss of x (...) against targets (...).

        Parameters
        ----------
        x : (...) array
        targets : (...) array of the dtype of `x`; for a cross entropy in [0, 1], or bool
        weights : array of the dtype of `x`, or bool, optional
            Of the shape of `x`, or of that without the last axis: then one weight counts for all columns. Where it
            is 0, x and the target are not read.

        Returns
        -------
        loss : float, summed in float64; on a GPU an array without axes
            With "none" a (...) array of the dtype of `x`
        saved : Saved, for one `backward`
        """
        where = f"{type(self).__name__}.forward"
        return type(self)._forward(x, targets, reduction=self.reduction, weights=weights, where=where)

    def backward(self, saved: Saved, dloss: float | np.ndarray = 1.0, *, retain: bool = False) -> np.ndarray:
        """Gradient (...) of the loss with respect to x, times `dloss`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dloss : number, or with "none" a (...) array of the dtype of x
        retain : keep `saved` for another backward

        Returns
        -------
        (...) array

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        return type(self)._backward(saved, dloss, retain=retain, where=f"{type(self).__name__}.backward")


class MeanSquaredError(_EntryLoss):
    """Square of the difference between outputs and targets.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights of all entries (the number of entries without weights).

    Examples
    --------
    >>> loss = fr.nn.MeanSquaredError()
    >>> value, saved = loss.forward(np.array([[1.0], [5.0], [9.0]]), np.full((3, 1), 2.0), np.array([1.0, 1.0, 0.0]))
    >>> value
    5.0
    >>> loss.backward(saved).ravel().tolist()
    [-1.0, 3.0, 0.0]
    """

    _forward = staticmethod(functional.mean_squared_error_forward)
    _backward = staticmethod(functional.mean_squared_error_backward)


class BinaryCrossEntropy(_EntryLoss):
    """Cross entropy, in nats, between the sigmoid of logits and targets in [0, 1].

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights of all entries (the number of entries without weights).

    Examples
    --------
    >>> loss = fr.nn.BinaryCrossEntropy("sum")
    >>> value, saved = loss.forward(np.zeros(2), np.array([True, False]))
    >>> round(value, 6)
    1.386294
    >>> loss.backward(saved)
    array([-0.5,  0.5])
    """

    _forward = staticmethod(functional.binary_cross_entropy_forward)
    _backward = staticmethod(functional.binary_cross_entropy_backward)
