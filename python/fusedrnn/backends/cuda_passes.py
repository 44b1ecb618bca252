"""Forward and backward of one layer through time on a GPU, in one direction or in both at once.

Steps go chunk by chunk (`cuda_places.chunk_steps`), for each the products and a launch of the loop, so that what a
product makes is held for one chunk alone. With checkpoints backward makes what forward did not keep again, by the very
calls that made it. So every result has the bits that it has without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fusedrnn.backends.cuda_gradients import Total, add_gate_products
from fusedrnn.backends.cuda_parts import Array, parts, stream
from fusedrnn.backends.cuda_places import Lengths, Places
from fusedrnn.backends.cuda_products import matrix_product, transposed_product
from fusedrnn.backends.cuda_running import running_states
from fusedrnn.backends.cuda_weights import Weights


@dataclass(frozen=True)
class Kept:
    """What forward keeps of the steps [begin, end): gates, states and h before the projection, as (places, ..)."""

    begin: int
    end: int
    arrays: tuple[Any, ...]


class Run:
    """The forward loop of one direction, from its first step or from a checkpoint on.

    Parameters
    ----------
    layer : its weights
    places : of the batch
    state_in : before the first step of all
    y : (T, B, P), filled
    state_out : (B, P or H), after the last step
    kept : what backward needs is put there; None: nothing is
    """

    def __init__(
        self,
        layer: Weights,
        places: Places,
        state_in: tuple[Any, ...],
        y: Array,
        state_out: tuple[Array, ...],
        kept: Kept | None,
    ) -> None:
        self.layer, self.places, self.state_in, self.y = layer, places, state_in, y
        self.state_out, self.kept = state_out, kept
        self.running = running_states(state_out)

    @property
    def states(self) -> tuple[Array, ...]:
        """Where the states are between two chunks."""
        return self.running or self.state_out

    def arrays(self, begin: int, end: int) -> Any:
        """What a launch of the steps [begin, end) reads and writes, once their input is multiplied."""
        cupy, module = parts()
        layer, places = self.layer, self.places
        raw = None
        if layer.projects and self.kept is None:
            raw = cupy.empty((places.batch, layer.hidden), self.y.dtype)
        return module.ForwardArrays(
            places.rows,
            _steps(begin, end, begin == 0, self.kept),
            layer.input_products(places.inputs(begin, end)),
            layer.loop_weights,
            self.state_in,
            self.y,
            self.state_out,
            None if self.kept is None else self.kept.arrays,
            raw,
            self.running,
        )


def run_steps(runs: Sequence[Run], begin: int, end: int) -> None:
    """The steps [begin, end) of all directions in one launch."""
    cupy, module = parts()
    arrived = cupy.empty(module.arrived_numbers(), np.int64)
    module.forward(*runs[0].layer.names, [run.arrays(begin, end) for run in runs], arrived, stream())


class Forward:
    """One direction of a forward pass, with the arguments of `fusedrnn.backends.PackedLayer.forward`."""

    def __init__(
        self,
        layer: Weights,
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
        places = Places(x, ids, lengths, reset, reverse)
        if lengths is not None:
            y[...] = 0
        kept = whole(places, saved) if saved is not None and segment == 0 else None
        self.run = Run(layer, places, state_in, y, state_out, kept)
        self._segment = segment
        self._entering: Any = saved[1] if saved is not None and segment > 0 else None

    def keep_entering(self, begin: int) -> None:
        """The states of a checkpoint, where a segment begins."""
        if self._entering is not None and begin > 0 and begin % self._segment == 0:
            for k, state in enumerate(self.run.states[1:]):
                self._entering[begin // self._segment - 1, k] = state


def forward(passes: Sequence[Forward]) -> None:
    """All steps of a layer, in one direction or both."""
    places = passes[0].run.places
    for begin, end in places.chunks(0, places.longest):
        for one in passes:
            one.keep_entering(begin)
        run_steps([one.run for one in passes], begin, end)


class Backward:
    """One direction of a backward pass, with the arguments of `fusedrnn.backends.PackedLayer.backward`."""

    def __init__(
        self,
        layer: Weights,
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
        self.layer, self.segment = layer, segment
        self.places = places = Places(x, ids, lengths, reset, reverse)
        self._state_in, self._y, self._saved, self._dy = state_in, y, saved, dy
        self._dstate_out, self._dx, self._dstate_in = dstate_out, dx, dstate_in
        self._running = running_states(dstate_in)
        self._w_hh_turned = layer.w_hh_turned()
        if dx is not None and lengths is not None:
            dx[...] = 0
        chunks = len(places.chunks(0, places.longest))
        self.totals = [None if out is None else Total(out, chunks) for out in gradients]
        # Of the steps that are undone: the states 1.. that enter the first of them, and what is kept.
        self._entered = state_in
        self._kept = Kept(0, 0, ()) if segment > 0 else whole(places, saved)

    def again(self, start: int, stop: int) -> Run:
        """What makes again what forward did not keep of the steps [start, stop), which are undone next.

        h is written to y once more, as it is there.
        """
        cupy, _ = parts()
        layer, places, y = self.layer, self.places, self._y
        count = places.count(start, stop)
        widths = (layer.saved, layer.states - 1, int(layer.projects))
        arrays = tuple(cupy.empty((count, width * layer.hidden), y.dtype) if width else None for width in widths)
        state_out = tuple(
            cupy.empty((places.batch, layer.hidden if k else layer.outputs), y.dtype) for k in range(layer.states)
        )
        self._entered, self._kept = self._state_in, Kept(start, stop, arrays)
        run = Run(layer, places, self._state_in, y, state_out, self._kept)
        entering = self._saved[1]
        if start > 0 and entering is not None:
            at = entering[start // self.segment - 1]
            for state, enters in zip(run.states[1:], at, strict=True):
                state[...] = enters
            self._entered = run.state_in = (self._state_in[0], *(enters.astype(y.dtype) for enters in at))
        return run

    def arrays(self, begin: int, end: int) -> Any:
        """What a launch of the steps [begin, end) reads and writes."""
        cupy, module = parts()
        count, layer, y = self.places.count(begin, end), self.layer, self._y
        dgx = cupy.empty((count, layer.gates), y.dtype)
        dgh = None if layer.one_gate_gradient else cupy.empty(dgx.shape, y.dtype)
        before = cupy.empty((count, layer.outputs), y.dtype)
        doutput = cupy.empty(before.shape, y.dtype) if layer.projects else None
        self._made = (dgx, dgh, before, doutput)
        return module.BackwardArrays(
            self.places.rows,
            _steps(begin, end, end == self.places.longest, self._kept),
            layer.loop_weights,
            self._w_hh_turned,
            self._entered,
            y,
            self._kept.arrays,
            self._dy,
            self._dstate_out,
            self._dstate_in,
            self._made,
            self._running,
        )

    def add_products(self, begin: int, end: int) -> None:
        """After the launch: what these steps add to the gradients of the weights, and their dx."""
        cupy, _ = parts()
        dgx, dgh, before, doutput = self._made
        places, layer = self.places, self.layer
        recurrent = dgx if dgh is None else dgh
        add_gate_products(self.totals, places.inputs(begin, end), dgx, recurrent, before, tf32=layer.tf32)
        if self.totals[4] is not None:
            first, last = places.rows.places(begin, end)
            begins, _ = places.rows.places(self._kept.begin, self._kept.end)
            # A copy: cuBLAS may choose another kernel, with other bits, for memory that begins elsewhere.
            raw = self._kept.arrays[2][first - begins : last - begins].copy()
            self.totals[4].add(partial(transposed_product, doutput, raw, tf32=layer.tf32))
        if self._dx is not None:
            dx = cupy.empty((len(dgx), layer.inputs), dgx.dtype)
            matrix_product(dgx, layer.weight, dx, tf32=layer.tf32)
            places.scatter(dx, self._dx, begin, end)


def backward(passes: Sequence[Backward]) -> None:
    """All steps of a layer backwards, in one direction or both: a segment at a time, and each chunk by chunk."""
    cupy, module = parts()
    places, segment = passes[0].places, passes[0].segment
    length = segment or max(1, places.longest)
    for start in reversed(range(0, max(1, places.longest), length)):
        stop = min(start + length, places.longest)
        chunks = places.chunks(start, stop)
        if segment > 0:
            runs = [one.again(start, stop) for one in passes]
            for begin, end in chunks:
                run_steps(runs, begin, end)
        for begin, end in reversed(chunks):
            arrived = cupy.empty(module.arrived_numbers(), np.int64)
            arrays = [one.arrays(begin, end) for one in passes]
            module.backward(*passes[0].layer.names, arrays, arrived, stream())
            for one in passes:
                one.add_products(begin, end)
    for one in passes:
        for total in one.totals:
            if total is not None:
                total.put()


def whole(places: Places, saved: tuple[Any, ...]) -> Kept:
    """What forward keeps of all steps, in arrays (T, B, ..), which have room for every place."""
    count = places.count(0, places.longest)
    all_places = places.steps * places.batch
    arrays = tuple(
        None if value is None else value.reshape(all_places, int(np.prod(value.shape[2:])))[:count] for value in saved
    )
    return Kept(0, places.longest, arrays)


def _steps(begin: int, end: int, enters: bool, kept: Kept | None) -> Any:
    of_kept = (begin, end) if kept is None else (kept.begin, kept.end)
    return parts()[1].Steps(begin, end, enters, *of_kept)
