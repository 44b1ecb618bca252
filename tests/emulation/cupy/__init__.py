"""A stand-in for CuPy whose arrays lie in host memory, for the emulated device of cuda_runtime.h.

It has what the package uses and nothing more, so that a call of anything else fails. Its arrays are no NumPy arrays to
the package's checks, as CuPy's are none: `ndarray` wraps one, and what takes it apart is written out here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from . import cuda as cuda

__version__ = "emulated"


def _inside(value: Any) -> Any:
    """The NumPy arrays within a value; a NumPy array with axes is in the wrong memory."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, (tuple, list)):
        return type(value)(_inside(part) for part in value)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


def _outside(value: Any) -> Any:
    if isinstance(value, list):
        return [_outside(part) for part in value]
    return ndarray(value) if isinstance(value, (np.ndarray, np.generic)) else value


def _index(key: Any) -> Any:
    """What is within an index. Of a mask CuPy asks the device how many are True, and waits."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, ndarray) and part.dtype == np.dtype(bool):
            int(part.sum())
    return _inside(key)


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """An array of the emulated device."""

    __array_priority__ = 100

    def __init__(self, host: np.ndarray, device: cuda.Device | None = None) -> None:
        self._host, self.device = np.asarray(host), device or cuda.Device()

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data))
    T = property(lambda self: ndarray(self._host.T, self.device))
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data))

    @property
    def flags(self) -> SimpleNamespace:
        """Those that CuPy has; it knows no read-only and no misaligned arrays."""
        names = ("c_contiguous", "f_contiguous", "owndata")
        return SimpleNamespace(**{name: getattr(self._host.flags, name) for name in names})

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        facts = dict(self._host.__array_interface__)
        facts["data"] = facts["data"] if self.size else (0, False)  # without elements there is no address
        return {name: facts[name] for name in ("shape", "typestr", "data", "strides")} | {"version": 3, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **_: Any) -> ndarray:
        return self

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"emulated {self._host!r}"

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self._host[_index(key)], self.device)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_index(key)] = _inside(value)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __array__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **settings: Any) -> Any:
        if out is not None:
            settings["out"] = _inside(out)
        with np.errstate(all="ignore"):  # a GPU does not warn
            result = getattr(ufunc, method)(*_inside(inputs), **settings)
        if out is not None:
            return out[0]
        return tuple(map(_outside, result)) if isinstance(result, tuple) else _outside(result)

    def __array_function__(self, function: Any, _: Any, inputs: Any, settings: Any) -> Any:
        if function.__name__ not in _BY_PROTOCOL:
            return NotImplemented
        settings = {name: _inside(value) for name, value in settings.items()}
        return _outside(function(*_inside(inputs), **settings))

    def get(self) -> np.ndarray:
        return self._host.copy()


def _method(name: str) -> Any:
    def call(self: ndarray, *inputs: Any, **settings: Any) -> Any:
        settings = {key: _inside(value) for key, value in settings.items()}
        found = _outside(getattr(self._host, name)(*_inside(inputs), **settings))
        if name in _VIEWS:
            found.device = self.device
        return found

    return call


_BY_PROTOCOL = ("argmax", "argwhere", "broadcast_to", "concatenate", "empty_like", "split", "where", "zeros_like")
_VIEWS = ("reshape", "swapaxes", "view", "ravel")
_KEPT = ("reshape", "swapaxes", "view", "copy", "astype", "ravel")
for _name in (*_KEPT, "sum", "mean", "min", "max", "argmax", "all", "any"):
    setattr(ndarray, _name, _method(_name))


def _function(name: str) -> Any:
    def call(*inputs: Any, out: Any = None, **settings: Any) -> Any:
        settings = {key: _inside(value) for key, value in settings.items()}
        with np.errstate(all="ignore"):
            if out is None:
                return _outside(getattr(np, name)(*_inside(inputs), **settings))
            getattr(np, name)(*_inside(inputs), out=_inside(out), **settings)
        return out

    return call


def _accumulating(name: str) -> Any:
    """A function of NumPy that computes 16-bit numbers in float32, as CuPy does."""

    def call(*inputs: Any, out: Any = None, **settings: Any) -> Any:
        arrays = _inside(inputs)
        narrow = arrays[0].dtype if arrays[0].dtype.itemsize == 2 else None
        if narrow is not None:
            arrays = tuple(array.astype(np.float32) for array in arrays)
        with np.errstate(all="ignore"):
            result = getattr(np, name)(*arrays, **settings)
        result = result if narrow is None else result.astype(narrow)
        if out is None:
            return _outside(result)
        _inside(out)[...] = result
        return out

    return call


for _name in ("matmul", "sum"):
    globals()[_name] = _accumulating(_name)
for _name in ("stack", "empty", "zeros", "full", "arange", "argsort", "searchsorted", "ascontiguousarray"):
    globals()[_name] = _function(_name)


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """From host memory or from any array with an interface."""
    if isinstance(value, ndarray):
        return value if dtype is None else value.astype(dtype, copy=False)
    if hasattr(value, "__cuda_array_interface__"):
        return ndarray(np.asarray(_Interface(value)))
    return ndarray(np.array(value, dtype))


def from_dlpack(value: Any) -> ndarray:
    """From any array that gives memory of a GPU; the capsule of the stand-in is an array of its own."""
    if value.__dlpack_device__()[0] not in (2, 13):
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")
    return ndarray(
        value.__dlpack__(stream=1, max_version=(1, 0), copy=None)._host, cuda.Device(value.__dlpack_device__()[1])
    )


class _Interface:
    """What NumPy's view of an array keeps alive, and with it the owner of the memory."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self.__array_interface__ = owner.__cuda_array_interface__ | {"version": 3}


def asnumpy(value: Any) -> np.ndarray:
    """A copy in host memory."""
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


def get_default_memory_pool() -> SimpleNamespace:
    """NumPy keeps no memory for later."""
    return SimpleNamespace(free_all_blocks=lambda: None)
