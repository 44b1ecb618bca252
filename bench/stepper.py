"""The time of one step with the state carried along, beside ONNX Runtime with T = 1: ``python bench/stepper.py``.

One row, one thread each. ONNX Runtime has a model of one node that takes x and the state and gives the next
state, of which h is the output. It is called in two ways: ``run`` with NumPy arrays, as most programs do, and with all
inputs and outputs bound to its memory beforehand. The libraries take turns; medians are over the repeats.
Both are checked against NumPy in float64 over some steps first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from fusedrnn.bench.cases import CELLS, Case, Problem, Workload, make_problem
from fusedrnn.bench.checking import TOLERANCES, relative_error, truth
from fusedrnn.bench.peers.fusedrnn import LAYERS
from fusedrnn.bench.table import align

import fusedrnn as fr

CHECKED_STEPS = 8
BURST_S = 0.1
Step = Callable[[np.ndarray], np.ndarray]  # x (1, I) to y (1, H)


def ours(problem: Problem) -> Step:
    """This library's stepper."""
    case = problem.workload.case
    layer = LAYERS[problem.workload.cell](case.inputs, case.hidden)
    layer.load_state_dict(problem.weights)
    return layer.stepper(1)


def makers() -> dict[str, Callable[[Problem], Step]]:
    """What is compared, by name."""
    theirs: Any = import_module("fusedrnn.bench.peers.onnxruntime_steps")
    return {"fusedrnn": ours, "onnxruntime": theirs.stepper, "onnxruntime, bound": theirs.bound_stepper}


def check(problem: Problem, maker: Callable[[Problem], Step]) -> None:
    """Raise ArithmeticError unless the steps give what NumPy gives."""
    step = maker(problem)
    y = np.stack([np.array(step(x)) for x in problem.x])
    error, _ = relative_error({"y": y}, truth(problem))
    if not error <= TOLERANCES["float32"]:
        raise ArithmeticError(f"the steps must be those of NumPy, got a relative error of {error}")


def time_step_us(step: Step, x: np.ndarray) -> float:
    """The median time of a step over a burst; the first steps do not count, and a look at the clock comes after ten."""
    for _ in range(20):
        step(x)
    stamps = [time.perf_counter_ns()]
    while stamps[-1] - stamps[0] < BURST_S * 1e9:
        for _ in range(10):
            step(x)
        stamps.append(time.perf_counter_ns())
    return float(np.median(np.diff(stamps))) / 1e4


def measure(cell: str, inputs: int, hidden: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds by library, a figure a repeat."""
    problem = make_problem(Workload(Case("step", CHECKED_STEPS, 1, inputs, hidden), cell, "inference"))
    compared = makers()
    for maker in compared.values():
        check(problem, maker)
    steps = {name: maker(problem) for name, maker in compared.items()}
    times: dict[str, list[float]] = {name: [] for name in compared}
    for repeat in range(repeats):
        for name in list(compared)[:: 1 if repeat % 2 == 0 else -1]:
            times[name].append(time_step_us(steps[name], problem.x[0]))
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="stepper", description=__doc__.partition(":")[0])
    parser.add_argument("--hidden", metavar="H", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--inputs", metavar="I", type=int, help="as many as hidden units without it")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=["lstm"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    fr.set_num_threads(1)
    lines = [["cell", "I", "H", *(f"{name}, us" for name in makers()), "ratio", "ratio, bound"]]
    for cell in options.cells:
        for hidden in options.hidden:
            inputs = options.inputs or hidden
            times = measure(cell, inputs, hidden, options.repeats)
            medians = [statistics.median(values) for values in times.values()]
            spans = [f"{m:.2f} ({min(v):.2f} to {max(v):.2f})" for m, v in zip(medians, times.values(), strict=True)]
            lines.append([cell, str(inputs), str(hidden), *spans, *(f"{m / medians[0]:.1f}" for m in medians[1:])])
    print(align(lines, left=1))


if __name__ == "__main__":
    main()
