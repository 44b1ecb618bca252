"""One recurrent layer in one direction on a GPU."""

from __future__ import annotations

from typing import Any

from fusedrnn.backends.cuda_parts import on_current, parts
from fusedrnn.backends.cuda_passes import Backward, Forward, backward, forward
from fusedrnn.backends.cuda_places import chunk_steps
from fusedrnn.backends.cuda_weights import Weights


class Layer(Weights):
    """See `fusedrnn.backends.PackedLayer`."""

    def forward(self, *arguments: Any) -> None:
        with self._current():
            forward([Forward(self, *arguments)])

    def backward(self, *arguments: Any) -> None:
        with self._current():
            backward([Backward(self, *arguments)])

    def forward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        with self._current():
            forward([Forward(self, *arguments), Forward(other, *its)])

    def backward_with(self, arguments: tuple[Any, ...], other: Layer, its: tuple[Any, ...]) -> None:
        with self._current():
            backward([Backward(self, *arguments), Backward(other, *its)])

    @staticmethod
    def together(layers: list[Layer], steps: int, rows: int, ids: bool, backward: bool) -> int:
        return 1  # launches follow one another

    @staticmethod
    def forward_wave(layers: list[Layer], arguments: list[tuple[Any, ...]]) -> None:
        for layer, its in zip(layers, arguments, strict=True):
            layer.forward(*its)

    @staticmethod
    def backward_wave(layers: list[Layer], arguments: list[tuple[Any, ...]]) -> None:
        for layer, its in zip(layers, arguments, strict=True):
            layer.backward(*its)

    @staticmethod
    def plans_of_wave(layers: list[Layer], steps: int, rows: int, ids: bool, backward: bool) -> list[str | None]:
        return [None] * len(layers)

    def segment_steps(self, steps: int, rows: int, every: int) -> int:
        """Whole chunks; 0 where there is nothing but y to keep."""
        if not self.saved and self.states == 1 and not self.projects:
            return 0
        chunk = chunk_steps(rows)
        return -(-every // chunk) * chunk

    def plan(self, steps: int, rows: int, ids: bool, backward: bool) -> str:
        return str(self._plan(steps, rows, 1, backward))

    def plan_of_half(self, steps: int, rows: int, ids: bool, backward: bool) -> str | None:
        return self._plan(steps, rows, 2, backward)

    def _plan(self, steps: int, rows: int, directions: int, backward: bool) -> str | None:
        chunk, (cell, dtype, tf32, *sizes) = min(steps, chunk_steps(rows)), self.names
        plan: str | None = parts()[1].plan(cell, dtype, tf32, chunk, rows, *sizes, directions, backward)
        return None if plan is None else f"{plan}, chunks of {chunk} steps"

    def _current(self) -> Any:
        """The GPU of the weights, if it is the current one."""
        return on_current(f"{self.cell}: weights", self.weight).device
