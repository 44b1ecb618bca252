"""Settings that the constructors of all layers share: the dtype of the parameters and the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks


def parameter_dtype(where: str, dtype: Any) -> np.dtype:
    """Return `dtype` as a NumPy dtype if it names float32 or float64.

    Examples
    --------
    >>> parameter_dtype("Linear", "float32")
    dtype('float32')
    """
    if isinstance(dtype, (str, type, np.dtype)):  # NumPy takes None for float64
        for allowed in (np.dtype("float32"), np.dtype("float64")):
            if allowed == dtype:
                return allowed
    raise ValueError(f"{where}: dtype must be 'float32' or 'float64', got {checks.describe(dtype)}")


def cpu_device(where: str, device: Any) -> str:
    """Return `device` if it is "cpu", for a layer that computes nowhere else.

    Raises
    ------
    NotImplementedError
        The device is "cuda". (It is a RuntimeError.)
    ValueError
        Anything else.
    """
    if checks.choice(where, "device", device, ("cpu", "cuda")) == "cuda":
        raise NotImplementedError(f"{where}: device must be 'cpu', got 'cuda': this layer computes on the CPU alone")
    return "cpu"
