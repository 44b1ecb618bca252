"""Intake of padded sequences (T, B, C): the checks are those of the recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn.backends import of_array
from fusedrnn.functional._checks import float_array
from fusedrnn.sequences import Layout


def padded(where: str, x: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return `x` (T, B, C) and the lengths (B,) as int64 in host memory, which are T where `lengths` is None.

    Raises
    ------
    TypeError
        `x` is not an array of float32 or float64, or `lengths` no list or array of integers.
    ValueError
        `x` does not have three axes, or a length is outside [0, T].
    """
    x = float_array(where, "x", x)
    if x.ndim != 3:
        raise ValueError(f"{where}: x must have shape (T, B, C), got {x.shape}")
    steps, rows, columns = x.shape
    if lengths is None:
        return x, np.full(rows, steps)
    layout = Layout(where, x.dtype, of_array(x), False, columns, columns, state_widths=(), state_rows=0)
    return x, np.array(layout.host_lengths(lengths, steps, rows))


def within(lengths: np.ndarray, steps: int) -> np.ndarray:
    """(steps, B) bool array in host memory, True at the steps that a row has."""
    mask: np.ndarray = np.arange(steps)[:, None] < lengths
    return mask


def kept(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """x (T, B, C) with zeros at or beyond the lengths (B,), which are in host memory."""
    there = of_array(x).own(within(lengths, len(x))[:, :, None])
    return np.where(there, x, x.dtype.type(0))
