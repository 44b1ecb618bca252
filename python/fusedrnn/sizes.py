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

    def shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Shapes of one layer and direction by PyTorch's prefixes, in its order."""
        gates = self.cell.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (gates, self.input_size if layer == 0 else self.columns),
            "weight_hh": (gates, self.output_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    def names(self, layer: int, direction: int) -> dict[str, str]:
        """The names of one layer and direction by prefix."""
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        return {prefix: prefix + suffix for prefix in self.shapes(layer)}
