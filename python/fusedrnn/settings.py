"""The setting that the constructors of all layers share: the dtype of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedrnn import checks


def parameter_dtype(where: str, dtype: Any, allowed: Sequence[str] = ("float32", "float64")) -> np.dtype:
    """Return `dtype` as a NumPy dtype if it is one of those `allowed`; "bfloat16" is that of ml_dtypes.

    Examples
    --------
    >>> parameter_dtype("Linear", "float32")
    dtype('float32')
    """
    if isinstance(dtype, (str, type, np.dtype)):  # NumPy takes None for float64
        for name in allowed:
            if name == "bfloat16" and not _names_bfloat16(dtype):
                continue
            if _dtype_of(where, name) == dtype:
                return _dtype_of(where, name)
    words = [repr(name) for name in allowed]
    raise ValueError(f"{where}: dtype must be {', '.join(words[:-1])} or {words[-1]}, got {checks.describe(dtype)}")


def _names_bfloat16(dtype: Any) -> bool:
    """Whether it could be bfloat16, which NumPy alone does not know."""
    return "bfloat16" in (dtype, getattr(dtype, "name", ""), getattr(dtype, "__name__", ""))


def _dtype_of(where: str, name: str) -> np.dtype:
    if name != "bfloat16":
        return np.dtype(name)
    try:
        from ml_dtypes import bfloat16
    except ModuleNotFoundError:
        raise RuntimeError(f"{where}: dtype 'bfloat16' needs the module ml_dtypes; pip install ml_dtypes") from None
    found: np.dtype = np.dtype(bfloat16)
    return found
