"""One recurrent layer in one direction on a GPU: the loops of `_cuda`, and the large products around them.

Steps go chunk by chunk (`cuda_places.chunk_steps`), for each the products and a launch of the loop, so that what a
product makes is held for one chunk alone. With checkpoints backward makes what forward did not keep again, by the very
calls that made it. So every result has the bits that it has without.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fusedrnn import _core
from fusedrnn.backends.cuda_arrays import CudaArrays, matrix_product
from fusedrnn.backends.cuda_gradients import Total, add_gate_products, transposed_product
from fusedrnn.backends.cuda_parts import Array, on_current, parts, stream
from fusedrnn.backends.cuda_places import Lengths, Places, chunk_steps
from fusedrnn.backends.cuda_running import running_states

ARRAYS = CudaArrays()


@dataclass(frozen=True)
class Kept:
    """What forward keeps of the steps [begin, end): gates, states and h before the projection, as (places, ..)."""

    begin: int
    end: int
    arrays: tuple[Any, ...]


@dataclass(frozen=True)
class Loop:
    """What forward and backward of one batch share."""

    places: Places
    state_in: tuple[Any, ...]
    y: Array


class Layer:
    """The weights of one layer in one direction; see `fusedrnn.backends.PackedLayer`."""

    def __init__(self, cell: str, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, w_hr: Any) -> None:
        info = _core.cells()[cell]
        self._cell, self._one_gate_gradient, self._saved = cell, info["one_gate_gradient"], info["saved"]
        self.weight, self.dtype = w_ih, w_ih.dtype
        self.loop_weights = (w_hh, b_ih, b_hh, w_hr)
        self.inputs = w_ih.shape[1]
        self.gates, self.outputs = w_hh.shape
        self.hidden = self.gates // info["gates"]
        self.states = info["states"]
        self.projects = w_hr is not None

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
        with on_current(f"{self._cell}: weights", self.weight).device:
            loop = Loop(Places(x, ids, lengths, reset, reverse), state_in, y)
            running = running_states(state_out)
            if lengths is not None:
                y[...] = 0
            kept = self._whole(loop.places, saved) if saved is not None and segment == 0 else None
            for begin, end in loop.places.chunks(0, loop.places.longest):
                if saved is not None and saved[1] is not None and segment > 0 and begin > 0 and begin % segment == 0:
                    for k, state in enumerate((running or state_out)[1:]):
                        saved[1][begin // segment - 1, k] = state
                self._forward_steps(loop, begin, end, kept, state_out, running)

    def _forward_steps(
        self,
        loop: Loop,
        begin: int,
        end: int,
        kept: Kept | None,
        state_out: tuple[Array, ...],
        running: tuple[Array, ...],
    ) -> None:
        """The steps [begin, end); states go on in `running`, or in `state_out` without."""
        cupy, module = parts()
        places, y = loop.places, loop.y
        gx = self.input_products(places.inputs(begin, end))
        raw = None
        if self.projects and kept is None:
            raw = cupy.empty((places.batch, self.hidden), y.dtype)
        module.forward(
            *self.names,
            places.rows,
            self._steps(begin, end, begin == 0, kept),
            gx,
            self.loop_weights,
            loop.state_in,
            y,
            state_out,
            None if kept is None else kept.arrays,
            raw,
            running,
            cupy.empty(module.arrived_numbers(), np.int64),
            stream(),
        )

    def input_products(self, inputs: Array, out: Array | None = None) -> Array:
        """x W_ih^T (places, G*H) for x (places, I), in `out` if given; what ids (places, 1) look up in new memory."""
        if inputs.dtype != self.dtype:
            found: Array = ARRAYS.take_rows(self.weight.T, inputs[:, 0])
            return found
        made = parts()[0].empty((len(inputs), self.gates), self.dtype) if out is None else out
        matrix_product(inputs, self.weight.T, made)
        return made

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
        with on_current(f"{self._cell}: weights", self.weight).device:
            loop = Loop(Places(x, ids, lengths, reset, reverse), state_in, y)
            places = loop.places
            if dx is not None and lengths is not None:
                dx[...] = 0
            totals = [None if out is None else Total(out, len(places.chunks(0, places.longest))) for out in gradients]
            states = (dy, dstate_out, dstate_in, running_states(dstate_in))
            length = segment or max(1, places.longest)
            for start in reversed(range(0, max(1, places.longest), length)):
                self._backward_segment(
                    loop, start, min(start + length, places.longest), saved, segment, states, dx, totals
                )
            for total in totals:
                if total is not None:
                    total.put()

    def _backward_segment(
        self,
        loop: Loop,
        start: int,
        stop: int,
        saved: tuple[Any, ...],
        segment: int,
        states: tuple[Any, ...],
        dx: Any,
        totals: list[Total | None],
    ) -> None:
        """The steps [start, stop), after what forward did not keep of them is made again."""
        if segment > 0:
            loop, kept = self._again(loop, start, stop, saved[1], start // segment - 1)
        else:
            kept = self._whole(loop.places, saved)
        for begin, end in reversed(loop.places.chunks(start, stop)):
            self._backward_steps(loop, begin, end, kept, states, dx, totals)

    def _again(self, loop: Loop, start: int, stop: int, entering: Any, at: int) -> tuple[Loop, Kept]:
        """What forward would keep of the steps [start, stop), which the states `entering[at]` enter, if any.

        With the loop whose states 1.. are these. h is written to y once more, as it is there.
        """
        cupy, _ = parts()
        places, y = loop.places, loop.y
        count = places.count(start, stop)
        widths = (self._saved, self.states - 1, int(self.projects))
        arrays = tuple(cupy.empty((count, width * self.hidden), y.dtype) if width else None for width in widths)
        kept = Kept(start, stop, arrays)
        state_out = tuple(
            cupy.empty((places.batch, self.hidden if k else self.outputs), y.dtype) for k in range(self.states)
        )
        running = running_states(state_out)
        before = loop.state_in
        if start > 0 and entering is not None:
            for state, enters in zip((running or state_out)[1:], entering[at], strict=True):
                state[...] = enters
            before = (before[0], *(enters.astype(y.dtype) for enters in entering[at]))
        for begin, end in places.chunks(start, stop):
            self._forward_steps(loop, begin, end, kept, state_out, running)
        return Loop(places, before, y), kept

    def _backward_steps(
        self,
        loop: Loop,
        begin: int,
        end: int,
        kept: Kept,
        states: tuple[Any, ...],
        dx: Any,
        totals: list[Total | None],
    ) -> None:
        """The steps [begin, end): gradients of the states go on, those of the weights are added to `totals`."""
        cupy, module = parts()
        places, y = loop.places, loop.y
        count = places.count(begin, end)
        dy, dstate_out, dstate_in, running = states
        dgx = cupy.empty((count, self.gates), y.dtype)
        dgh = None if self._one_gate_gradient else cupy.empty(dgx.shape, y.dtype)
        before = cupy.empty((count, self.outputs), y.dtype)
        doutput = cupy.empty(before.shape, y.dtype) if self.projects else None
        module.backward(
            *self.names,
            places.rows,
            self._steps(begin, end, end == places.longest, kept),
            self.loop_weights,
            loop.state_in,
            y,
            kept.arrays,
            dy,
            dstate_out,
            dstate_in,
            (dgx, dgh, before, doutput),
            running,
            cupy.empty(module.arrived_numbers(), np.int64),
            stream(),
        )
        inputs = places.inputs(begin, end)
        add_gate_products(totals, inputs, dgx, dgx if dgh is None else dgh, before)
        if totals[4] is not None:
            first, last = places.rows.places(begin, end)
            begins, _ = places.rows.places(kept.begin, kept.end)
            # A copy: cuBLAS may choose another kernel, with other bits, for memory that begins elsewhere.
            raw = kept.arrays[2][first - begins : last - begins].copy()
            totals[4].add(partial(transposed_product, doutput, raw))
        if dx is not None:
            dx_matrix = cupy.empty((count, self.inputs), y.dtype)
            matrix_product(dgx, self.weight, dx_matrix)
            places.scatter(dx_matrix, dx, begin, end)

    def forward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        self.forward(*arguments)
        other.forward(*its)

    def backward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        self.backward(*arguments)
        other.backward(*its)

    @staticmethod
    def most_together() -> int:
        return 1  # launches follow one another

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
        """Whole chunks; 0 where there is nothing but y to keep."""
        if not self._saved and self.states == 1 and not self.projects:
            return 0
        chunk = chunk_steps(rows)
        return -(-every // chunk) * chunk

    def plan(self, steps: int, rows: int, backward: bool) -> str:
        chunk, (cell, dtype, *sizes) = chunk_steps(rows), self.names
        plan: str = parts()[1].plan(cell, dtype, min(steps, chunk), rows, *sizes, backward)
        return f"{plan}, chunks of {min(steps, chunk)} steps"

    @property
    def names(self) -> tuple[str, str, int, int]:
        """Cell, dtype, H and P, as the loops are told."""
        return self._cell, self.dtype.name, self.hidden, self.outputs

    def _steps(self, begin: int, end: int, enters: bool, kept: Kept | None) -> Any:
        whole = (begin, end) if kept is None else (kept.begin, kept.end)
        return parts()[1].Steps(begin, end, enters, *whole)

    def _whole(self, places: Places, saved: tuple[Any, ...]) -> Kept:
        """What forward keeps of all steps, in arrays (T, B, ..), which have room for every place."""
        count = places.count(0, places.longest)
        all_places = places.steps * places.batch
        arrays = tuple(
            None if value is None else value.reshape(all_places, int(np.prod(value.shape[2:])))[:count]
            for value in saved
        )
        return Kept(0, places.longest, arrays)
