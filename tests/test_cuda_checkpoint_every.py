"""`forward(..., checkpoint_every=k)` on a GPU: the same bits from less memory; and steps that go in chunks."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, build, errors, make_layer, named, run_reference
from test_cuda_layers import SPACING, TIERS, over, run, tiers_of

import fusedrnn as fr
from fusedrnn.backends import cuda_parts, cuda_places
from fusedrnn.settings import parameter_dtype

pytestmark = pytest.mark.gpu

CHUNK = 4
SIZES = {"T": 9, "B": 5, "I": 4, "H": 6}
EVERYTHING = {"num_layers": 2, "bidirectional": True, "lengths": True, "reset": True}
FEATURES: list[dict[str, Any]] = [
    {},
    {"state": False, "bias": False},
    {"bidirectional": True, "num_layers": 2, "batch_first": True},
    {"reset": True, "bidirectional": True},
    {"lengths": True, "loss": "y"},
    {"lengths": True, "bidirectional": True, "batch_first": True, "loss": "state"},
    EVERYTHING,
    {"T": 8, "lengths": True, "reset": True},  # a last chunk that is full
    {"T": 5, "B": 1, "I": 1, "H": 2},
]
CASES = [Case(cell=cell, **(SIZES | more)) for more in FEATURES for cell in CELLS if cell != "rnn_relu"]
CASES += [Case(cell=cell, projection=True, **(SIZES | more)) for more in FEATURES for cell in PROJECTING]
EVERY = [1, CHUNK + 1, 10**30]  # segments of one chunk, of two, and a single one


@pytest.fixture
def chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_places, "MOST_STEPS", CHUNK)
    monkeypatch.setattr(cuda_places, "LEAST_STEPS", CHUNK)


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize(("case", "tier"), tiers_of(CASES), ids=str)
@pytest.mark.usefixtures("chunks_of_four")
def test_all_results_have_the_bits_of_the_run_that_keeps_everything(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, tier: str
) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem = build(case, device="cuda")
    explained = problem.layer.explain(problem.x.shape, training=True)
    assert f"tier {tier}" in explained
    assert f"chunks of {CHUNK} steps" in explained
    expected = run(gpu, problem)
    found = errors(expected, run_reference(build(case)))
    assert max(found.values()) <= 1e-12, found
    for every in EVERY[:2]:
        assert_same_bits(run(gpu, problem, checkpoint_every=every), expected)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.usefixtures("chunks_of_four")
def test_sixteen_bits_lose_nothing_between_chunks_and_segments(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, cell: str, dtype: str, tier: str
) -> None:
    """c and the gradients of states go on in float32, whichever way."""
    pytest.importorskip("ml_dtypes")
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem = build(Case(cell=cell, **SIZES, **EVERYTHING), parameter_dtype("test", dtype, [dtype]), device="cuda")
    expected = run(gpu, problem)
    for every in EVERY:
        assert_same_bits(run(gpu, problem, checkpoint_every=every), expected)
    monkeypatch.setattr(cuda_places, "MOST_STEPS", 512)
    whole = run(gpu, problem)
    differing = {name for name, value in whole.items() if value.tobytes() != expected[name].tobytes()}
    assert {name.split("_")[0] for name in differing} <= {"weight", "bias"}  # whose sums are rounded once a chunk
    found = errors(
        {name: expected[name] for name in differing}, {name: whole[name].astype(float) for name in differing}
    )
    assert max(found.values(), default=0) <= 2 * SPACING[dtype], found


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.usefixtures("chunks_of_four")
def test_dropout_has_the_same_bits(gpu: Any, cell: str) -> None:
    problem = build(Case(cell=cell, **SIZES, **EVERYTHING), "float32", device="cuda", dropout=0.4)
    assert_same_bits(run(gpu, problem, step=3, checkpoint_every=5), run(gpu, problem, step=3))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [9, 0, 3, 5, 8]])
@pytest.mark.usefixtures("chunks_of_four")
def test_one_hot_input_has_the_same_bits_and_is_a_lookup(gpu: Any, lengths: Any, batch_first: bool) -> None:
    shape = (5, 9) if batch_first else (9, 5)
    ids = np.random.default_rng(3).integers(0, 4, shape)
    layer = make_layer(Case(**SIZES, batch_first=batch_first, bidirectional=True), device="cuda")
    dy = gpu.asarray(np.cos(np.arange(45 * 12)).reshape(*shape, 12))

    def results(x: Any, need_dx: bool = True, **more: Any) -> dict[str, np.ndarray]:
        y, state, saved = layer.forward(x, lengths=lengths, **more)
        _, dstate, grads = layer.backward(saved, dy, need_dx=need_dx)
        return named(*over((y, state, None, dstate, grads), lambda value: over(value, gpu.asnumpy)))

    one_hot = fr.OneHot(gpu.asarray(ids), 4)
    expected = results(one_hot)
    assert_same_bits(results(one_hot, checkpoint_every=2), expected)
    found = errors(results(gpu.asarray(np.eye(4)[ids]), need_dx=False), expected)
    assert max(found.values()) <= 1e-12, found


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0), (1, 1), (9, 0)])
@pytest.mark.usefixtures("chunks_of_four")
def test_sequences_of_nearly_nothing(gpu: Any, cell: str, T: int, B: int) -> None:
    problem = build(Case(cell=cell, T=T, B=B, bidirectional=True), "float32", device="cuda")
    assert_same_bits(run(gpu, problem, checkpoint_every=2), run(gpu, problem))


@pytest.mark.usefixtures("chunks_of_four")
def test_rows_that_all_end_early_or_at_once(gpu: Any) -> None:
    problem = build(Case(**SIZES, **EVERYTHING), device="cuda")
    host = build(Case(**SIZES, **EVERYTHING))
    for lengths in ([0] * 5, [3, 0, 1, 2, 3], [5, 8, 4, 0, 8]):
        call = {"call": problem.call | {"lengths": np.array(lengths)}}
        expected = run(gpu, replace(problem, **call))
        found = errors(expected, run_reference(replace(host, **call)))
        assert max(found.values()) <= 1e-12, found
        assert_same_bits(run(gpu, replace(problem, **call), checkpoint_every=1), expected)


@pytest.mark.usefixtures("chunks_of_four")
def test_x_may_lie_in_memory_in_any_way(gpu: Any) -> None:
    problem = build(Case(**SIZES, lengths=True, bidirectional=True), device="cuda")
    expected = run(gpu, problem)
    state, dy, dstate = (over(value, gpu.asarray) for value in (problem.call["state"], problem.dy, problem.dstate))
    forms = [np.asfortranarray(problem.x), np.repeat(problem.x, 2, axis=1)[:, ::2], problem.x[::-1].copy()[::-1]]
    for form in forms:
        there = gpu.ndarray(form) if gpu.__version__ == "emulated" else strided(gpu, form)
        assert there.strides == form.strides
        y, after, saved = problem.layer.forward(there, state, lengths=problem.call["lengths"], checkpoint_every=1)
        back = problem.layer.backward(saved, dy, dstate)
        assert_same_bits(named(*over((y, after, *back), lambda value: over(value, gpu.asnumpy))), expected)


def strided(gpu: Any, value: np.ndarray) -> Any:
    """An array on the GPU with the shape, the strides and the values of one in host memory."""
    steps = np.abs(value.strides) // value.itemsize
    room = gpu.empty(int((np.array(value.shape) - 1) @ steps) + 1, value.dtype)
    found = gpu.lib.stride_tricks.as_strided(room, value.shape, tuple(int(step) * value.itemsize for step in steps))
    found = found[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in value.strides)]
    found[...] = gpu.asarray(value)
    return found


@pytest.mark.usefixtures("chunks_of_four")
def test_saved_values_may_be_used_again(gpu: Any) -> None:
    problem = build(Case(**SIZES, **EVERYTHING), "float32", device="cuda")
    call = {name: value if name == "lengths" else over(value, gpu.asarray) for name, value in problem.call.items()}
    y, state, saved = problem.layer.forward(gpu.asarray(problem.x), **call, checkpoint_every=5)
    expected = run(gpu, problem)
    for retain in (True, False):
        dy, dstate = over(problem.dy, gpu.asarray), over(problem.dstate, gpu.asarray)
        back = problem.layer.backward(saved, dy, dstate, retain=retain)
        assert_same_bits(named(*over((y, state, *back), lambda value: over(value, gpu.asnumpy))), expected)


@pytest.mark.usefixtures("chunks_of_four")
def test_a_language_model_hands_it_on(gpu: Any) -> None:
    ids, targets = gpu.asarray(np.random.default_rng(0).integers(0, 7, (2, 11, 3)))
    model = fr.models.LanguageModel(7, 6, embed_size=5, num_layers=2, dropout=0.3, seed=1, device="cuda")
    found = []
    for more in ({}, {"checkpoint_every": 3}):
        loss, _, saved = model.forward(ids, targets=targets, step=3, **more)
        grads = {name: gpu.asnumpy(value) for name, value in model.backward(saved).items()}
        found.append({"loss": gpu.asnumpy(loss)} | grads)
    assert_same_bits(found[1], found[0])


@pytest.mark.parametrize(("rows", "steps"), [(0, 512), (1, 512), (64, 512), (65, 504), (512, 64), (10**6, 64)])
def test_a_chunk_follows_from_the_rows(rows: int, steps: int) -> None:
    assert cuda_places.chunk_steps(rows) == steps


@pytest.mark.parametrize(("every", "expected"), [(1, 512), (512, 512), (513, 1024), (100_000, 100_352)])
def test_a_segment_is_whole_chunks_and_no_longer_than_they_need(gpu: Any, every: int, expected: int) -> None:
    layer = fr.LSTM(3, 5, seed=0, device="cuda")
    assert layer._packed(0, 0).segment_steps(100_000, 1, every) == expected
    assert "backward: tier" in layer.explain((100_000, 1, 3), training=True)
    assert layer.explain((100_000, 1, 3), training=True).count("chunks of 512 steps") == 2
    assert fr.RNN(3, 5, seed=0, device="cuda")._packed(0, 0).segment_steps(100, 2, 10) == 0  # all it needs is in y


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (2.0, TypeError)])
def test_it_is_an_integer_of_at_least_one(gpu: Any, every: Any, error: type[Exception]) -> None:
    layer = fr.LSTM(3, 5, seed=0, device="cuda")
    with pytest.raises(error, match=r"^LSTM\.forward: checkpoint_every must be "):
        layer.forward(gpu.zeros((2, 1, 3), np.float32), checkpoint_every=every)


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (2, 1), (0, 6)])
def test_steps_that_there_are_not_are_refused(gpu: Any, begin: int, end: int) -> None:
    module = cuda_parts.parts()[1]
    rows = module.Rows(5, 2, True, False, None, None, None, [], None)
    with pytest.raises(
        ValueError, match=rf"^Rows: begin and end must rise in \[0, T\] = \[0, 5\], got {begin} and {end}$"
    ):
        rows.places(begin, end)
    assert rows.places(1, 3) == (4, 8)  # t = 3 and t = 2
    whole = module.Rows(5, 2, True, True, None, None, None, [], None)
    with pytest.raises(
        ValueError, match="^Rows: begin and end must be 0 and T = 5 for batch-major places, got 1 and 2$"
    ):
        whole.places(1, 2)
    assert whole.places(0, 5) == (0, 10)


# ---- memory ----------------------------------------------------------------------------------------------------------

STEPS, ROWS, UNITS = 1000, 8, 32
SEQUENCE = (
    STEPS * ROWS * UNITS * 4
)  # bytes of x, y, dy or dx; gates and pre-activations of all steps are four times that


def peak_bytes(gpu: Any, work: Any) -> int:
    """The most that was allocated at a time while `work` ran, beyond what there was before."""
    pool = gpu.get_default_memory_pool()
    if gpu.__version__ == "emulated":
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    pool.free_all_blocks()
    before = pool.total_bytes()  # what is held for later only grows
    work()
    return int(pool.total_bytes() - before)


def train(layer: Any, x: Any, dy: Any, **more: Any) -> None:
    y, _, saved = layer.forward(x, **more)
    layer.backward(saved, dy)
    assert y.shape == dy.shape  # it is there until now


@pytest.mark.parametrize("lengths", [None, [STEPS] * ROWS])
@pytest.mark.usefixtures("chunks_of_four")
def test_a_long_sequence_needs_inputs_results_and_a_few_states(gpu: Any, lengths: Any) -> None:
    layer = fr.LSTM(UNITS, UNITS, seed=0, device="cuda")
    x, dy = (gpu.asarray(np.random.default_rng(k).normal(size=(STEPS, ROWS, UNITS)).astype("float32")) for k in (0, 1))
    places = 0 if lengths is None else 2 * 8 * STEPS * ROWS  # what is where, and while it is made on the host
    slack = SEQUENCE // 2  # a segment of 20 steps, states of one step in 20, gradients of the weights, counters
    train(layer, x[:8], dy[:8])  # what is made once
    with_it = peak_bytes(gpu, lambda: train(layer, x, dy, lengths=lengths, checkpoint_every=20))
    assert 3 * SEQUENCE <= with_it < 3 * SEQUENCE + 3 * places + slack  # y, the layer's own copy of it, dx
    without = peak_bytes(gpu, lambda: train(layer, x, dy, lengths=lengths))
    assert without > with_it + 5 * SEQUENCE - slack  # gates and c of every step


@pytest.mark.usefixtures("chunks_of_four")
def test_inference_holds_the_pre_activations_of_one_chunk(gpu: Any) -> None:
    layer = fr.LSTM(UNITS, UNITS, seed=0, device="cuda")
    x = gpu.asarray(np.zeros((STEPS, ROWS, UNITS), np.float32))
    layer(x[:8])
    assert SEQUENCE <= peak_bytes(gpu, lambda: layer(x)) < 1.5 * SEQUENCE
