"""What a stack of recurrent layers is made of: its cell, its sizes, the names and shapes of its parameters.

I inputs, H hidden units, P outputs of one direction, G gates, L layers, D directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Cell:
    """A cell as the kernels know it: `name`, gates G, states S, values saved for backward K."""

    name: str
    gates: int
    states: int
    saved: int
    projects: bool
    one_gate_gradient: bool


@dataclass(frozen=True)
class Sizes:
    """The sizes of all layers and directions."""

    cell: Cell
    input_size: int  # I
    hidden_size: int  # H
    proj_size: int  # P; 0: there is no projection, and P is H
    num_layers: int  # L
    directions: int  # D
    bias: bool

    @cached_property
    def output_size(self) -> int:
        """Columns of one direction's output, P."""
        return self.proj_size or self.hidden_size

    @cached_property
    def columns(self) -> int:
        """Columns of a layer's output, D*P."""
        return self.directions * self.output_size

    @cached_property
    def state_widths(self) -> tuple[int, ...]:
        """Columns of each state: P, then H for every further one."""
        return (self.output_size,) + (self.hidden_size,) * (self.cell.states - 1)

    @cached_property
    def state_rows(self) -> int:
        """States of all layers and directions, L*D."""
        return self.num_layers * self.directions

    @cached_property
    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """Of each layer: shapes of one direction by PyTorch's prefixes, in its order."""
        return [self._shapes(self.columns if layer else self.input_size) for layer in range(self.num_layers)]

    def _shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        gates = self.cell.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, inputs), "weight_hh": (gates, self.output_size)}
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    @cached_property
    def names(self) -> list[list[dict[str, str]]]:
        """Of each layer, by direction: the names by prefix."""
        suffixes = ("", "_reverse")[: self.directions]
        return [
            [{prefix: f"{prefix}_l{layer}{suffix}" for prefix in shapes} for suffix in suffixes]
            for layer, shapes in enumerate(self.shapes)
        ]
