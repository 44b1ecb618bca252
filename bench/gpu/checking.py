"""Is an answer right? The truth is float64: PyTorch's on the GPU, or else this library's on the CPU."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.checking import TOLERANCES as CPU_TOLERANCES
from fusedrnn.bench.checking import relative_error, within_lengths
from fusedrnn.bench.gpu.ours import LAYERS

# For 16 bits: 16 times the distance from 1 to the next number, as in the tests. TF32 has the fraction of float16.
TOLERANCES = CPU_TOLERANCES | {"float16": 16 * 2.0**-10, "bfloat16": 16 * 2.0**-7, "tf32": 16 * 2.0**-10}
CPU_OPERATIONS = 2e10  # of a check on the CPU, a second or so


class Judge(Protocol):
    """Knows the right answer to a problem.

    Attributes
    ----------
    problem : the one that it judges, with fewer steps where all would take too long
    name : whose answer it holds to be right
    """

    problem: Problem
    name: str

    def error(self, answer: Mapping[str, Any]) -> tuple[float, str]:
        """The largest error of an array, relative to its largest entry, and whose it is; see `checking` of the bench.

        The answer is of the judge's problem, with gradients or without.
        """


def shorten(problem: Problem, steps: int) -> Problem:
    """The first steps of a problem.

    Examples
    --------
    >>> from fusedrnn.bench.gpu.arrays import make_problem
    >>> from fusedrnn.bench.gpu.cases import make_case
    >>> from fusedrnn.bench.cases import Workload
    >>> problem = make_problem(Workload(make_case(4, 2, 9, packed=True), "rnn", "training"))
    >>> problem.lengths, shorten(problem, 5).lengths, shorten(problem, 5).x.shape
    (array([8, 9]), array([5, 5]), (5, 2, 4))
    """
    if steps >= len(problem.x):
        return problem
    workload = replace(problem.workload, case=replace(problem.workload.case, steps=steps))
    lengths = None if problem.lengths is None else np.minimum(problem.lengths, steps)
    return Problem(workload, problem.x[:steps], problem.dy[:steps], problem.weights, lengths)


class OnCpu:
    """The judge where there is no PyTorch: this library's kernels of the CPU, over as many steps as take a second."""

    name = "fusedrnn on the CPU"

    def __init__(self, problem: Problem) -> None:
        workload = problem.workload
        steps = int(CPU_OPERATIONS * workload.case.steps / workload.flops)
        self.problem = shorten(problem, max(steps, 2))
        exact = self.problem.astype("float64")
        layer = LAYERS[workload.cell](workload.case.inputs, workload.case.hidden, dtype="float64")
        layer.load_state_dict(exact.weights)
        y, _, saved = layer.forward(exact.x, lengths=exact.lengths)
        self._expected = {"y": y}
        if workload.training:
            dx, _, grads = layer.backward(saved, exact.dy)
            self._expected |= {"dx": dx, **grads}

    def error(self, answer: Mapping[str, Any]) -> tuple[float, str]:
        """See `Judge`."""
        cupy = importlib.import_module("cupy")
        found = {name: cupy.asnumpy(value).astype(np.float64) for name, value in answer.items()}
        expected = self._expected if "dx" in answer else {"y": self._expected["y"]}
        return relative_error(within_lengths(self.problem, found), expected)
