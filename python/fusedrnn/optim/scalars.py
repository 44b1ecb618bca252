"""Checks of numbers that more than one file of this package makes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedrnn import checks


def nonnegative(where: str, name: str, value: Any) -> float:
    """Return `value` as a finite float >= 0, else raise TypeError or ValueError."""
    number = checks.real(where, name, value, 0.0, math.inf)
    if math.isinf(number):
        raise ValueError(f"{where}: {name} must be finite, got {number}")
    return number


def normal_or_zero(where: str, name: str, value: Any) -> float:
    """Return `value` as a finite float, 0 or at least the smallest normal float32, else raise TypeError or ValueError.

    The kernels take smaller ones for zero.
    """
    number = nonnegative(where, name, value)
    smallest = float(np.finfo(np.float32).tiny)
    if 0 < number < smallest:
        raise ValueError(f"{where}: {name} must be 0 or >= {smallest:.3g}, got {number}")
    return number


def below_one(where: str, name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1), else raise TypeError or ValueError."""
    number = checks.real(where, name, value, 0.0, math.inf)
    if number >= 1:
        raise ValueError(f"{where}: {name} must be in [0, 1), got {number}")
    return number
