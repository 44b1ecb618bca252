"""The arrays of a case on the host, in the type of number of the layer: both libraries copy them to the GPU.

The largest cases have half a billion numbers. Drawing each would take longer than all timing, so input and cotangent
repeat a few million drawn ones, with a period that no row length divides.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from fusedrnn.bench.cases import CELLS, GATES, Problem, Workload

from fusedrnn.settings import parameter_dtype

PERIOD = 4_194_301  # a prime


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a type of number; RuntimeError where that takes a module that is not installed."""
    name = "float32" if name == "tf32" else name
    return parameter_dtype("fusedrnn bench", name, (name,))


@cache
def _drawn(dtype: np.dtype) -> np.ndarray:
    """Normal numbers, (PERIOD,)."""
    return np.random.default_rng(0).standard_normal(PERIOD, dtype=np.float32).astype(dtype)


def make_problem(workload: Workload) -> Problem:
    """Input, cotangent and weights of a workload, a pure function of it; weights are uniform within 1/sqrt(H).

    Examples
    --------
    >>> from fusedrnn.bench.gpu.cases import make_case
    >>> problem = make_problem(Workload(make_case(4, 2, 3), "gru", "training", "float16"))
    >>> problem.x.shape, problem.weights["weight_hh_l0"].shape, problem.dy.dtype
    ((3, 2, 4), (12, 4), dtype('float16'))
    """
    case, dtype = workload.case, numpy_dtype(workload.dtype)
    numbers = _drawn(dtype)
    sizes = (case.steps, case.rows)
    x = np.resize(numbers, (*sizes, case.inputs))
    dy = np.resize(np.roll(numbers, 1), (*sizes, case.hidden))
    generator = np.random.default_rng([workload.seed, CELLS.index(workload.cell), case.inputs, case.hidden])
    width, bound = GATES[workload.cell] * case.hidden, case.hidden**-0.5
    shapes = {
        "weight_ih_l0": (width, case.inputs),
        "weight_hh_l0": (width, case.hidden),
        "bias_ih_l0": (width,),
        "bias_hh_l0": (width,),
    }
    weights = {
        name: ((2 * generator.random(shape, dtype=np.float32) - 1) * np.float32(bound)).astype(dtype)
        for name, shape in shapes.items()
    }
    problem = Problem(workload, x, dy, weights, workload.lengths)
    if (valid := problem.valid) is not None:
        dy[~valid] = 0
    return problem
