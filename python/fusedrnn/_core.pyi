from collections.abc import Sequence
from typing import TypedDict

from numpy import dtype, ndarray

class CellInfo(TypedDict):
    gates: int
    states: int
    saved: int
    projects: bool

class _Layer:
    def forward(
        self,
        x: ndarray | None,
        ids: ndarray | None,
        state_in: tuple[ndarray | None, ...],
        lengths: ndarray | None,
        reset: ndarray | None,
        reverse: bool,
        y: ndarray,
        state_out: tuple[ndarray | None, ...],
        saved: tuple[ndarray | None, ...] | None,
    ) -> None: ...
    def backward(
        self,
        x: ndarray | None,
        ids: ndarray | None,
        state_in: tuple[ndarray | None, ...],
        lengths: ndarray | None,
        reset: ndarray | None,
        reverse: bool,
        y: ndarray,
        saved: tuple[ndarray | None, ...],
        dy: ndarray | None,
        dstate_out: tuple[ndarray | None, ...],
        dx: ndarray | None,
        dstate_in: tuple[ndarray | None, ...],
        gradients: tuple[ndarray | None, ...],
    ) -> None: ...
    def plan(self, steps: int, rows: int, backward: bool) -> str: ...

class Layer32(_Layer): ...
class Layer64(_Layer): ...

def pack(
    cell: str,
    w_ih: ndarray,
    w_hh: ndarray,
    b_ih: ndarray | None,
    b_hh: ndarray | None,
    w_hr: ndarray | None,
) -> _Layer: ...
def matmul(
    a: ndarray, b: ndarray, bias: ndarray | None, c: ndarray, add: bool = ..., row_sums: ndarray | None = ...
) -> None: ...
def empty(shape: Sequence[int], dtype: dtype) -> ndarray: ...
def dropout(x: ndarray, out: ndarray, p: float, seed: int, site: int, step: int, row_offset: int) -> None: ...
def exponentials(x: ndarray, out: ndarray, maxima: ndarray, sums: ndarray) -> None: ...
def scale_rows(x: ndarray, factors: ndarray, out: ndarray) -> None: ...
def cross_entropy(
    x: ndarray, targets: ndarray, factors: ndarray | None, maxima: ndarray, sums: ndarray, chosen: ndarray
) -> None: ...
def scatter_add(ids: ndarray, x: ndarray, out: ndarray) -> None: ...
def sums_of_squares(arrays: list[ndarray]) -> list[float]: ...
def scale(arrays: list[ndarray], factor: float) -> None: ...
def update(
    optimiser: str,
    numbers: list[float],
    parameters: list[ndarray],
    gradients: list[ndarray],
    states: list[list[ndarray] | None],
    rates: list[float],
    decays: list[float],
) -> None: ...
def cells() -> dict[str, CellInfo]: ...
def isa() -> str: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
