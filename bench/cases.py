"""What is timed: the cases by name, and the arrays that every library gets.

A workload is one case with a cell, a mode and a type of number. Its problem (input, weights, cotangent) is a pure
function of the workload, so every process can make the same one for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CELLS = ("lstm", "gru", "rnn")
MODES = ("inference", "training")
DTYPES = ("float32", "float64")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Case:
    """The sizes of one layer in one direction: T steps, B rows, I inputs, H hidden units."""

    name: str
    steps: int
    rows: int
    inputs: int
    hidden: int

    @property
    def sizes(self) -> str:
        """T,B,I,H as one word."""
        return f"{self.steps},{self.rows},{self.inputs},{self.hidden}"


CASES = {
    case.name: case
    for case in (
        Case("sine", 10, 32, 1, 30),
        Case("tiny-rows", 5, 2000, 2, 6),
        Case("mnist", 28, 128, 128, 128),
        Case("ptb-small", 35, 20, 200, 200),
        Case("ptb-medium", 35, 20, 650, 650),
        Case("charlm", 35, 32, 1027, 256),
        Case("text", 32, 128, 300, 128),
        Case("one-row-256", 100, 1, 256, 256),
        Case("one-row-1024", 100, 1, 1024, 1024),
        Case("wide-512", 50, 64, 512, 512),
        Case("wide-1024", 50, 16, 1024, 1024),
    )
}


@dataclass(frozen=True)
class Workload:
    """One line of the table.

    Examples
    --------
    >>> workload = Workload(CASES["sine"], "lstm", "inference")
    >>> workload.flops
    2380800
    >>> Workload.from_dict(workload.as_dict()) == workload
    True
    """

    case: Case
    cell: str
    mode: str
    dtype: str = "float32"
    seed: int = 0

    @property
    def label(self) -> str:
        """The workload in words."""
        return f"{self.cell} {self.case.name} {self.mode}"

    @property
    def training(self) -> bool:
        """Whether the gradients are part of the work."""
        return self.mode == "training"

    @property
    def flops(self) -> int:
        """Arithmetic of the matrix products: 2*T*B*G*H*(I+H), three times that with the gradients."""
        case = self.case
        forward = 2 * case.steps * case.rows * GATES[self.cell] * case.hidden * (case.inputs + case.hidden)
        return 3 * forward if self.training else forward

    def as_dict(self) -> dict[str, Any]:
        """The workload as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Workload:
        """Undo `as_dict`."""
        return cls(**{**fields, "case": Case(**fields["case"])})


@dataclass(frozen=True)
class Problem:
    """The arrays of a workload.

    Attributes
    ----------
    x : (T, B, I)
    dy : (T, B, H), the cotangent of the output
    weights : weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H), bias_ih_l0 and bias_hh_l0 (G*H), PyTorch's gate order
    """

    workload: Workload
    x: np.ndarray
    dy: np.ndarray
    weights: dict[str, np.ndarray]

    def astype(self, dtype: str) -> Problem:
        """The same values in another type of number."""
        weights = {name: value.astype(dtype) for name, value in self.weights.items()}
        return Problem(self.workload, self.x.astype(dtype), self.dy.astype(dtype), weights)


def make_problem(workload: Workload) -> Problem:
    """Draw the arrays of a workload: normal input and cotangent, weights and biases uniform within 1/sqrt(H).

    Examples
    --------
    >>> problem = make_problem(Workload(CASES["sine"], "gru", "training"))
    >>> problem.x.shape, problem.weights["weight_ih_l0"].shape
    ((10, 32, 1), (90, 1))
    """
    case = workload.case
    generator = np.random.default_rng(
        [workload.seed, CELLS.index(workload.cell), case.steps, case.rows, case.inputs, case.hidden]
    )
    width = GATES[workload.cell] * case.hidden
    bound = case.hidden**-0.5
    shapes = {
        "weight_ih_l0": (width, case.inputs),
        "weight_hh_l0": (width, case.hidden),
        "bias_ih_l0": (width,),
        "bias_hh_l0": (width,),
    }
    weights = {name: generator.uniform(-bound, bound, shape).astype(workload.dtype) for name, shape in shapes.items()}
    x = generator.standard_normal((case.steps, case.rows, case.inputs)).astype(workload.dtype)
    dy = generator.standard_normal((case.steps, case.rows, case.hidden)).astype(workload.dtype)
    return Problem(workload, x, dy, weights)
