"""Clipping of gradients by their global norm (Pascanu, Mikolov and Bengio, 2013)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.backends import of_array
from fusedrnn.optim.kernels import by_dtype, scale, sums_of_squares


def clip_by_global_norm(grads: Mapping[str, np.ndarray], max_norm: float) -> Any:
    """Scale gradients IN PLACE by ``min(max_norm / norm, 1)``, with the norm of all of them as one vector.

    The arrays are changed: they are meant to be those that ``backward`` has just made.

    Parameters
    ----------
    grads : names to arrays of float32 or float64
    max_norm : > 0; infinity only measures

    Returns
    -------
    float, or on a GPU a float64 array without axes, so that nothing waits
        The norm before scaling. Squares are summed in float64, in an order that follows from the shapes.

    Raises
    ------
    TypeError
        The gradients are not all arrays of float32 or float64 of one device.
    ValueError
        A gradient is not finite, cannot be written to, or its norm does not fit a float64; the message names the
        first such one. Nothing has been changed then.

    Notes
    -----
    On a GPU nobody has seen the norm when the call returns. Where it is not finite, the gradients are all set to zero
    there, so that a step leaves the weights finite, and the caller finds it out by looking at the norm.

    Examples
    --------
    >>> grads = {"weight": np.array([3.0, 0.0]), "bias": np.array([4.0])}
    >>> fr.optim.clip_by_global_norm(grads, 1.0)
    5.0
    >>> grads["bias"]
    array([0.8])
    """
    where = "clip_by_global_norm"
    max_norm = checks.real(where, "max_norm", max_norm, 0.0, math.inf, open_low=True)
    device: Any = None
    found: dict[str, np.ndarray] = {}
    for name, gradient in grads.items():
        found[name] = functional.float_array(where, f"grads[{name!r}]", gradient)
        device = of_array(found[name]) if device is None else device
        device.array(where, f"grads[{name!r}]", gradient, found[name].dtype)
    grads = found
    if device is not None and not device.checks_values:
        return _clip_there(device, list(grads.values()), max_norm)
    norms = [math.sqrt(total) for total in sums_of_squares(grads.values())]
    for name, part in zip(grads, norms, strict=True):
        if not grads[name].flags.writeable:
            raise ValueError(f"{where}: grads[{name!r}] must be writable, got a read-only array")
        if not math.isfinite(part):
            raise ValueError(f"{where}: grads[{name!r}] must be finite, got {_first_bad(grads[name])}")
    # hypot scales by the largest of them, so nothing overflows on the way.
    norm = math.hypot(*norms)
    if norm > max_norm:
        scale(grads.values(), max_norm / norm)
    return norm


def _clip_there(device: Any, arrays: list[Any], max_norm: float) -> Any:
    """The same for arrays of a device that nobody waits for."""
    groups = [[arrays[place] for place in places] for places in by_dtype(arrays)]
    norm = np.sqrt(sum(device.sums_of_squares([device.dense(array) for array in group]).sum() for group in groups))
    for group in groups:
        device.clip(group, norm, max_norm)
    return norm


def _first_bad(gradient: np.ndarray) -> str:
    bad = ~np.isfinite(gradient)
    if not bad.any():
        return f"values up to {np.abs(gradient).max():g}, whose norm overflows"
    at = tuple(int(axis) for axis in np.unravel_index(int(np.argmax(bad)), bad.shape))
    return f"{gradient[at]} at position {at}"
