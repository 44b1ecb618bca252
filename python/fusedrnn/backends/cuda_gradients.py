"""The gradients of the weights: products of each chunk of steps, summed from the last chunk to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from fusedrnn.backends.cuda_arrays import sum_by_id
from fusedrnn.backends.cuda_parts import Array, parts
from fusedrnn.backends.cuda_products import transposed_product
from fusedrnn.backends.cuda_running import running_dtype


class Total:
    """The sum of what the chunks of a loop add to a gradient, in their order; `put` when all have."""

    def __init__(self, out: Array, chunks: int) -> None:
        dtype = running_dtype(out.dtype)
        self._out, self._begun = out, False
        self._sum = out if chunks == 1 or dtype == out.dtype else parts()[0].empty(out.shape, dtype)

    def add(self, make: Callable[[Array], object]) -> None:
        """Add what `make` assigns to an array like the gradient, rounded as that is."""
        if not self._begun and self._sum is self._out:
            make(self._out)
        else:
            part = parts()[0].empty(self._out.shape, self._out.dtype)
            make(part)
            part = part.astype(self._sum.dtype, copy=False)
            if self._begun:
                self._sum += part
            else:
                self._sum[...] = part
        self._begun = True

    def put(self) -> None:
        if self._sum is not self._out:
            self._out[...] = self._sum.astype(self._out.dtype)


def add_gate_products(
    totals: Sequence[Total | None], inputs: Array, dgx: Array, dgh: Array, before: Array, *, tf32: bool
) -> None:
    """Add one chunk to the gradients of w_ih, w_hh, b_ih and b_hh.

    Parameters
    ----------
    totals : of those four and more; None: there is no such weight
    inputs : x (places, I), or ids (places, 1)
    dgx, dgh : (places, G*H), gradients of the gates
    before : (places, P), h before each step
    tf32 : as for `matrix_product`
    """
    w_ih, w_hh, b_ih, b_hh, *_ = totals
    is_ids = inputs.dtype != dgx.dtype
    if w_ih is not None:
        product = partial(transposed_product, dgx, inputs, tf32=tf32)
        w_ih.add(partial(_summed_by_id, dgx, inputs[:, 0]) if is_ids else product)
    if w_hh is not None:
        w_hh.add(partial(transposed_product, dgh, before, tf32=tf32))
    for bias, gradient in ((b_ih, dgx), (b_hh, dgh)):
        if bias is not None:
            bias.add(partial(_sum_of_rows, gradient))


def _summed_by_id(gradients: Array, ids: Array, out: Array) -> None:
    sums = parts()[0].empty(out.shape[::-1], out.dtype)
    sum_by_id(gradients, ids, sums)
    out[...] = sums.T


def _sum_of_rows(matrix: Array, out: Array) -> None:
    parts()[0].sum(matrix, axis=0, out=out)
