"""`forward(..., checkpoint_every=k)`: the same bits from less memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import instruction_sets
import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, Problem, build, errors, named, run, run_reference

import fusedrnn as fr
from fusedrnn import _core
from fusedrnn.models import RCNN, LanguageModel, SequenceModel
from fusedrnn.models.sequence_model import READS

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


SPLITS = {
    "rows": {"B": 60, "T": 20, "I": 8, "H": 33},
    "units": {"B": 2, "T": 300, "I": 7, "H": 300},
    "units, those left over by rows": {"B": 12, "T": 20, "I": 7, "H": 632},
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_gives_the_same_bits(cell, split):
    if "left over" in split and (cell.startswith("rnn") or _core.isa() == "scalar"):
        pytest.skip("products of one gate, or of vectors of one number, share no vector")
    case = Case(cell=cell, **SPLITS[split], lengths=True, bidirectional=True, projection=cell in PROJECTING)
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


# ---- models and training ---------------------------------------------------------------------------------------------

STEPS_OF_MODELS, ROWS, TOKENS, UNITS = 30, 60, 9, 8
IDS, TARGETS = np.random.default_rng(1).integers(0, TOKENS, (2, STEPS_OF_MODELS, ROWS))
LENGTHS = np.random.default_rng(2).integers(0, STEPS_OF_MODELS + 1, ROWS)

Model = LanguageModel | SequenceModel | RCNN


def language_model(**form: Any) -> LanguageModel:
    return LanguageModel(TOKENS, UNITS, **form, seed=1)


def sequence_model(read: str) -> SequenceModel:
    rnn = fr.LSTM(5, UNITS, 2, bidirectional=True, dropout=0.3, seed=1)
    return SequenceModel(rnn, fr.nn.Linear(2 * UNITS, 2, seed=2), fr.nn.Embedding(TOKENS, 5, seed=3), read)


MODELS: dict[str, Model] = {
    "language-lstm": language_model(embed_size=5, num_layers=2, dropout=0.3),
    "language-gru": language_model(cell="gru"),
    "rcnn": RCNN(TOKENS, 2, embed_size=5, hidden_size=UNITS, filters=3, dropout=0.3, seed=1),
} | {f"sequence-{read}": sequence_model(read) for read in READS}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def forward(model: Model, **more: Any) -> tuple[Any, Any]:
    """What comes out, and what is saved."""
    if isinstance(model, LanguageModel):
        given: dict[str, Any] = {"ids": IDS, "targets": TARGETS}
    else:
        given = {"x" if isinstance(model, SequenceModel) else "ids": IDS, "lengths": LENGTHS}
    out, *_, saved = model.forward(**given, step=3, row_offset=2, **more)
    return out, saved


def run_model(model: Model, **more: Any) -> dict[str, np.ndarray]:
    out, saved = forward(model, **more)
    if isinstance(model, LanguageModel):
        return {"out": np.array(out)} | model.backward(saved)
    grads = model.backward(saved, out)
    return {"out": out} | (grads[1] if isinstance(model, SequenceModel) else grads)


@pytest.mark.parametrize("every", [1, 7])
@each_model
def test_gradients_of_models_have_the_same_bits(model, every):
    assert_same_bits(run_model(model, checkpoint_every=every), run_model(model))


def held_bytes(model: Model, **more: Any) -> int:
    """What there is between forward and backward."""
    tracemalloc.start()
    try:
        held = forward(model, **more)
        found, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held
    return found


@each_model
def test_models_hand_it_to_their_layers(model):
    one_number_a_unit = IDS.size * UNITS * 4
    assert held_bytes(model, checkpoint_every=1) < held_bytes(model) - 3 * one_number_a_unit


@pytest.mark.parametrize(
    ("every", "error", "message"), [(0, ValueError, ">= 1, got 0"), (2.0, TypeError, r"an integer, got 2\.0")]
)
@each_model
def test_models_refuse_it_in_their_own_name(model, every, error, message):
    with pytest.raises(error, match=rf"^{type(model).__name__}\.forward: checkpoint_every must be {message}$"):
        forward(model, checkpoint_every=every)


def test_training_with_it_ends_with_the_same_weights():
    text = np.random.default_rng(3).integers(0, TOKENS, 4 * IDS.size)

    def trained(**more: Any) -> dict[str, np.ndarray]:
        model = language_model(embed_size=5, num_layers=2, dropout=0.3)
        sampler = fr.data.ConsecutiveSampler(text, ROWS, STEPS_OF_MODELS)

        def compute(batch: Any, state: Any, step: int) -> fr.train.Step:
            return fr.train.language_step(model, batch, state, step=step, **more)

        result = fr.train.fit(model, fr.optim.Adam(model, 0.01), sampler, compute, epochs=2, clip_norm=1.0)
        assert result.steps == 2 * len(sampler) > 0
        return model.state_dict()

    assert_same_bits(trained(checkpoint_every=3), trained())


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
