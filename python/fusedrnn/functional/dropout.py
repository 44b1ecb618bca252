"""Dropout: entries are set to zero at random, and the others scaled up.

With keep ∈ {0, 1} drawn as in `fusedrnn.random`::

    out = keep · x / (1 - p),   dx = keep · dout / (1 - p)                      (1)
"""

from __future__ import annotations

import numpy as np

from fusedrnn import checks, random
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import float_array


def dropout_forward(
    x: np.ndarray,
    p: float,
    *,
    seed: int,
    site: int = 0,
    step: int = 0,
    row_offset: int = 0,
    where: str = "dropout_forward",
) -> np.ndarray:
    """Set entries to zero with probability p and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    x : (T, B, C) array
    p : probability of dropping, 0 <= p <= 1
    seed, site, step, row_offset : coordinates of the mask, see `fusedrnn.random`
        The same coordinates give the same mask, whatever was called before.

    Returns
    -------
    (T, B, C) array

    Raises
    ------
    TypeError
        `x` is not an array of float32 or float64, or on a GPU of float16 or bfloat16.
    ValueError
        `x` does not have three axes, or a coordinate does not fit its field.

    Examples
    --------
    >>> x = np.ones((1, 2, 4))
    >>> sorted(set(fr.functional.dropout_forward(x, 0.75, seed=1).ravel().tolist()))
    [0.0, 4.0]
    """
    return _drop(where, "x", x, p, {"seed": seed, "site": site, "step": step, "row_offset": row_offset})


def dropout_backward(
    dout: np.ndarray,
    p: float,
    *,
    seed: int,
    site: int = 0,
    step: int = 0,
    row_offset: int = 0,
    where: str = "dropout_backward",
) -> np.ndarray:
    """Gradient of `dropout_forward` at the same coordinates: the same map, applied to `dout` (T, B, C).

    Examples
    --------
    >>> x, dout = np.full((2, 3, 5), 2.0), np.full((2, 3, 5), 10.0)
    >>> out = fr.functional.dropout_forward(x, 0.5, seed=3, step=8)
    >>> dx = fr.functional.dropout_backward(dout, 0.5, seed=3, step=8)
    >>> bool((dx == 5 * out).all())
    True
    """
    return _drop(where, "dout", dout, p, {"seed": seed, "site": site, "step": step, "row_offset": row_offset})


def _drop(where: str, name: str, value: np.ndarray, p: float, coordinates: dict[str, int]) -> np.ndarray:
    value = float_array(where, name, value, narrow=True)
    if value.ndim != 3:
        raise ValueError(f"{where}: {name} must have shape (T, B, C), got {value.shape}")
    p = checks.real(where, "p", p, 0.0, 1.0)
    random.check_coordinates(where, value.shape, **coordinates)
    if p == 1:
        out: np.ndarray = of_array(value).zeros(value.shape, value.dtype)
    else:
        out = of_array(value).dropout(value, p, **coordinates)
    return out
