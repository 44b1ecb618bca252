"""Sigmoid and the cross entropy of a logit, for logits of any size.

With σ(x) = 1 / (1 + exp(-x)) and a target y in [0, 1], the loss is written with exponents that are never positive::

    -y·log σ(x) - (1 - y)·log(1 - σ(x)) = |x|·q + log(1 + exp(-|x|))            (1)
    q = 1 - y  where x >= 0,   y  where x < 0
    σ(x) = 1 / (1 + exp(-|x|))  where x >= 0,   exp(-|x|) / (1 + exp(-|x|))  where x < 0       (2)
"""

from __future__ import annotations

import numpy as np


def sigmoid_losses(x: np.ndarray, y: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses (1) and σ (2) of float64 logits `x` and targets `y`, a number or an array of the same shape."""
    size = np.abs(x)
    small = np.exp(-size)
    positive = x >= 0
    q = np.where(positive, np.subtract(1.0, y), y)
    # An infinite logit on the side of its target costs nothing, but infinity times 0 is not 0.
    losses = np.where(q != 0, size, 0.0) * q + np.log1p(small)
    return losses, np.where(positive, 1.0, small) / (1.0 + small)
