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
    """The sizes of one layer in one direction: T steps, B rows, I inputs, H hidden units.

    With `ragged` every row has a length of its own, drawn evenly from [T/10, T].
    """

    name: str
    steps: int
    rows: int
    inputs: int
    hidden: int
    ragged: bool = False

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
        Case("lengths-128", 28, 128, 128, 128, ragged=True),
        Case("lengths-512", 50, 64, 512, 512, ragged=True),
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
        """Useful operations: those of the matrix products, two a multiply-add.

        Forward these are the input product and the recurrent one, 2*T*B*G*H*(I+H). Backward has two more of each, for
        the gradient of what is multiplied and for that of the weights, so training counts three times as much.
        With lengths only the steps within them count, their sum in place of T*B. Activations, biases, packing and
        everything else that takes time count nothing.
        """
        case, lengths = self.case, self.lengths
        steps = case.steps * case.rows if lengths is None else int(lengths.sum())
        forward = 2 * steps * GATES[self.cell] * case.hidden * (case.inputs + case.hidden)
        return 3 * forward if self.training else forward

    @property
    def lengths(self) -> np.ndarray | None:
        """The length of each row of a ragged case, (B,), else None: the same in every cell and mode."""
        case = self.case
        if not case.ragged:
            return None
        generator = np.random.default_rng([self.seed, case.steps, case.rows])
        return generator.integers(-(-case.steps // 10), case.steps + 1, case.rows)

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
    lengths : (B,), of a ragged case, else None; past the end of a row dy is zero
    """

    workload: Workload
    x: np.ndarray
    dy: np.ndarray
    weights: dict[str, np.ndarray]
    lengths: np.ndarray | None = None

    @property
    def valid(self) -> np.ndarray | None:
        """Which steps lie within the lengths, (T, B), or None."""
        return None if self.lengths is None else np.arange(len(self.x))[:, None] < self.lengths

    def astype(self, dtype: str) -> Problem:
        """The same values in another type of number."""
        weights = {name: value.astype(dtype) for name, value in self.weights.items()}
        return Problem(self.workload, self.x.astype(dtype), self.dy.astype(dtype), weights, self.lengths)


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
    problem = Problem(workload, x, dy, weights, workload.lengths)
    if (valid := problem.valid) is not None:
        dy[~valid] = 0
    return problem
