"""CuPy arrays and the compiled kernels of `_cuda`.

The large products, over many steps at once, are CuPy's (cuBLAS); the loops through time are ours. Everything is queued
on CuPy's current stream and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends.cuda_arrays import CudaArrays
from fusedrnn.backends.cuda_layer import Layer
from fusedrnn.backends.cuda_parts import Array, as_cupy, stream
from fusedrnn.backends.cuda_parts import parts as parts
from fusedrnn.backends.cuda_places import Lengths
from fusedrnn.backends.cuda_running import running_dtype
from fusedrnn.backends.cuda_stepper import CudaStepper
from fusedrnn.backends.cuda_sums import CudaSums
from fusedrnn.backends.processes import Processes


def missing() -> str | None:
    """What is missing for a GPU to be used, in a few words; None: nothing."""
    try:
        cupy, _ = parts()
    except ModuleNotFoundError as error:
        if error.name == "fusedrnn._cuda":
            return "this build has no CUDA backend; install from source where nvcc is found (FUSEDRNN_CUDA=ON)"
        return f"the module {error.name} is missing; pip install 'fusedrnn[cuda13]'"
    except (ImportError, RuntimeError) as error:
        return f"CuPy or the backend cannot be loaded ({_one_line(error)})"
    try:
        if not cupy.cuda.runtime.getDeviceCount():
            return "there is no GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU can be used ({error})"
    try:  # CuPy itself loads them in the middle of a step, at the first product and the first kernel that it compiles
        cupy.cuda.cublas  # noqa: B018
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        return f"a library of CUDA cannot be loaded ({_one_line(error)}); pip install 'fusedrnn[cuda13]'"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def backend(where: str) -> CudaBackend:
    """The backend of the current GPU; RuntimeError with what is missing."""
    reason = missing()
    if reason is not None:
        raise RuntimeError(f"{where}: device must be 'cpu' here, got 'cuda': {reason}")
    return BACKEND


class CudaBackend(CudaArrays):
    """See `fusedrnn.backends.Backend`."""

    name: str = "cuda"
    dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")

    def array(self, where: str, name: str, value: Any, dtype: np.dtype) -> Array:
        value = as_cupy(where, name, value, dtype.name)
        if value.dtype != dtype:
            raise TypeError(
                f"{where}: {name} must be a cupy array of {dtype.name}, got {value.dtype.name}; nothing is cast"
            )
        return value

    def array_or_mask(self, where: str, name: str, value: Any, dtype: np.dtype) -> Array:
        value = as_cupy(where, name, value, dtype.name)
        return value if value.dtype == np.dtype(bool) else self.array(where, name, value, dtype)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        return parts()[0].empty(shape, dtype)

    def own(self, value: np.ndarray) -> Array:
        return parts()[0].asarray(value)

    def readable(self, value: Array) -> Array:
        contiguous = value.size == 0 or value.shape[-1] == 1 or value.strides[-1] == value.itemsize
        return value if contiguous else parts()[0].ascontiguousarray(value)

    def indices(self, where: str, name: str, value: Any) -> Array:
        return parts()[0].ascontiguousarray(self.integers(where, name, value).astype(np.int64, copy=False))

    def loaded(self, where: str, name: str, value: Any, dtype: np.dtype) -> Array:
        if isinstance(value, np.ndarray):
            return self.own(checks.array(where, name, value, dtype))
        return self.array(where, name, value, dtype)

    def lengths(self, value: np.ndarray) -> Lengths:
        return Lengths(value)

    def protect(self, value: Array, on: bool) -> None:
        """CuPy's arrays are always writable."""

    def dropout(self, x: Array, p: float, *, seed: int, site: int, step: int, row_offset: int) -> Array:
        cupy, module = parts()
        with x.device:
            out = cupy.empty(x.shape, x.dtype)
            module.dropout(self.dense(x), out, p, seed, site, step, row_offset, stream())
        return out

    def sums(self, where: str, processes: Processes, size: int, dtype: np.dtype, told: int) -> CudaSums:
        return CudaSums(where, processes, size, dtype)

    def running_dtype(self, dtype: np.dtype) -> np.dtype:
        return running_dtype(dtype)

    def pack(self, cell: str, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, w_hr: Any, *, tf32: bool) -> Layer:
        return Layer(cell, w_ih, w_hh, b_ih, b_hh, w_hr, tf32=tf32)

    def stepper(
        self,
        where: str,
        dtype: np.dtype,
        packs: Sequence[Any],
        rows: int,
        batched: bool,
        flag: Any,
        changed: Callable[[], bool],
    ) -> CudaStepper:
        return CudaStepper(where, packs, rows, batched, changed)

    def step_input(self, value: Array) -> Array:
        return value

    def step_output(self, where: str, value: Array) -> Array:
        if not value.flags.c_contiguous:
            raise ValueError(f"{where}: out must be C-contiguous, got strides {value.strides} in bytes")
        return value

    def summary(self) -> str:
        cupy, _ = parts()
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        capability = f"{properties['major']}.{properties['minor']}"
        return f"backend cuda, {properties['name'].decode()}, compute capability {capability}"


BACKEND = CudaBackend()
