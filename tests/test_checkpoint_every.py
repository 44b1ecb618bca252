"""`forward(..., checkpoint_every=k)`: the same bits from less memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace

import instruction_sets
import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, Problem, build, errors, named, run, run_reference

import fusedrnn as fr
from fusedrnn import _core

# A chunk of the backward pass has 48 to 256 rows, so many rows make segments of few steps.
MANY_ROWS = {"B": 50, "T": 23, "I": 7, "H": 21}
FEW_ROWS = {"B": 3, "T": 400, "I": 5, "H": 9}
WIDE = {"B": 9, "T": 67, "I": 40, "H": 140}
EVERYTHING = {"num_layers": 2, "bidirectional": True, "lengths": True, "reset": True}

CASES = [Case(cell=cell, **sizes, **EVERYTHING) for cell in CELLS for sizes in (MANY_ROWS, FEW_ROWS)]
CASES += [Case(cell=cell, projection=True, **MANY_ROWS, **EVERYTHING) for cell in PROJECTING]
CASES += [
    Case(**MANY_ROWS),
    Case(cell="gru", **FEW_ROWS, state=False, bias=False),
    Case(**WIDE, bidirectional=True, projection=True, lengths=True),
    Case(cell="gru", **WIDE, reset=True),
    Case(**MANY_ROWS, batch_first=True, lengths=True, loss="y"),
    Case(**FEW_ROWS, loss="state"),
    Case(T=300, B=1, I=1, H=1),
]
EVERY = [1, 6, 130, 10**30]  # 10**30: as good as infinite


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name


def run_ids(problem: Problem, **more: int) -> dict[str, np.ndarray]:
    """The problem with one-hot input."""
    ids = np.random.default_rng(3).integers(0, problem.case.I, problem.x.shape[:2])
    return run(replace(problem, x=fr.OneHot(ids, problem.case.I)), **more)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_results_have_the_bits_of_the_run_that_keeps_everything(case, dtype):
    problem = build(case, dtype)
    expected = run(problem)
    for every in EVERY:
        assert_same_bits(run(problem, checkpoint_every=every), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_and_one_hot_input_have_the_same_bits(cell):
    problem = build(Case(cell=cell, **MANY_ROWS, **EVERYTHING), "float32", dropout=0.4)
    for any_run in (run, run_ids):
        assert_same_bits(any_run(problem, step=3, checkpoint_every=5), any_run(problem, step=3))


@pytest.mark.parametrize("split", ["rows", "units"])
@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_gives_the_same_bits(cell, split):
    sizes = {"B": 60, "T": 20, "I": 8, "H": 33} if split == "rows" else {"B": 2, "T": 300, "I": 7, "H": 300}
    case = Case(cell=cell, **sizes, lengths=True, bidirectional=True, projection=cell in PROJECTING)
    problem = build(case, "float32")
    before = fr.get_num_threads()
    try:
        fr.set_num_threads(3)
        assert f"3 threads by {split}" in problem.layer.explain((case.T, case.B, case.I), training=True)
        fr.set_num_threads(1)
        expected = run(problem)
        for threads in (1, 2, 3, 7):
            fr.set_num_threads(threads)
            assert_same_bits(run(problem, checkpoint_every=7), expected)
    finally:
        fr.set_num_threads(before)


def test_forward_and_backward_may_run_with_other_numbers_of_threads():
    problem = build(Case(B=60, T=20, I=8, H=33), "float32")
    before = fr.get_num_threads()
    try:
        fr.set_num_threads(3)
        y, state, saved = problem.layer.forward(problem.x, **problem.call, checkpoint_every=4)
        fr.set_num_threads(1)
        found = named(y, state, *problem.layer.backward(saved, problem.dy, problem.dstate))
        assert_same_bits(found, run(problem))
    finally:
        fr.set_num_threads(before)


@pytest.mark.parametrize("cell", CELLS)
def test_it_agrees_with_the_oracle(cell):
    problem = build(Case(cell=cell, T=40, B=20, I=4, H=6, num_layers=2, lengths=True, reset=True, bidirectional=True))
    found = errors(run(problem, checkpoint_every=3), run_reference(problem))
    assert {name: error for name, error in found.items() if not error <= 1e-9} == {}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0), (1, 1)])
def test_sequences_of_nearly_nothing(cell, T, B):
    problem = build(Case(cell=cell, T=T, B=B, bidirectional=True), "float32")
    assert_same_bits(run(problem, checkpoint_every=2), run(problem))


def test_saved_values_may_be_used_again():
    problem = build(Case(**FEW_ROWS, **EVERYTHING), "float32")
    y, state, saved = problem.layer.forward(problem.x, **problem.call, checkpoint_every=50)
    expected = run(problem)
    for retain in (True, False):
        found = problem.layer.backward(saved, problem.dy, problem.dstate, retain=retain)
        assert_same_bits(named(y, state, *found), expected)


@pytest.mark.parametrize("every", [1, 100, 1000, 10**6])
def test_a_segment_is_whole_chunks_and_no_longer_than_they_need(every):
    lstm = fr.LSTM(16, 16, seed=0)
    segment = _core.pack("lstm", *lstm.state_dict().values(), None).segment_steps(100_000, 1, min(every, 100_000))
    assert "backward: 1 thread, chunks of 256 steps" in lstm.explain((100_000, 1, 16), training=True)
    assert segment % 256 == 0
    assert 0 <= segment - min(every, 100_000) < 256


def test_a_cell_that_keeps_nothing_but_its_output_has_nothing_to_compute_again():
    rnn = fr.RNN(3, 5, seed=0)
    assert _core.pack("rnn_tanh", *rnn.state_dict().values(), None).segment_steps(100, 2, 10) == 0


# ---- memory ----------------------------------------------------------------------------------------------------------

STEPS, SIZE, K = 100_000, 16, 1000
SEQUENCE = STEPS * SIZE * 4  # bytes of x, y, dy or dx


def test_arrays_of_a_long_sequence_are_inputs_results_and_a_few_states():
    lstm = fr.LSTM(SIZE, SIZE, seed=0)
    x = np.random.default_rng(0).normal(size=(STEPS, 1, SIZE)).astype("float32")
    tracemalloc.start()
    try:
        y, _, saved = lstm.forward(x, checkpoint_every=K)
        after_forward, _ = tracemalloc.get_traced_memory()
        dx, _, _ = lstm.backward(saved, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert dx.shape == x.shape
    slack = 100_000  # a state in 1024 steps, the gradients of the weights, and Python's own
    assert 2 * SEQUENCE <= after_forward < 2 * SEQUENCE + slack  # y and the layer's own copy of it
    assert 3 * SEQUENCE <= peak < 3 * SEQUENCE + slack


RESIDENT = f"""
import sys
from pathlib import Path
import numpy as np
import fusedrnn as fr

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

lstm = fr.LSTM({SIZE}, {SIZE}, seed=0)
y, _, saved = lstm.forward(np.zeros((1000, 1, {SIZE}), "float32"))
lstm.backward(saved, y)
x = np.random.default_rng(0).standard_normal(({STEPS}, 1, {SIZE}), "float32")
before = peak()
y, _, saved = lstm.forward(x, checkpoint_every={{every}})
lstm.backward(saved, y)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's account of memory")
def test_memory_of_a_long_sequence_workspaces_included():
    def resident(every: int | None) -> int:
        done = subprocess.run(
            [sys.executable, "-c", RESIDENT.format(every=every)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    slack = 5 << 20  # workspaces: a segment, a chunk, packed weights
    assert resident(K) < 3 * SEQUENCE + slack
    assert resident(None) > 3 * SEQUENCE + 4 * SEQUENCE + slack  # gates


@pytest.mark.parametrize("isa", instruction_sets.ALL)
def test_every_instruction_set_has_the_same_bits_with_and_without(isa):
    instruction_sets.run_again(isa, __file__, "-k", "the_bits_of or threads")
