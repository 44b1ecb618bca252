"""What tests of functions on arrays compare with: central differences, tolerances, and arrays that lie awkwardly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Central differences in float64: h**2 for the formula and 1e-16 / h for rounding are both about 1e-10.
DIFFERENCE = 1e-5
DIFFERENCE_TOLERANCE = 1e-9

# Relative to the largest value: a few roundings of sums of up to some dozens of terms.
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}


def differences(loss: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Central differences of a scalar function of x, which is left as it was."""
    gradient = np.empty_like(x)
    moved = x.copy()
    for at in np.ndindex(x.shape):
        moved[at] = x[at] + DIFFERENCE
        above = loss(moved)
        moved[at] = x[at] - DIFFERENCE
        gradient[at] = (above - loss(moved)) / (2 * DIFFERENCE)
        moved[at] = x[at]
    return gradient


def assert_close(got: Any, expected: Any, dtype: str) -> None:
    expected = np.asarray(expected)
    assert got.dtype == np.dtype(dtype)
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def strided(value: np.ndarray) -> np.ndarray:
    """The same values, every axis with a step of -2 in memory."""
    wide = np.zeros([2 * size for size in value.shape], value.dtype)
    view = wide[(..., *(slice(None, None, -2) for _ in value.shape))]
    view[...] = value
    return view


def unaligned(value: np.ndarray) -> np.ndarray:
    """The same values at an odd address."""
    raw = np.zeros(value.nbytes + 1, np.uint8)
    view = raw[1:].view(value.dtype).reshape(value.shape)
    view[...] = value
    assert not (view.size and view.flags.aligned)
    return view
