"""Convolution over time of padded sequences, as one product over unfolded windows.

With a kernel W (N, C, k), a bias b (N), and p steps of zeros put before the first one::

    out[t] = b + Σⱼ W[:, :, j] · x[t + j - p],   j = 0 ... k - 1                (1)
    n_out = max(n - k + 1, 0), p = 0             "valid", for a row of n steps  (2)
    n_out = n, p = (k - 1) // 2                  "same"                         (3)

x is zero before the first step and at or beyond n. Output steps at or beyond n_out are zero. The windows u[t] of
k·C numbers x[t - p] ... x[t - p + k - 1] of all steps that there are, stacked, make a matrix U, and W, with its last
two axes exchanged, a matrix V (N, k·C)::

    out = U · Vᵀ + b                                                            (4)
    dV = doutᵀ · U,   db = Σ dout,   dU = dout · V                              (5)
    dx[s] = Σⱼ du[s + p - j][j]   over the windows in which step s lies         (6)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import Backend, of_array
from fusedrnn.functional._checks import as_matrix, dense, float_array
from fusedrnn.functional._padding import kept, padded, within
from fusedrnn.saved import Saved, expect

Padding = Literal["valid", "same"]
PADDINGS = ("valid", "same")


def conv1d_lengths(
    lengths: Any, kernel_size: int, padding: Padding = "valid", *, where: str = "conv1d_lengths"
) -> np.ndarray:
    """Lengths of the rows that a convolution makes of rows of these lengths, equations (2) and (3).

    Parameters
    ----------
    lengths : list or array (B,) of integers >= 0
    kernel_size : k
    padding : {"valid", "same"}

    Returns
    -------
    (B,) array of int64: ``max(lengths - k + 1, 0)`` with "valid", `lengths` with "same"

    Raises
    ------
    TypeError
        `lengths` is not a list or an array of integers.
    ValueError
        A length is negative, `kernel_size` less than 1, or `padding` another word.

    Examples
    --------
    >>> fr.functional.conv1d_lengths([5, 3, 1], 3).tolist()
    [3, 1, 0]
    """
    kernel_size = checks.integer(where, "kernel_size", kernel_size, 1)
    checks.choice(where, "padding", padding, PADDINGS)
    if isinstance(lengths, np.ndarray) and lengths.ndim == 1:
        lengths = lengths.tolist()
    if not isinstance(lengths, (list, tuple)):
        raise TypeError(f"{where}: lengths must be a list or an array (B,) of integers, got {checks.describe(lengths)}")
    maximum = int(np.iinfo(np.int64).max)
    given = [checks.integer(where, f"lengths[{b}]", length, 0, maximum) for b, length in enumerate(lengths)]
    return _lengths_out(np.array(given, np.int64), kernel_size, padding)


def _lengths_out(lengths: np.ndarray, kernel_size: int, padding: str) -> np.ndarray:
    return lengths.copy() if padding == "same" else np.maximum(lengths - (kernel_size - 1), 0)


def conv1d_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    lengths: Any = None,
    *,
    padding: Padding = "valid",
    where: str = "conv1d_forward",
) -> tuple[np.ndarray, Saved]:
    """Convolve over time (a cross-correlation, as in PyTorch: the kernel is not mirrored), equation (1).

    Parameters
    ----------
    x : (T, B, C) array
    weight : (N, C, k) array
    bias : (N,) array, optional
    lengths : list or integer array (B,), each 0 <= length <= T; None: all T
        Steps at or beyond a row's length are not read.
    padding : {"valid", "same"}
        "valid" takes only windows that lie within a row: its output has length max(lengths[b] - k + 1, 0). "same"
        puts zeros before and after a row, so that its output has length lengths[b]; of an odd number of zeros the
        odd one comes after.

    Returns
    -------
    out : (max(T - k + 1, 0), B, N) array with "valid", (T, B, N) with "same"; zero, without bias, at or beyond the
        length of the output row
    saved : Saved, for one `conv1d_backward`: the windows (k times the size of x) and the weight, not copied

    Raises
    ------
    TypeError
        An argument is no array, or its dtype differs from that of `weight`.
    ValueError
        Shapes do not fit, or a length is outside [0, T].

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0, 8.0]).reshape(4, 1, 1)
    >>> out, saved = fr.functional.conv1d_forward(x, np.array([[[-1.0, 1.0]]]))
    >>> out.ravel().tolist()
    [1.0, 2.0, 4.0]
    >>> fr.functional.conv1d_forward(x, np.array([[[-1.0, 1.0]]]), lengths=[3], padding="same")[0].ravel().tolist()
    [1.0, 2.0, -4.0, 0.0]
    """
    weight = float_array(where, "weight", weight)
    device = of_array(weight)
    x = device.array(where, "x", x, weight.dtype)
    checks.choice(where, "padding", padding, PADDINGS)
    if weight.ndim != 3 or weight.shape[2] < 1:
        raise ValueError(f"{where}: weight must have shape (N, C, k) with k >= 1, got {weight.shape}")
    x, lengths = padded(where, x, lengths)
    if x.shape[2] != weight.shape[1]:
        raise ValueError(f"{where}: x must have shape (T, B, C) = (T, B, {weight.shape[1]}), got {x.shape}")
    if bias is not None:
        bias = dense(device.array(where, "bias", bias, weight.dtype))
        checks.shape(where, "bias", bias, "(N,)", weight.shape[:1])

    steps, rows, _ = x.shape
    filters, _, kernel_size = weight.shape
    steps_out = steps if padding == "same" else max(steps - kernel_size + 1, 0)
    places, index = _windows(device, _lengths_out(lengths, kernel_size, padding), steps_out, kernel_size)
    wide = _with_zeros(device, x, lengths, kernel_size) if padding == "same" else x
    windows = device.take_rows(as_matrix(wide), index).reshape(len(places), kernel_size * x.shape[2])
    out = device.zeros((steps_out * rows, filters), weight.dtype)
    out[places] = device.product(windows, _matrix(weight).T, bias)
    fields = {"windows": windows, "index": index, "places": places, "lengths": lengths, "wide": wide.shape}
    saved = Saved(conv1d_forward, device=device, weight=weight, padding=padding, shape=x.shape, **fields)
    return out.reshape(steps_out, rows, filters), saved


def _windows(device: Backend, lengths: np.ndarray, steps: int, kernel_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The R output steps that rows of `lengths` (B,) have, and the steps in the window of each.

    Both are rows of matrices of time-major arrays: (R,) of the output (steps·B, N), and (R, k) of the input, where the
    window of output step t begins at step t.
    """
    places = device.own(np.flatnonzero(within(lengths, steps)))
    return places, places[:, None] + device.own(np.arange(kernel_size) * len(lengths))


