"""The kernels against the oracle and against PyTorch: every result of forward and backward, over a pairwise design."""

from __future__ import annotations

import warnings
from dataclasses import replace

import instruction_sets
import numpy as np
import pytest
from problems import CELLS, PYTORCH_CELLS, Case, build, errors, pairwise, parts_of, run, run_reference, run_torch

import fusedrnn as fr
from fusedrnn import _core

SIZES = [1, 3, 17, 30, 64, 129, 512]
DESIGN = pairwise(
    cell=list(CELLS),
    num_layers=[1, 2, 3],
    bidirectional=[False, True],
    projection=[False, True],
    bias=[True, False],
    batch_first=[False, True],
    lengths=[False, True],
    reset=[False, True],
    state=[True, False],
    loss=["both", "y", "state"],
    T=[1, 2, 5],
    B=SIZES,
    I=SIZES,
    H=SIZES,
)
# Longer than any chunk of the plan and wider than any tile, with everything switched on.
LARGE = [
    Case(cell=cell, T=67, B=9, I=40, H=52, lengths=True, reset=True, bidirectional=True, num_layers=2) for cell in CELLS
] + [
    Case(T=150, B=50, I=20, H=140, lengths=True, projection=True),
    Case(cell="gru", T=40, B=2, I=7, H=300),
    Case(T=3, B=300, I=5, H=33, lengths=True, reset=True),
    Case(T=700, B=2, I=9, H=36, num_layers=3, lengths=True, reset=True),
    Case(cell="gru", T=900, B=1, I=30, H=64, num_layers=2),
    Case(T=600, B=1, I=9, H=10, num_layers=2),
    Case(cell="gru", T=60, B=1, I=9, H=10, bidirectional=True),
    Case(T=6, B=24, I=9, H=520, lengths=True, reset=True),
    Case(T=3, B=40, I=9, H=600, projection=True),
    Case(cell="gru", T=40, B=12, I=9, H=328, num_layers=2),
]
# So few units that vectors are filled with rows instead.
FEW_UNITS = [
    Case(cell=cell, T=6, B=70, I=3, H=5, lengths=True, reset=True, bidirectional=True, num_layers=2) for cell in CELLS
] + [
    Case(T=7, B=150, I=20, H=5, lengths=True, projection=True, batch_first=True),
    Case(cell="gru", T=4, B=95, I=1, H=5, state=False, bias=False),
]
LARGE += FEW_UNITS
FLOAT64_TOLERANCE = 1e-9


def test_the_design_covers_every_size_with_every_cell():
    pairs = {(case.cell, case.H) for case in DESIGN}
    assert pairs == {(cell, size) for cell in CELLS for size in SIZES}
    assert any(case.projection and case.lengths for case in DESIGN)


