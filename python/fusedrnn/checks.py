"""Checks of arguments, made before any work starts.

Every message has one form: ``function: argument must ..., got ...``. A rule about sizes is given
twice, in letters and in numbers: ``lstm: w_hh must have shape (4*H, H) = (1024, 256), got (256, 1024)``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def describe(value: Any) -> str:
    """Say in a few words what a value is, for the end of an error message.

    Examples
    --------
    >>> describe(np.zeros((2, 3), "float32"))
    'a float32 array of shape (2, 3)'
    >>> describe(3.5)
    '3.5'
    """
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array of shape {value.shape}"
    if isinstance(value, np.ndarray):
        return f"a {dtype_name(value.dtype)} array of shape {value.shape}"
    if is_on_gpu(value):
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            return f"a {str(value.dtype).removeprefix('torch.')} array of shape {tuple(value.shape)} on a GPU"
        return f"an array of {type(value).__name__} on a GPU"
    text = " ".join(repr(value).split())
    if len(text) > 60:
        return f"{type(value).__name__} {text[:56]}..."
    return text


def gives_gpu_memory(value: Any) -> bool:
    """Whether `value` is an array on a GPU that DLPack hands over: of CUDA's memory, 2, or its managed one, 13.

    Examples
    --------
    >>> gives_gpu_memory(np.zeros(3))
    False
    """
    if isinstance(value, (np.ndarray, type)) or not hasattr(value, "__dlpack_device__"):
        return False
    return value.__dlpack_device__()[0] in (2, 13)


def is_on_gpu(value: Any) -> bool:
    """Whether `value` is an array on a GPU, of whatever library.

    Examples
    --------
    >>> is_on_gpu(np.zeros(3))
    False
    """
    # A tensor of PyTorch that requires a gradient refuses to be asked for the interface.
    return gives_gpu_memory(value) or hasattr(value, "__cuda_array_interface__")


def dtype_name(dtype: np.dtype) -> str:
    """The name of a dtype, with its byte order where that is not the machine's."""
    return dtype.name if dtype.isnative else f"{dtype.str} (foreign byte order)"


def array(where: str, name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """Return `value` if it is a NumPy array of exactly `dtype`, else raise TypeError."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{where}: {name} must be a numpy array of {dtype.name}, got {describe(value)}")
    if value.dtype != dtype or not value.dtype.isnative:
        came = dtype_name(value.dtype)
        raise TypeError(f"{where}: {name} must be a numpy array of {dtype.name}, got {came}; nothing is cast")
    return value


def shape(where: str, name: str, value: np.ndarray, letters: str, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless `value` has the shape `expected`, which `letters` names."""
    if value.shape != expected:
        raise ValueError(f"{where}: {name} must have shape {letters} = {expected}, got {value.shape}")


def integer(where: str, name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int within [minimum, maximum]; bool and float are TypeErrors."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {describe(value)}") from None
    if number < minimum or (maximum is not None and number > maximum):
        rule = f">= {minimum}" if maximum is None else f"in [{minimum}, {maximum}]"
        raise ValueError(f"{where}: {name} must be {rule}, got {number}")
    return number


def real(where: str, name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """Return `value` as a float within [low, high] ((low, high] with `open_low`); NaN never fits."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: {name} must be a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond the range of float
        number = math.copysign(math.inf, value)
    if not (low < number if open_low else low <= number) or not number <= high:
        raise ValueError(f"{where}: {name} must be in {'(' if open_low else '['}{low}, {high}], got {number}")
    return number


def boolean(where: str, name: str, value: Any) -> bool:
    """Return `value` if it is True or False, else raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{where}: {name} must be True or False, got {describe(value)}")
    return bool(value)


def choice(where: str, name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the strings `allowed`, else raise ValueError."""
    allowed = list(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, allowed))}, got {describe(value)}")
    return value


def names(where: str, given: Mapping[str, Any], expected: Iterable[str]) -> None:
    """Raise one ValueError that lists every missing and every unknown name."""
    expected = list(expected)
    faults = wrong_names(given, expected)
    if faults:
        raise ValueError(f"{where}: the names must be {', '.join(expected)}; {'; '.join(faults)}")


def wrong_names(given: Mapping[str, Any], expected: Iterable[str]) -> list[str]:
    """What is missing and what is unknown, as parts of a message."""
    expected = list(expected)
    missing = [name for name in expected if name not in given]
    unknown = [str(name) for name in given if name not in expected]
    found = {"missing": missing, "unknown": unknown}
    return [f"{fault} {', '.join(these)}" for fault, these in found.items() if these]
