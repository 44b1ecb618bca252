"""Is an answer right? Compares what a library computed with the NumPy baseline in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.numpy_baseline import BACKWARD, FORWARD

# Above rounding (up to 4e-6 and 1e-14 here), far below what half precision or a wrong gate would give.
TOLERANCES = {"float32": 3e-5, "float64": 1e-10}


def truth(problem: Problem) -> dict[str, np.ndarray]:
    """The answer in float64: y, and in training dx and the gradients of the weights, by name."""
    exact = problem.astype("float64")
    cell = problem.workload.cell
    y, _, saved = FORWARD[cell](exact.x, exact.weights)
    if not problem.workload.training:
        return within_lengths(problem, {"y": y})
    # Past the end of a row dy is zero, so that nothing there reaches a gradient.
    dx, _, grads = BACKWARD[cell](saved, exact.dy)
    return within_lengths(problem, {"y": y, "dx": dx, **grads})


def within_lengths(problem: Problem, answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The answer with y zero past the end of each row, where a run of the padded rows has something and nobody looks.

    Examples
    --------
    >>> from fusedrnn.bench.cases import Case, Workload, make_problem
    >>> problem = make_problem(Workload(Case("three", 3, 2, 1, 1, ragged=True), "rnn", "inference"))
    >>> problem.lengths
    array([2, 3])
    >>> within_lengths(problem, {"y": np.ones((3, 2, 1))})["y"][:, 0, 0]
    array([1., 1., 0.])
    """
    valid = problem.valid
    if valid is None or "y" not in answer or answer["y"].shape[:2] != valid.shape:
        return dict(answer)
    return {**answer, "y": np.where(valid[..., None], answer["y"], 0)}


def relative_error(answer: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """The largest error of any array, relative to the largest entry of that array, and the array's name.

    A missing array, another shape or a number that is not finite counts as infinitely wrong.

    Examples
    --------
    >>> relative_error({"y": np.array([1.0, 2.5])}, {"y": np.array([1.0, 2.0])})
    (0.25, 'y')
    >>> relative_error({}, {"y": np.array([1.0, 2.0])})
    (inf, 'y')
    """
    worst, where = 0.0, next(iter(expected))
    for name, value in expected.items():
        error = math.inf
        if name in answer and answer[name].shape == value.shape and np.isfinite(answer[name]).all():
            error = float(np.abs(answer[name] - value).max() / np.abs(value).max())
        if error > worst:
            worst, where = error, name
    return worst, where
