"""CuPy and the extension module, loaded when they are first asked for."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from fusedrnn import checks

Array = Any  # cupy.ndarray; CuPy is not there to be imported when these files are read


@cache
def parts() -> tuple[Any, Any]:
    """CuPy and the extension module."""
    return importlib.import_module("cupy"), importlib.import_module("fusedrnn._cuda")


def stream() -> int:
    """The address of CuPy's current stream."""
    address: int = parts()[0].cuda.get_current_stream().ptr
    return address


def on_current(of: str, array: Array) -> Array:
    """`array` if it is on the current GPU, where we queue and allocate; else ValueError that begins with `of`."""
    current = parts()[0].cuda.runtime.getDevice()
    if array.device.id != current:
        raise ValueError(f"{of} must be on the current GPU, {current}, got an array on GPU {array.device.id}")
    return array


def as_cupy(where: str, name: str, value: Any, rule: str) -> Array:
    """`value` as CuPy's array where it is an array on the current GPU, of whatever library.

    Raises
    ------
    TypeError
        It is not on a GPU, or its dtype cannot be told.
    ValueError
        It is on another GPU.
    """
    return on_current(f"{where}: {name}", _converted(where, name, value, rule))


def _converted(where: str, name: str, value: Any, rule: str) -> Array:
    """DLPack comes first: it has a bfloat16, and our stream waits for that of the array, without the host."""
    cupy, _ = parts()
    if isinstance(value, cupy.ndarray):
        return value
    if checks.gives_gpu_memory(value):
        try:
            return cupy.from_dlpack(value)
        except BufferError as error:
            raise TypeError(
                f"{where}: {name} must be an array that may be shared, got one that says: {error}"
            ) from None
    if hasattr(value, "__cuda_array_interface__"):
        array = cupy.asarray(value)
        if array.dtype.kind == "V":  # all that this interface can say of a bfloat16
            raise TypeError(
                f"{where}: {name} must be a cupy array of {rule}, got one whose interface does not tell the dtype; "
                "give it with __dlpack__, or as a view with a dtype of CuPy's"
            )
        return array
    place = " in host memory" if isinstance(value, np.ndarray) else ""
    came = checks.describe(value)
    raise TypeError(f"{where}: {name} must be a cupy array of {rule}, got {came}{place}; nothing is moved")