def _matrix(weight: np.ndarray) -> np.ndarray:
    """(N, C, k) as the matrix V (N, k·C) of equation (4)."""
    return dense(weight.swapaxes(1, 2)).reshape(len(weight), weight.shape[1] * weight.shape[2])


def _with_zeros(device: Backend, x: np.ndarray, lengths: np.ndarray, kernel_size: int) -> np.ndarray:
    """(T + k - 1, B, C): x with zeros before it and in place of all that lies at or beyond a row's length."""
    before = (kernel_size - 1) // 2
    wide: np.ndarray = device.zeros((len(x) + kernel_size - 1, *x.shape[1:]), x.dtype)
    wide[before : before + len(x)] = kept(x, lengths)
    return wide


def conv1d_backward(
    saved: Saved, dout: np.ndarray, *, need_dx: bool = True, retain: bool = False, where: str = "conv1d_backward"
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of `conv1d_forward`, equations (5) and (6).

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dout : array of the shape of the output; at or beyond the length of an output row it is not read
    need_dx : without it dx is None, which saves a matrix product where x is data
    retain : keep `saved` for another backward

    Returns
    -------
    dx : (T, B, C) array, zero at or beyond the length of a row; or None
    dweight : (N, C, k) array
    dbias : (N,) array

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    >>> x, weight = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1), np.array([[[-1.0, 1.0]]])
    >>> out, saved = fr.functional.conv1d_forward(x, weight)
    >>> dx, dweight, dbias = fr.functional.conv1d_backward(saved, np.array([10.0, 1.0]).reshape(2, 1, 1))
    >>> dx.ravel().tolist(), dweight.ravel().tolist(), dbias.tolist()
    ([-10.0, 9.0, 1.0], [12.0, 24.0], [11.0])
    """
    s = expect(where, saved).read(where, conv1d_forward)
    retain, need_dx = checks.boolean(where, "retain", retain), checks.boolean(where, "need_dx", need_dx)
    filters, columns, kernel_size = s.weight.shape
    dout = s.device.array(where, "dout", dout, s.weight.dtype)
    steps_out = s.wide[0] - kernel_size + 1
    checks.shape(where, "dout", dout, "(T_out, B, N)", (max(steps_out, 0), s.shape[1], filters))
    # out = U · Vᵀ + b  ->  dV = doutᵀ · U, dU = dout · V
    drows = s.device.take_rows(as_matrix(dout), s.places)
    dmatrix = s.device.product(drows.T, s.windows).reshape(filters, kernel_size, columns)
    dx = _fold(s, s.device.product(drows, _matrix(s.weight))) if need_dx else None
    saved.take(where, retain, conv1d_forward)
    return dx, dense(dmatrix.swapaxes(1, 2)), drows.sum(axis=0)


def _fold(s: Any, dwindows: np.ndarray) -> np.ndarray:
    """Equation (6): add the gradients of all windows up where the windows lay."""
    steps, rows, columns = s.wide
    dsteps = dwindows.reshape(s.index.size, columns)
    dwide: np.ndarray = s.device.sum_rows(s.index.reshape(-1), dsteps, steps * rows).reshape(s.wide)
    if s.padding == "valid":
        return dwide
    before = (s.weight.shape[2] - 1) // 2
    # Windows of "same" reach over the end of a row.
    return kept(dwide[before : before + s.shape[0]], s.lengths)
