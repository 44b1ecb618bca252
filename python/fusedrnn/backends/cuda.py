"""CuPy arrays and the compiled kernels of `_cuda`.

The large products, over all steps at once, are CuPy's (cuBLAS); the loops through time are ours. Everything is queued
on CuPy's current stream and nothing waits for the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import _core, checks
from fusedrnn.backends.cuda_arrays import CudaArrays, matrix_product, sum_by_id
from fusedrnn.backends.cuda_parts import Array, as_cupy, on_current, stream
from fusedrnn.backends.cuda_parts import parts as parts
from fusedrnn.backends.cuda_places import Lengths, Places


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

    def pack(self, cell: str, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, w_hr: Any) -> Layer:
        return Layer(cell, w_ih, w_hh, b_ih, b_hh, w_hr)

    def summary(self) -> str:
        cupy, _ = parts()
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        capability = f"{properties['major']}.{properties['minor']}"
        return f"backend cuda, {properties['name'].decode()}, compute capability {capability}"


BACKEND = CudaBackend()


def _running(states: tuple[Array, ...]) -> tuple[Array, ...]:
    """Room for states in float32 from step to step, where those that are kept have only 16 bits."""
    return tuple(parts()[0].empty(state.shape, np.float32) for state in states if state.itemsize == 2)


class Layer:
    """The weights of one layer in one direction; see `fusedrnn.backends.PackedLayer`."""

    def __init__(self, cell: str, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, w_hr: Any) -> None:
        info = _core.cells()[cell]
        self._cell, self._one_gate_gradient = cell, info["one_gate_gradient"]
        self._w_ih, self._w_hr = w_ih, w_hr
        self._loop_weights = (w_hh, b_ih, b_hh, w_hr)
        self._gates, self._outputs = w_hh.shape
        self._hidden = self._gates // info["gates"]

    def forward(
        self,
        x: Any,
        ids: Any,
        state_in: tuple[Any, ...],
        lengths: Lengths | None,
        reset: Any,
        reverse: bool,
        y: Array,
        state_out: tuple[Array, ...],
        saved: tuple[Any, ...] | None,
        segment: int,
    ) -> None:
        cupy, module = parts()
        with on_current(f"{self._cell}: weights", self._w_ih).device:
            matrix, places = self._places(x, ids, lengths, reset, reverse)
            gx_matrix, gx = places.new(self._gates, y.dtype)
            if x is not None:
                matrix_product(places.gather(matrix), self._w_ih.T, gx_matrix)
            else:
                gx_matrix[...] = BACKEND.take_rows(self._w_ih.T, places.gather(matrix)[:, 0])
            if lengths is not None:
                y[...] = 0
            raw = None
            if self._w_hr is not None and saved is None:
                raw = cupy.empty((places.batch, self._hidden), y.dtype)
            module.forward(
                *self._names(y),
                places.rows,
                gx,
                self._loop_weights,
                state_in,
                y,
                state_out,
                saved,
                raw,
                _running(state_out),
                cupy.empty(module.arrived_numbers(), np.int64),
                cupy.cuda.get_current_stream().ptr,
            )

    def backward(
        self,
        x: Any,
        ids: Any,
        state_in: tuple[Any, ...],
        lengths: Lengths | None,
        reset: Any,
        reverse: bool,
        y: Array,
        saved: tuple[Any, ...],
        segment: int,
        dy: Any,
        dstate_out: tuple[Any, ...],
        dx: Any,
        dstate_in: tuple[Array, ...],
        gradients: tuple[Any, ...],
    ) -> None:
        cupy, module = parts()
        with on_current(f"{self._cell}: weights", self._w_ih).device:
            matrix, places = self._places(x, ids, lengths, reset, reverse)
            dgx_matrix, dgx = places.new(self._gates, y.dtype)
            dgh_matrix, dgh = (dgx_matrix, None) if self._one_gate_gradient else places.new(self._gates, y.dtype)
            before_matrix, before = places.new(self._outputs, y.dtype)
            doutput_matrix, doutput = (None, None) if self._w_hr is None else places.new(self._outputs, y.dtype)
            module.backward(
                *self._names(y),
                places.rows,
                self._loop_weights,
                state_in,
                y,
                saved,
                dy,
                dstate_out,
                dstate_in,
                (dgx, dgh, before, doutput),
                _running(dstate_in),
                cupy.empty(module.arrived_numbers(), np.int64),
                cupy.cuda.get_current_stream().ptr,
            )
            dw_ih, dw_hh, db_ih, db_hh, dw_hr = gradients
            matrix_product(dgh_matrix.T, before_matrix, dw_hh)
            if x is not None:
                matrix_product(dgx_matrix.T, places.gather(matrix), dw_ih)
            else:
                sums = cupy.empty(dw_ih.shape[::-1], y.dtype)
                sum_by_id(dgx_matrix, places.gather(matrix)[:, 0], sums)
                dw_ih[...] = sums.T
            if db_ih is not None:
                cupy.sum(dgx_matrix, axis=0, out=db_ih)
                cupy.sum(dgh_matrix, axis=0, out=db_hh)
            if doutput_matrix is not None:
                matrix_product(doutput_matrix.T, places.gather_time_major(saved[2]), dw_hr)
            if dx is not None:
                dx_matrix = cupy.empty((len(dgx_matrix), self._w_ih.shape[1]), y.dtype)
                matrix_product(dgx_matrix, self._w_ih, dx_matrix)
                places.scatter(dx_matrix, dx)

    def forward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        self.forward(*arguments)
        other.forward(*its)

    def backward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        self.backward(*arguments)
        other.backward(*its)

    @staticmethod
    def forward_wave(layers: list[Layer], arguments: list[tuple[Any, ...]]) -> None:
        for layer, its in zip(layers, arguments, strict=True):
            layer.forward(*its)

    @staticmethod
    def backward_wave(layers: list[Layer], arguments: list[tuple[Any, ...]]) -> None:
        for layer, its in zip(layers, arguments, strict=True):
            layer.backward(*its)

    def plan_of_half(self, steps: int, rows: int, backward: bool) -> None:
        return None

    @staticmethod
    def plans_of_wave(layers: list[Layer], steps: int, rows: int, backward: bool) -> list[str | None]:
        return [None] * len(layers)

    def segment_steps(self, steps: int, rows: int, every: int) -> int:
        raise NotImplementedError(f"cuda: checkpoint_every must be None on a GPU for now, got {every}")

    def plan(self, steps: int, rows: int, backward: bool) -> str:
        dtype = self._loop_weights[0].dtype.name
        plan: str = parts()[1].plan(self._cell, dtype, steps, rows, self._hidden, self._outputs, backward)
        return plan

    def _names(self, y: Array) -> tuple[str, str, int, int]:
        return self._cell, y.dtype.name, self._hidden, self._outputs

    def _places(self, x: Any, ids: Any, lengths: Lengths | None, reset: Any, reverse: bool) -> tuple[Array, Places]:
        """The input as a matrix (T*B, I), or (T*B, 1) of ids, and the places of the products."""
        cupy, module = parts()
        value = x if x is not None else ids[:, :, None]
        steps, batch, columns = value.shape
        batch_major = not value.flags.c_contiguous and value.swapaxes(0, 1).flags.c_contiguous
        matrix = cupy.ascontiguousarray(value.swapaxes(0, 1) if batch_major else value).reshape(steps * batch, columns)
        packed = None if lengths is None else lengths.packed(steps, reverse, batch_major)
        order = (None, None, None, []) if packed is None else packed.order
        return matrix, Places(module.Rows(steps, batch, reverse, *order, reset), steps, batch, batch_major, packed)
