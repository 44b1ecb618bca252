"""The compiled CUDA backend; see src/cuda. Arrays are any with a CUDA array interface."""

from typing import Any

class Rows:
    def __init__(
        self,
        steps: int,
        rows: int,
        reverse: bool,
        batch_major: bool,
        row: Any,
        length: Any,
        first: Any,
        first_on_host: list[int],
        reset: Any,
    ) -> None: ...
    def places(self, begin: int, end: int) -> tuple[int, int]: ...

class Steps:
    def __init__(self, begin: int, end: int, enters: bool, saved_begin: int, saved_end: int) -> None: ...

def dropout(x: Any, out: Any, p: float, seed: int, site: int, step: int, row_offset: int, stream: int) -> None: ...
def forward(
    cell: str,
    dtype: str,
    hidden: int,
    outputs: int,
    rows: Rows,
    steps: Steps,
    gx: Any,
    weights: tuple[Any, ...],
    state_in: tuple[Any, ...],
    y: Any,
    state_out: tuple[Any, ...],
    saved: tuple[Any, ...] | None,
    raw: Any,
    running: tuple[Any, ...],
    arrived: Any,
    stream: int,
) -> None: ...
def backward(
    cell: str,
    dtype: str,
    hidden: int,
    outputs: int,
    rows: Rows,
    steps: Steps,
    weights: tuple[Any, ...],
    state_in: tuple[Any, ...],
    y: Any,
    saved: tuple[Any, ...],
    dy: Any,
    dstate_out: tuple[Any, ...],
    dstate_in: tuple[Any, ...],
    gradients: tuple[Any, ...],
    running: tuple[Any, ...],
    arrived: Any,
    stream: int,
) -> None: ...
def arrived_numbers() -> int: ...
def plan(cell: str, dtype: str, steps: int, rows: int, hidden: int, outputs: int, backward: bool) -> str: ...
def sum_by_id(x: Any, order: Any, starts: Any, out: Any, stream: int) -> None: ...
def take_rows(table: Any, ids: Any, out: Any, stream: int) -> None: ...
def exponentials(x: Any, targets: Any, out: Any, maxima: Any, sums: Any, chosen: Any, stream: int) -> None: ...
def softmax_gradient(x: Any, targets: Any, factors: Any, shifts: Any, out: Any, stream: int) -> None: ...
def cross_entropy(x: Any, targets: Any, factors: Any, maxima: Any, sums: Any, chosen: Any, stream: int) -> None: ...
def update(
    optimiser: str,
    numbers: list[float],
    parameters: list[Any],
    gradients: list[Any],
    states: list[list[Any] | None],
    rates: list[float],
    decays: list[float],
    stream: int,
) -> None: ...

SQUARES_PARTS: int

def sums_of_squares(arrays: list[Any], parts: Any, sums: Any, stream: int) -> None: ...
def clip(arrays: list[Any], norm: Any, most: float, stream: int) -> None: ...
