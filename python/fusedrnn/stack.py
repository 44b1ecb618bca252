"""All layers and directions over one batch, forward and backward.

The kernels compute one layer in one direction (`PackedLayer`). Here their calls are put in order, and room is made for
what they write. Everything is time-major: x (T, B, I), y (T, B, D*P), states (L*D, B, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fusedrnn import functional
from fusedrnn.backends import PackedLayer
from fusedrnn.sequences import Batch, Layout
from fusedrnn.sizes import Sizes

States = tuple[np.ndarray, ...]  # of all layers and directions: h (L*D, B, P), further ones (L*D, B, H)
Values = tuple[np.ndarray | None, ...]  # what a kernel keeps for its backward, see `Stack._new_values`
Gradients = dict[str, np.ndarray]
PREFIXES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # in the kernels' order


@dataclass(frozen=True)
class Kept:
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
        batch = self.batch
        state_after = self._new_states()
        x = batch.x
        for layer in range(self.sizes.num_layers):
            last = layer == self.sizes.num_layers - 1
            out = y if last else self._empty((batch.steps, batch.rows, y.shape[2]))
            segment = 0 if checkpoint_every is None else self._segment_steps(layer, checkpoint_every)
            values = self._forward_layer(layer, x, out, state_after, kept is not None, segment)
            if kept is not None:
                kept.append(Kept(x, out, values, segment))
            x = out if drop is None or last else drop.apply(layer, out)
        return state_after

    def _forward_layer(
        self,
        layer: int,
        x: np.ndarray | None,
        y: np.ndarray,
        state_after: States,
        keep: bool,
        segment: int,
    ) -> list[Values]:
        """Both directions of one layer: fills y and its part of the states, returns what is kept by direction."""
        batch = self.batch
        values = [self._new_values(segment) for _ in self.packs[layer]] if keep else []
        for direction, pack in enumerate(self.packs[layer]):
            pack.forward(
                x,
                batch.ids if layer == 0 else None,
                self._states_at(batch.states, layer, direction),
                batch.lengths,
                batch.reset,
                bool(direction),
                self._columns(y, direction),
                self._states_at(state_after, layer, direction),
                values[direction] if keep else None,
                segment,
            )
        return values

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
        for layer in reversed(range(self.sizes.num_layers)):
            below = kept[layer]
            inside: list[np.ndarray | None] = [None] * self.sizes.directions
            if below.x is not None and (need_dx or layer > 0):  # ids have no gradient
                if layer == 0:
                    dx, inside[0] = self.layout.new_sequence(self.batch.steps, self.batch.rows, self.sizes.input_size)
                inside = [self._empty(below.x.shape) if part is None else part for part in inside]
            grads |= self._backward_layer(layer, below, d_layer, dstate_after, inside, dstate0)
            if inside[0] is not None and inside[-1] is not inside[0]:
                inside[0] += inside[1]
            d_layer = inside[0]
            if d_layer is not None and layer > 0 and drop is not None:
                # x of this layer = drop.apply(layer - 1, y of the one below)
                d_layer = drop.apply(layer - 1, d_layer)
        return dx, dstate0, grads

    def _backward_layer(
        self,
        layer: int,
        kept: Kept,
        dy: np.ndarray | None,
        dstate_after: States | None,
        dx: Sequence[np.ndarray | None],
        dstate0: States,
    ) -> Gradients:
        """Both directions of one layer: fills dx by direction and its part of dstate0, returns the other gradients."""
        batch = self.batch
        shapes = self.sizes.shapes(layer)
        grads: Gradients = {}
        for direction, pack in enumerate(self.packs[layer]):
            gradients = {prefix: self._empty(shape) for prefix, shape in shapes.items()}
            pack.backward(
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
                tuple(gradients.get(prefix) for prefix in PREFIXES),
            )
            names = self.sizes.names(layer, direction)
            grads |= {names[prefix]: value for prefix, value in gradients.items()}
        return grads

    # Arrays

    def _empty(self, shape: tuple[int, ...]) -> np.ndarray:
        value: np.ndarray = self.layout.backend.empty(shape, self.layout.dtype)
        return value

    def _new_states(self) -> States:
        sizes, rows = self.sizes, self.batch.rows
        return tuple(self._empty((sizes.state_rows, rows, width)) for width in sizes.state_widths)

    def _states_at(self, states: States | None, layer: int, direction: int) -> Values:
        if states is None:
            return (None,) * self.sizes.cell.states
        at = layer * self.sizes.directions + direction
        return tuple(part[at] for part in states)

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
        return tuple(None if shape is None else self._empty(shape) for shape in shapes)
