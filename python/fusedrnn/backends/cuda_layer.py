"""The weights of one recurrent layer in one direction on a GPU, and what runs with them."""

from __future__ import annotations

from typing import Any

from fusedrnn import _core
from fusedrnn.backends.cuda_arrays import CudaArrays
from fusedrnn.backends.cuda_parts import Array, on_current, parts
from fusedrnn.backends.cuda_passes import Backward, Forward, backward, forward
from fusedrnn.backends.cuda_places import chunk_steps
from fusedrnn.backends.cuda_products import matrix_product

ARRAYS = CudaArrays()


class Layer:
    """See `fusedrnn.backends.PackedLayer`. With `tf32` products of float32 may be rounded to TF32."""

    def __init__(
        self, cell: str, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, w_hr: Any, *, tf32: bool = False
    ) -> None:
        info = _core.cells()[cell]
        self.cell, self.one_gate_gradient, self.saved = cell, info["one_gate_gradient"], info["saved"]
        self.weight, self.dtype, self.tf32 = w_ih, w_ih.dtype, tf32
        self.loop_weights = (w_hh, b_ih, b_hh, w_hr)
        self.inputs = w_ih.shape[1]
        self.gates, self.outputs = w_hh.shape
        self.hidden = self.gates // info["gates"]
        self.states = info["states"]
        self.projects = w_hr is not None

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

    def input_products(self, inputs: Array, out: Array | None = None) -> Array:
        """x W_ih^T (places, G*H) for x (places, I), in `out` if given; what ids (places, 1) look up in new memory."""
        if inputs.dtype != self.dtype:
            found: Array = ARRAYS.take_rows(self.weight.T, inputs[:, 0])
            return found
        made = parts()[0].empty((len(inputs), self.gates), self.dtype) if out is None else out
        matrix_product(inputs, self.weight.T, made, tf32=self.tf32)
        return made

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

    @property
    def names(self) -> tuple[str, str, bool, int, int]:
        """Cell, dtype, whether TF32 will do, H and P, as the loops are told."""
        return self.cell, self.dtype.name, self.tf32, self.hidden, self.outputs

    def _current(self) -> Any:
        """The GPU of the weights, if it is the current one."""
        return on_current(f"{self.cell}: weights", self.weight).device
