"""A stack of layers taken one time step at a time on a GPU; behind `fusedrnn.stepper`.

A step is for each layer the product of its input and the loop of `_cuda` over one step. All arrays but those of ids are
made once; h of all layers is there twice, as it was and as it will be, and what is beside it is changed in place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedrnn.backends.cuda_layer import Layer
from fusedrnn.backends.cuda_parts import Array, on_current, parts, stream
from fusedrnn.backends.cuda_running import running_dtype


class CudaStepper:
    """See `fusedrnn.backends.StackStepper`.

    Parameters
    ----------
    where : for messages
    layers : one direction of each
    rows : B
    batched : whether x and y have an axis of rows
    changed : says whether the weights have changed since
    """

    def __init__(
        self, where: str, layers: Sequence[Layer], rows: int, batched: bool, changed: Callable[[], bool]
    ) -> None:
        cupy, module = parts()
        self._where, self._layers, self._changed = where, layers, changed
        self._busy = threading.Lock()
        last = layers[-1]
        self._dtype = dtype = last.dtype
        outer = (rows,) if batched else ()
        self._x_shape, self._y_shape = (*outer, layers[0].inputs), (*outer, last.outputs)
        self._rows, self._step = rows, module.Steps(0, 1, False, 0, 1)
        self._place = module.Rows(1, rows, False, False, None, None, None, [], None)
        widths = (last.outputs,) + (last.hidden,) * (last.states - 1)
        with self._current():
            self._h = [_apart(len(layers), rows, widths[0], dtype) for _ in range(2)]  # before a step, after it
            self._x = cupy.empty((rows, layers[0].inputs), dtype)
            self._others = [cupy.zeros((len(layers), rows, width), dtype) for width in widths[1:]]
            wide = running_dtype(dtype)
            self._running = [] if wide == dtype else [cupy.zeros((len(layers), rows, width), wide) for width in widths]
            self._gx = cupy.empty((rows, last.gates), dtype)
            self._raw = cupy.empty((rows, last.hidden), dtype) if last.projects else None
            self._arrived = cupy.empty(module.arrived_numbers(), np.int64)
            self._y = cupy.empty(self._y_shape, dtype)

    def step(self, x: Any, out: Any) -> Any:
        if not self._fits(x, self._x_shape) or not (out is None or self._is_room(out)):
            return None
        return self._run(x.reshape(self._rows, -1), out)

    def step_ids(self, ids: Any, out: Any) -> Any:
        return self._run(ids[:, None], out) if out is None or self._is_room(out) else None

    def state(self) -> tuple[Any, ...]:
        with self._alone(), self._current():
            return tuple(part.copy() for part in (self._h[0], *self._others))

    def set_state(self, state: Sequence[Any], rows: Any) -> None:
        with self._alone(), self._current():
            for k, (part, given) in enumerate(zip((self._h[0], *self._others), state, strict=True)):
                _assign(part, given, rows)
                if self._running:
                    _assign(self._running[k], part.astype(self._running[k].dtype), rows)

    def _fits(self, value: Any, shape: tuple[int, ...]) -> bool:
        return isinstance(value, parts()[0].ndarray) and value.dtype == self._dtype and value.shape == shape

    def _is_room(self, out: Any) -> bool:
        return self._fits(out, self._y_shape) and out.flags.c_contiguous

    def _current(self) -> Any:
        """The GPU of the weights, if it is the current one."""
        return on_current(f"{self._where}: weights", self._layers[0].weight).device

    def _alone(self) -> _Alone:
        return _Alone(self._where, self._busy)

    def _run(self, inputs: Array, out: Any) -> Any:
        if self._changed():
            raise RuntimeError(
                f"{self._where}: the weights must be those that the stepper was made with, but the layer's have "
                "changed; refresh() takes them over"
            )
        for name, value in (("x", inputs), ("out", out)):
            if value is not None:
                on_current(f"{self._where}: {name}", value)
        y = self._y if out is None else out
        with self._alone(), self._current():
            if inputs.dtype == self._dtype and not inputs.flags.c_contiguous:  # the product would have another kernel
                self._x[...] = inputs
                inputs = self._x
            for at, layer in enumerate(self._layers):
                self._run_layer(at, inputs, y if layer is self._layers[-1] else self._h[1][at])
                inputs = self._h[1][at]
            self._h.reverse()
        return y

    def _run_layer(self, at: int, inputs: Array, y: Array) -> None:
        """One layer, of x (B, I) or ids (B, 1), to y (B, P), which may be where its h goes."""
        _, module = parts()
        layer, (before, after) = self._layers[at], self._h
        arrays = module.ForwardArrays(
            self._place,
            self._step,
            layer.input_products(inputs, self._gx),
            layer.loop_weights,
            (before[at], *(None for _ in self._others)),  # states 1.. wait where they are
            y.reshape(1, self._rows, -1),
            (after[at], *(part[at] for part in self._others)),
            None,
            self._raw,
            tuple(part[at] for part in self._running),
        )
        module.forward(*layer.names, [arrays], self._arrived, stream())


class _Alone:
    """Marks a stepper as busy; RuntimeError if it is."""

    def __init__(self, where: str, busy: threading.Lock) -> None:
        self._where, self._busy = where, busy

    def __enter__(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(
                f"{self._where}: a step must have ended before the next call, but one is running in another thread"
            )

    def __exit__(self, *_: object) -> None:
        self._busy.release()


def _apart(layers: int, rows: int, columns: int, dtype: np.dtype) -> Array:
    """Zeros (L, B, P), where each layer begins as an array of its own does: cuBLAS looks at that."""
    used, line = rows * columns, 256 // dtype.itemsize
    zeros = parts()[0].zeros((layers, -(-used // line) * line), dtype)
    return zeros[:, :used].reshape(layers, rows, columns)


def _assign(part: Array, given: Any, rows: Any) -> None:
    """Set part (L, B, C) to `given`, zeros for None, in the rows (B,) where `rows` is not 0; all for None."""
    if rows is None:
        part[...] = 0 if given is None else given
    else:
        bits = np.dtype(f"uint{8 * part.itemsize}")  # whatever they mean
        chosen = (rows != 0)[None, :, None]
        value = parts()[0].zeros(part.shape, bits) if given is None else given.view(bits)
        part.view(bits)[...] = np.where(chosen, value, part.view(bits))
