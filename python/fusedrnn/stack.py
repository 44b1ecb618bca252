"""All layers and directions over one batch, forward and backward.

The kernels compute one layer in one direction (`PackedLayer`). Here their calls are put in order, and room is made for
what they write. Everything is time-major: x (T, B, I), y (T, B, D*P), states (L*D, B, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedrnn import functional
from fusedrnn.backends import PackedLayer
from fusedrnn.sequences import Batch, Layout
from fusedrnn.sizes import Sizes

States = tuple[np.ndarray, ...]  # of all layers and directions: h (L*D, B, P), further ones (L*D, B, H)
Values = tuple[np.ndarray | None, ...]  # what a kernel keeps for its backward, see `Stack._new_values`
Gradients = dict[str, np.ndarray]
Waiting = list[tuple[int, list[tuple[Any, ...]]]]  # layers, and the arguments of their kernels by direction
PREFIXES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # in the kernels' order


class Kept(NamedTuple):
    """What backward needs of one layer: its input (None: ids), its output, the kernel's values by direction.

    With ``segment > 0`` these are the states that enter segments of so many steps.
    """

    x: np.ndarray | None
    y: np.ndarray
    values: list[Values]
    segment: int


class Dropped(NamedTuple):
    """Coordinates of the masks between layers; the site is the number of the layer below."""

    p: float
    seed: int
    step: int
    row_offset: int

    def apply(self, layer: int, value: np.ndarray) -> np.ndarray:
        """The output of a layer, or a gradient with respect to what this gave, dropped."""
        return functional.dropout_forward(
            value, self.p, seed=self.seed, site=layer, step=self.step, row_offset=self.row_offset
        )


class Stack(NamedTuple):
    """What one call runs: the packed weights of each layer by direction, over a batch."""

    sizes: Sizes
    packs: Sequence[Sequence[PackedLayer]]
    layout: Layout
    batch: Batch

    def forward(
        self, y: np.ndarray, kept: list[Kept] | None, drop: Dropped | None, checkpoint_every: int | None = None
    ) -> States:
        """Fill y (T, B, D*P), a view, and return the states after the last step; with `kept`, add an entry a layer."""
        batch, last = self.batch, self.sizes.num_layers - 1
        state_after = self._new_states()
        x = batch.x
        together = self._together(drop, backward=False)
        waiting: Waiting = []
        for layer in range(self.sizes.num_layers):
            out = y if layer == last else self._empty((batch.steps, batch.rows, y.shape[2]))
            segment = 0 if checkpoint_every is None else self._segment_steps(layer, checkpoint_every)
            values = None if kept is None else [self._new_values(segment) for _ in self.packs[layer]]
            waiting.append((layer, self._forward_arguments(layer, x, out, state_after, values, segment)))
            if kept is not None:
                kept.append(Kept(x, out, values or [], segment))
            if len(waiting) == together or layer == last:
                self._run(waiting, backward=False)
                waiting = []
            x = out if drop is None or layer == last else drop.apply(layer, out)
        return state_after

    def _together(self, drop: Dropped | None, *, backward: bool) -> int:
        """How many layers go to the kernels in one call, each to read what the one before it has just written.

        Their arrays are all held meanwhile, so only one where no wavefront is planned.
        """
        if self.sizes.num_layers == 1 or self.sizes.directions == 2 or drop is not None:
            return 1
        packs, batch = [packs[0] for packs in self.packs], self.batch
        return packs[0].together(packs, batch.steps, batch.rows, batch.ids is not None, backward)

    def _run(self, waiting: Waiting, *, backward: bool) -> None:
        """Both directions of a layer, or a few layers that have one."""
        packs = [pack for layer, _ in waiting for pack in self.packs[layer]]
        calls = [call for _, arguments in waiting for call in arguments]
        first, pack = calls[0], packs[0]
        if len(packs) == 1:
            (pack.backward if backward else pack.forward)(*first)
        elif self.sizes.directions == 2:
            (pack.backward_with if backward else pack.forward_with)(first, packs[1], calls[1])
        else:
            (pack.backward_wave if backward else pack.forward_wave)(packs, calls)

    def _forward_arguments(
        self,
        layer: int,
        x: np.ndarray | None,
        y: np.ndarray,
        state_after: States,
        values: list[Values] | None,
        segment: int,
    ) -> list[tuple[Any, ...]]:
        """By direction: the kernel fills y, its part of the states, and `values`, if there are any."""
        batch = self.batch
        return [
            (
                x,
                batch.ids if layer == 0 else None,
                self._states_at(batch.states, layer, direction),
                batch.lengths,
                batch.reset,
                bool(direction),
                self._columns(y, direction),
                self._states_at(state_after, layer, direction),
                None if values is None else values[direction],
                segment,
            )
            for direction in range(self.sizes.directions)
        ]

    def backward(
        self,
        kept: Sequence[Kept],
        drop: Dropped | None,
        dy: np.ndarray | None,
        dstate_after: States | None,
        need_dx: bool,
    ) -> tuple[np.ndarray | None, States, Gradients]:
        """Gradients of x in the user's layout, None for ids and without `need_dx`; of the first states; of the weights.

        `kept` and `drop` are those of `forward`; dy (T, B, D*P) or None is that of its y.
        """
        grads: Gradients = {}
        dstate0 = self._new_states()
        dx: np.ndarray | None = None
        d_layer = dy
        together = self._together(drop, backward=True)
        waiting: Waiting = []
        for layer in reversed(range(self.sizes.num_layers)):
            below = kept[layer]
            inside: list[np.ndarray | None] = [None] * self.sizes.directions
            if below.x is not None and (need_dx or layer > 0):  # ids have no gradient
                if layer == 0:
                    dx, inside[0] = self.layout.new_sequence(self.batch.steps, self.batch.rows, self.sizes.input_size)
                inside = [self._empty(below.x.shape) if part is None else part for part in inside]
            gradients = self._new_gradients(layer)
            waiting.append(
                (layer, self._backward_arguments(layer, below, d_layer, dstate_after, inside, dstate0, gradients))
            )
            for direction, values in enumerate(gradients):
                grads |= {name: values[prefix] for prefix, name in self.sizes.names[layer][direction].items()}
            if len(waiting) == together or layer == 0:
                self._run(waiting, backward=True)
                waiting = []
            if inside[0] is not None and inside[-1] is not inside[0]:
                inside[0] += inside[1]
            d_layer = inside[0]
            if d_layer is not None and layer > 0 and drop is not None:
                # x of this layer = drop.apply(layer - 1, y of the one below)
                d_layer = drop.apply(layer - 1, d_layer)
        return dx, dstate0, grads

    def _backward_arguments(
        self,
        layer: int,
        kept: Kept,
        dy: np.ndarray | None,
        dstate_after: States | None,
        dx: Sequence[np.ndarray | None],
        dstate0: States,
        gradients: Sequence[Gradients],
    ) -> list[tuple[Any, ...]]:
        """By direction: the kernel fills dx, its part of dstate0, and the gradients, by prefix."""
        batch = self.batch
        return [
            (
                kept.x,
                batch.ids if layer == 0 else None,
                self._states_at(batch.states, layer, direction),
                batch.lengths,
                batch.reset,
                bool(direction),
                self._columns(kept.y, direction),
                kept.values[direction],
                kept.segment,
                None if dy is None else self._columns(dy, direction),
                self._states_at(dstate_after, layer, direction),
                dx[direction],
                self._states_at(dstate0, layer, direction),
                tuple(map(gradients[direction].get, PREFIXES)),
            )
            for direction in range(self.sizes.directions)
        ]

    # Arrays

    def _empty(self, shape: tuple[int, ...]) -> np.ndarray:
        value: np.ndarray = self.layout.backend.empty(shape, self.layout.dtype)
        return value

    def _new_gradients(self, layer: int) -> list[Gradients]:
        """Of the weights, by direction and prefix."""
        shapes = self.sizes.shapes[layer]
        return [{prefix: self._empty(shape) for prefix, shape in shapes.items()} for _ in range(self.sizes.directions)]

    def _new_states(self) -> States:
        sizes, rows = self.sizes, self.batch.rows
        return tuple([self._empty((sizes.state_rows, rows, width)) for width in sizes.state_widths])

    def _states_at(self, states: States | None, layer: int, direction: int) -> Values:
        if states is None:
            return (None,) * self.sizes.cell.states
        at = layer * self.sizes.directions + direction
        return tuple([part[at] for part in states])

    def _columns(self, value: np.ndarray, direction: int) -> np.ndarray:
        """One direction's columns of y (T, B, D*P)."""
        if self.sizes.directions == 1:
            return value
        width = self.sizes.output_size
        return value[..., direction * width : (direction + 1) * width]

    def _segment_steps(self, layer: int, checkpoint_every: int) -> int:
        """Steps between the states that are kept."""
        steps, rows = self.batch.steps, self.batch.rows
        return self.packs[layer][0].segment_steps(steps, rows, min(checkpoint_every, max(1, steps)))

    def _new_values(self, segment: int) -> Values:
        """Room for what the kernel keeps: gates (T, B, K, H), states (T, B, S-1, H), h before projection (T, B, H).

        With segments nothing but the states that enter them, (N, S-1, B, H), where the first segment needs none.
        """
        cell, hidden, steps, rows = self.sizes.cell, self.sizes.hidden_size, self.batch.steps, self.batch.rows
        if segment > 0:
            entering = (max(0, steps - 1) // segment, cell.states - 1, rows, hidden)
            backend = self.layout.backend
            room = backend.empty(entering, backend.running_dtype(self.layout.dtype)) if cell.states > 1 else None
            return None, room, None
        shapes = (
            (steps, rows, cell.saved, hidden) if cell.saved else None,
            (steps, rows, cell.states - 1, hidden) if cell.states > 1 else None,
            (steps, rows, hidden) if self.sizes.proj_size else None,
        )
        return tuple([None if shape is None else self._empty(shape) for shape in shapes])
