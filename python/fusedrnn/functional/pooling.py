"""Pooling over time: one vector for each row of a padded batch.

For a row b with n = lengths[b] steps x₀ ... xₙ₋₁ of C columns each, separately in every column::

    mean   out = Σ xₜ / n            dxₜ = dout / n                             (1)
    max    out = x_m                 dxₜ = [t = m] · dout                       (2)
           m = the first t with xₜ = max
    last   out = xₙ₋₁                dxₜ = [t = n - 1] · dout                   (3)

A row without steps gives zeros. Steps at or beyond the length are not read, and get a zero gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._padding import padded, within
from fusedrnn.saved import Saved, expect


def mean_pool_forward(
    x: np.ndarray, lengths: Any = None, *, where: str = "mean_pool_forward"
) -> tuple[np.ndarray, Saved]:
    """Mean of the steps of each row, equation (1); summed in float64.

    Parameters
    ----------
    x : (T, B, C) array
    lengths : list or integer array (B,), each 0 <= length <= T; None: all T

    Returns
    -------
    out : (B, C) array, zeros for rows of length 0
    saved : Saved, for one `mean_pool_backward`

    Raises
    ------
    TypeError
        `x` is not an array of float32 or float64, or `lengths` no list or array of integers.
    ValueError
        `x` does not have three axes, or a length is outside [0, T].

    Examples
    --------
    >>> x = np.array([[[1.0], [2.0]], [[5.0], [np.nan]]])
    >>> out, saved = fr.functional.mean_pool_forward(x, [2, 1])
    >>> out.tolist()
    [[3.0], [2.0]]
    """
    x, lengths = padded(where, x, lengths)
    own = of_array(x).own
    there = own(within(lengths, len(x))[:, :, None])
    total = np.where(there, x, 0).sum(axis=0, dtype=np.float64)
    counts = own(np.maximum(lengths, 1)[:, None])
    out = (total / counts).astype(x.dtype, order="C")
    return out, _saved(mean_pool_forward, x, counts=counts, there=there)


def mean_pool_backward(
    saved: Saved, dout: np.ndarray, *, retain: bool = False, where: str = "mean_pool_backward"
) -> np.ndarray:
    """Gradient of `mean_pool_forward`.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dout : (B, C) array
    retain : keep `saved` for another backward

    Returns
    -------
    (T, B, C) array, zero at or beyond the length of a row

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> out, saved = fr.functional.mean_pool_forward(np.zeros((3, 2, 1)), [2, 1])
    >>> fr.functional.mean_pool_backward(saved, np.array([[1.0], [1.0]]))[:, :, 0]
    array([[0.5, 1. ],
           [0.5, 0. ],
           [0. , 0. ]])
    """

    def spread(s: SimpleNamespace, dout: np.ndarray, dx: np.ndarray) -> None:
        dx[...] = np.where(s.there, (dout / s.counts).astype(s.dtype), 0)

    return _backward(where, saved, dout, retain, mean_pool_forward, spread)


def max_pool_forward(
    x: np.ndarray, lengths: Any = None, *, where: str = "max_pool_forward"
) -> tuple[np.ndarray, Saved]:
    """Largest value of each column over the steps of each row, equation (2).

    Parameters
    ----------
    x : (T, B, C) array
    lengths : list or integer array (B,), each 0 <= length <= T; None: all T

    Returns
    -------
    out : (B, C) array, zeros for rows of length 0
    saved : Saved, for one `max_pool_backward`

    Raises
    ------
    TypeError
        `x` is not an array of float32 or float64, or `lengths` no list or array of integers.
    ValueError
        `x` does not have three axes, or a length is outside [0, T].

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0]], [[2.0, 3.0]], [[9.0, 9.0]]])
    >>> out, saved = fr.functional.max_pool_forward(x, [2])
    >>> out.tolist()
    [[2.0, 3.0]]
    """
    x, lengths = padded(where, x, lengths)
    device = of_array(x)
    rows, columns = device.own(np.flatnonzero(lengths)), device.own(np.arange(x.shape[2]))
    steps = device.zeros((len(rows), x.shape[2]), np.dtype(np.intp))
    if len(rows):  # without any step, argmax has nothing to look at
        there = device.own(within(lengths, len(x))[:, :, None])
        steps = np.where(there, x, -np.inf)[:, rows].argmax(axis=0)
    out = device.zeros(x.shape[1:], x.dtype)
    out[rows] = x[steps, rows[:, None], columns]
    return out, _saved(max_pool_forward, x, rows=rows, steps=steps, columns=columns)


def max_pool_backward(
    saved: Saved, dout: np.ndarray, *, retain: bool = False, where: str = "max_pool_backward"
) -> np.ndarray:
    """Gradient of `max_pool_forward`: it goes to the step that was chosen, which is the first of equal ones.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dout : (B, C) array
    retain : keep `saved` for another backward

    Returns
    -------
    (T, B, C) array

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> out, saved = fr.functional.max_pool_forward(np.array([[[1.0, 3.0]], [[2.0, 3.0]]]))
    >>> fr.functional.max_pool_backward(saved, np.array([[7.0, 8.0]]))[:, 0].tolist()
    [[0.0, 8.0], [7.0, 0.0]]
    """

    def spread(s: SimpleNamespace, dout: np.ndarray, dx: np.ndarray) -> None:
        dx[s.steps, s.rows[:, None], s.columns] = dout[s.rows]

    return _backward(where, saved, dout, retain, max_pool_forward, spread)


def last_pool_forward(
    x: np.ndarray, lengths: Any = None, *, where: str = "last_pool_forward"
) -> tuple[np.ndarray, Saved]:
    """What stands at the last step of each row, equation (3).

    Parameters
    ----------
    x : (T, B, C) array
    lengths : list or integer array (B,), each 0 <= length <= T; None: all T

    Returns
    -------
    out : (B, C) array, zeros for rows of length 0
    saved : Saved, for one `last_pool_backward`

    Raises
    ------
    TypeError
        `x` is not an array of float32 or float64, or `lengths` no list or array of integers.
    ValueError
        `x` does not have three axes, or a length is outside [0, T].

    Examples
    --------
    >>> x = np.array([[[1.0], [2.0]], [[5.0], [np.nan]]])
    >>> out, saved = fr.functional.last_pool_forward(x, [2, 1])
    >>> out.tolist()
    [[5.0], [2.0]]
    """
    x, lengths = padded(where, x, lengths)
    device = of_array(x)
    rows = np.flatnonzero(lengths)
    rows, steps = device.own(rows), device.own(lengths[rows] - 1)
    out = device.zeros(x.shape[1:], x.dtype)
    out[rows] = x[steps, rows]
    return out, _saved(last_pool_forward, x, rows=rows, steps=steps)


def last_pool_backward(
    saved: Saved, dout: np.ndarray, *, retain: bool = False, where: str = "last_pool_backward"
) -> np.ndarray:
    """Gradient of `last_pool_forward`.

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dout : (B, C) array
    retain : keep `saved` for another backward

    Returns
    -------
    (T, B, C) array, zero but for the last step of each row

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> out, saved = fr.functional.last_pool_forward(np.zeros((2, 2, 1)), [2, 1])
    >>> fr.functional.last_pool_backward(saved, np.array([[7.0], [8.0]]))[:, :, 0].tolist()
    [[0.0, 8.0], [7.0, 0.0]]
    """

    def spread(s: SimpleNamespace, dout: np.ndarray, dx: np.ndarray) -> None:
        dx[s.steps, s.rows] = dout[s.rows]

    return _backward(where, saved, dout, retain, last_pool_forward, spread)


def _saved(forward: Callable[..., Any], x: np.ndarray, **fields: Any) -> Saved:
    return Saved(forward, device=of_array(x), shape=x.shape, dtype=x.dtype, **fields)


def _backward(
    where: str,
    saved: Saved,
    dout: np.ndarray,
    retain: bool,
    forward: Callable[..., Any],
    spread: Callable[[SimpleNamespace, np.ndarray, np.ndarray], None],
) -> np.ndarray:
    """Check the arguments, and let `spread` write `dout` into a dx of zeros."""
    s = expect(where, saved).read(where, forward)
    retain = checks.boolean(where, "retain", retain)
    dout = s.device.array(where, "dout", dout, s.dtype)
    checks.shape(where, "dout", dout, "(B, C)", s.shape[1:])
    dx: np.ndarray = s.device.zeros(s.shape, s.dtype)
    spread(s, dout, dx)
    saved.take(where, retain, forward)
    return dx
