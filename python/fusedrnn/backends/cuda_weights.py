"""The weights of one recurrent layer in one direction on a GPU, as products and loops take them."""

from __future__ import annotations

from typing import Any

from fusedrnn import _core
from fusedrnn.backends.cuda_arrays import CudaArrays
from fusedrnn.backends.cuda_parts import Array, parts
from fusedrnn.backends.cuda_products import matrix_product

ARRAYS = CudaArrays()


class Weights:
    """Weights with their sizes. With `tf32` products of float32 may be rounded to TF32."""

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

    def input_products(self, inputs: Array, out: Array | None = None) -> Array:
        """x W_ih^T (places, G*H) for x (places, I), in `out` if given; what ids (places, 1) look up in new memory."""
        if inputs.dtype != self.dtype:
            found: Array = ARRAYS.take_rows(self.weight.T, inputs[:, 0])
            return found
        made = parts()[0].empty((len(inputs), self.gates), self.dtype) if out is None else out
        matrix_product(inputs, self.weight.T, made, tf32=self.tf32)
        return made

    def w_hh_turned(self) -> Array | None:
        """W_hh^T (P, G*H), as tensor cores read it in backward; None where products are not theirs."""
        if self.dtype.itemsize == 2 or self.tf32:
            return parts()[0].ascontiguousarray(self.loop_weights[0].T)
        return None

    @property
    def names(self) -> tuple[str, str, bool, int, int]:
        """Cell, dtype, whether TF32 will do, H and P, as the loops are told."""
        return self.cell, self.dtype.name, self.tf32, self.hidden, self.outputs
