"""How the losses of single positions become one number, and how its gradient comes back to them.

With losses l, weights w (1 where none are given) and the divisor d, which is Σ w with "mean" and 1 otherwise::

    loss = Σ w · l / d   with "mean" and "sum",   w · l   with "none"           (1)
    dl = dloss · w / d                                                          (2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import Backend, of_array
from fusedrnn.functional._checks import check_ids

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class Positions:
    """The positions of one loss, flat: n of them, their weights, and what the sum is divided by."""

    shape: tuple[int, ...]
    dtype: np.dtype
    reduction: str
    scale: np.ndarray | None  # (n,) float64
    divisor: Any  # a number, or on a GPU an array without axes
    device: Backend

    @property
    def count(self) -> int:
        """The number n of positions."""
        return math.prod(self.shape)

    @property
    def used(self) -> np.ndarray | None:
        """(n,) bool array, False where the weight is 0; None where there are no weights."""
        return None if self.scale is None else self.scale != 0

    def read(self, value: np.ndarray) -> np.ndarray:
        """`value` (...) as (n,) float64, with 0 in place of what is not used."""
        wide: np.ndarray = value.astype(np.float64).reshape(-1)
        return wide if self.scale is None else np.where(self.scale != 0, wide, 0.0)

    def targets(self, where: str, value: Any, classes: int, *, check: bool = False) -> np.ndarray:
        """`value` (...) as (n,) indices after `check_ids` of those used, in [0, classes); 0 for the others."""
        value = self.device.integers(where, "targets", value)
        checks.shape(where, "targets", value, "(...)", self.shape)
        used = None if self.used is None else self.used.reshape(self.shape)
        check = checks.boolean(where, "check", check)
        return check_ids(where, "targets", value, classes, device=self.device, used=used, check=check).reshape(-1)

    def reduce(self, losses: np.ndarray) -> Any:
        """Equation (1) for losses (n,) in float64."""
        if self.scale is not None:
            # 0 times a loss that is not finite would not be 0.
            losses = np.where(self.scale != 0, losses, 0.0) * self.scale
        if self.reduction == "none":
            return losses.astype(self.dtype).reshape(self.shape)
        return self.device.number(losses.sum()) / self.divisor

    def coefficients(self, where: str, dloss: Any) -> np.ndarray:
        """Equation (2): check `dloss` and return dl (n,) in float64."""
        if self.reduction == "none":
            dlosses = self.device.array(where, "dloss", dloss, self.dtype)
            checks.shape(where, "dloss", dlosses, "(...)", self.shape)
            coefficients: np.ndarray = dlosses.reshape(-1).astype(np.float64)
        else:
            number = checks.real(where, "dloss", dloss, -math.inf, math.inf)
            coefficients = self.device.full((self.count,), number / self.divisor, np.dtype(np.float64))
        return coefficients if self.scale is None else coefficients * self.scale


def positions(where: str, reduction: Any, weights: Any, of: np.ndarray, shape: tuple[int, ...]) -> Positions:
    """Check `reduction` and `weights` (...) for positions of `shape`, with dtype and device of the array `of`.

    On a GPU the values of weights are not looked at, since that waits for the device: bad ones make the loss infinite
    or NaN there.

    Raises
    ------
    TypeError
        `weights` is no array of `dtype` or bool.
    ValueError
        Its shape is another one, a weight is not finite, or the weights that "mean" divides by do not have a
        positive sum.
    """
    checks.choice(where, "reduction", reduction, REDUCTIONS)
    scale, device = None, of_array(of)
    if weights is not None:
        weights = device.array_or_mask(where, "weights", weights, of.dtype)
        checks.shape(where, "weights", weights, "(...)", shape)
        scale = weights.astype(np.float64).reshape(-1)
        if device.checks_values and not np.isfinite(scale).all():
            raise ValueError(f"{where}: weights must be finite, got {scale[np.argmin(np.isfinite(scale))]}")
    divisor: Any = 1.0
    if reduction == "mean":
        divisor = float(math.prod(shape)) if scale is None else device.number(scale.sum())
        if (device.checks_values or scale is None) and not divisor > 0:
            raise ValueError(f"{where}: weights must have a positive sum with reduction='mean', got {divisor:g}")
    return Positions(shape, of.dtype, reduction, scale, divisor, device)


def entries(where: str, reduction: Any, weights: Any, of: np.ndarray) -> Positions:
    """The same where every entry of `of` is a position; weights without its last axis count for all columns."""
    shape = of.shape
    if weights is not None:
        weights = of_array(of).array_or_mask(where, "weights", weights, of.dtype)
        if shape and weights.shape == shape[:-1]:
            weights = np.broadcast_to(weights[..., None], shape)
        elif weights.shape != shape:
            last = f", or without the last axis {shape[:-1]}" if shape else ""
            raise ValueError(f"{where}: weights must have shape (...) = {shape}{last}, got {weights.shape}")
    return positions(where, reduction, weights, of, shape)
