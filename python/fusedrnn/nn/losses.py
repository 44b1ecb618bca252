"""Losses: a number for the model's output and the target, and the gradient of it."""

from __future__ import annotations

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
        loss : float, summed in float64; with "none" a (...) array of the dtype of `logits`
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