@pytest.mark.parametrize("case", DESIGN + LARGE, ids=str)
def test_float64_agrees_with_the_oracle(case):
    problem = build(case)
    wrong = {name: e for name, e in errors(run(problem), run_reference(problem)).items() if not e <= FLOAT64_TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("case", [case for case in DESIGN + LARGE if case.cell in PYTORCH_CELLS], ids=str)
def test_float32_errs_no_more_than_four_times_pytorch(case):
    pytest.importorskip("torch")
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    # PyTorch has neither lengths nor resets here, and needs a state to give its gradient.
    case = replace(case, lengths=False, reset=False, state=True)
    # With few units a result is a few numbers, which can be right by luck or nearly zero: the root mean square over
    # some draws counts, relative to the largest entry of all of them.
    draws = 8 if case.H <= 5 else 2
    squares: dict[str, np.ndarray] = {}
    scales: dict[str, float] = {}
    for seed in range(draws):
        problem = build(case, "float32", seed)
        exact, ours, theirs = run_reference(problem), run(problem), run_torch(problem)
        for name, value in exact.items():
            errs = [np.abs(found[name].astype(np.float64) - value).max() for found in (ours, theirs)]
            squares[name] = squares.get(name, 0.0) + np.square(errs) / draws
            scales[name] = max(scales.get(name, 0.0), np.abs(value).max())
    rounding = 2.0**-24
    found = {name: np.sqrt(square) / scales[name] for name, square in squares.items()}
    wrong = {name: error for name, error in found.items() if not error[0] <= 4 * max(error[1], rounding)}
    assert not wrong


@pytest.mark.parametrize("case", DESIGN + LARGE, ids=str)
def test_float32_is_float64_rounded(case):
    problem = build(case, "float32")
    found, exact = run(problem), run_reference(problem)
    assert found.keys() == exact.keys()
    # The gradient of a single unit is one number, a sum of thousands that may cancel: the scale is that of the same
    # weights of all layers and directions.
    scales: dict[str, float] = {}
    for name, value in exact.items():
        kind = name.split("_l")[0]
        scales[kind] = max(scales.get(kind, 0.0), np.abs(value).max(initial=0.0))
    for name, value in exact.items():
        difference = np.abs(found[name].astype(np.float64) - value).max(initial=0.0)
        assert difference <= 2e-5 * scales[name.split("_l")[0]], name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_any_number_of_threads_gives_the_same_bits(case, dtype):
    problem = build(case, dtype)
    before = fr.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 4, 7):
            fr.set_num_threads(threads)
            results.append(run(problem))
    finally:
        fr.set_num_threads(before)
    for other in results[1:]:
        for name, value in results[0].items():
            assert np.array_equal(value, other[name]), name


def test_the_plan_uses_threads_both_ways():
    """Otherwise the test above would compare a single thread with itself."""
    before = fr.get_num_threads()
    plans = []
    try:
        for threads in (2, 3):
            fr.set_num_threads(threads)
            plans += [build(case).layer.explain((case.T, case.B, case.I), training=True) for case in LARGE]
    finally:
        fr.set_num_threads(before)
    assert any("3 threads by rows" in plan for plan in plans)
    assert any("3 threads by units" in plan for plan in plans)
    assert any("threads by units, those left over by rows" in plan for plan in plans) or _core.isa() == "scalar"
    assert any("directions side by side" in plan for plan in plans)
    assert any("directions one after the other" in plan for plan in plans)
    assert any("forward: layers as a wavefront" in plan for plan in plans)
    assert any("backward: layers as a wavefront" in plan for plan in plans)


@pytest.mark.parametrize("case", FEW_UNITS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_alone_has_the_bits_that_it_has_among_rows_in_lanes(case, dtype):
    if _core.isa() == "scalar":
        pytest.skip("a vector of one number has one lane")
    problem = build(replace(case, lengths=False, reset=False, state=False, batch_first=False, loss="y"), dtype)
    layer, x, dy = problem.layer, problem.x, problem.dy
    assert "rows in lanes" in layer.explain(x.shape, training=True)
    y, state, saved = layer.forward(x)
    dx, dstate, _ = layer.backward(saved, dy)
    for row in (0, 7, case.B - 1):
        alone = slice(row, row + 1)
        assert "rows in lanes" not in layer.explain(x[:, alone].shape, training=True)
        y_alone, state_alone, saved = layer.forward(x[:, alone])
        dx_alone, dstate_alone, _ = layer.backward(saved, dy[:, alone])
        assert np.array_equal(y[:, alone], y_alone)
        assert np.array_equal(dx[:, alone], dx_alone)
        for parts, parts_alone in ((state, state_alone), (dstate, dstate_alone)):
            for part, part_alone in zip(parts_of(parts), parts_of(parts_alone), strict=True):
                assert np.array_equal(part[:, alone], part_alone)


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_inference_gives_the_bits_of_forward(case):
    problem = build(case, "float32")
    y, state = problem.layer(problem.x, **problem.call)
    y2, state2, _ = problem.layer.forward(problem.x, **problem.call)
    assert np.array_equal(y, y2)
    for part, part2 in zip(parts_of(state), parts_of(state2), strict=True):
        assert np.array_equal(part, part2)


@pytest.mark.parametrize("isa", instruction_sets.ALL)
def test_every_instruction_set_agrees_with_the_oracle(isa):
    instruction_sets.run_again(isa, __file__)
