"""The layers on a GPU, or on the emulated one, against the oracle and against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, Problem, build, errors, named, run_reference

pytestmark = pytest.mark.gpu

CASES = [
    {},
    {"state": False},
    {"bias": False},
    {"loss": "y"},
    {"loss": "state"},
    {"batch_first": True},
    {"bidirectional": True, "num_layers": 2},
    {"lengths": True},
    {"lengths": True, "bidirectional": True, "num_layers": 2},
    {"reset": True},
    {"reset": True, "lengths": True, "bidirectional": True, "num_layers": 2, "batch_first": True},
    {"T": 9, "B": 40, "I": 33, "H": 19},  # several tiles of rows and of units, several rows a thread
    {"T": 3, "B": 7, "I": 5, "H": 140},  # a sum of several runs
    {"T": 1, "B": 1, "I": 1, "H": 2},
    {"T": 0},
    {"B": 0},
]


def cases() -> list[Case]:
    plain = [Case(cell=cell, **case) for case in CASES for cell in CELLS]
    return plain + [Case(cell=cell, projection=True, **case) for case in CASES for cell in PROJECTING]


def over(value: Any, move: Any) -> Any:
    """A value with each of its arrays moved."""
    if isinstance(value, tuple):
        return (
            type(value)(*(over(part, move) for part in value)) if hasattr(value, "_fields") else tuple(map(move, value))
        )
    if isinstance(value, dict):
        return {key: over(part, move) for key, part in value.items()}
    return value if value is None else move(value)


def run(gpu: Any, problem: Problem, **more: Any) -> dict[str, np.ndarray]:
    """Forward and backward on the device, with everything moved there and back."""
    call = {name: value if name == "lengths" else over(value, gpu.asarray) for name, value in problem.call.items()}
    y, state, saved = problem.layer.forward(gpu.asarray(problem.x), **call, **more)
    back = problem.layer.backward(saved, over(problem.dy, gpu.asarray), over(problem.dstate, gpu.asarray))
    return named(*over((y, state, *back), lambda value: over(value, gpu.asnumpy)))


TIERS = ("step", "grid")
LIMITS = [("float64", 1e-12), ("float32", 2e-5)]


@pytest.mark.parametrize("case", cases(), ids=str)
@pytest.mark.parametrize(("dtype", "limit"), LIMITS)
@pytest.mark.parametrize("tier", TIERS)
def test_forward_and_backward_agree_with_the_oracle(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, limit: float, tier: str
) -> None:
    if tier == "grid" and case.projection:
        pytest.skip("tier grid takes no projection")
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem = build(case, dtype, device="cuda")
    assert f"tier {tier}" in problem.layer.explain(problem.x.shape, training=True)
    found = errors(run(gpu, problem), run_reference(build(case, dtype)))
    assert max(found.values()) <= limit, found
