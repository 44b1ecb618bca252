"""The layers on a GPU, or on the emulated one, against the oracle and against the CPU."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, Problem, build, errors, make_layer, named, run_reference
from problems import run as run_problem

import fusedrnn as fr
from fusedrnn.backends import cuda_places
from fusedrnn.settings import parameter_dtype

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


def narrow_cases() -> list[Case]:
    """Without relu, which decides otherwise for a rounded number near zero, and gradients of a single number.

    With some that tensor cores take in tier step, whose rows are whole pieces of 16 bytes.
    """
    sizes = ({"T": 4, "B": 37, "I": 5, "H": 24, "lengths": True, "bidirectional": True}, {"T": 3, "B": 9, "H": 88})
    whole = [Case(cell=cell, **size) for size in sizes for cell in CELLS]
    return [case for case in cases() + whole if case.cell != "rnn_relu" and case.I > 1 and not case.projection]


SPACING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}  # from 1 to the next number
TIERS = ("step", "solo", "cluster", "grid")


def tiers_of(these: list[Case]) -> list[tuple[Case, str]]:
    """Each case with the tiers that take it: only step takes a projection, and solo no layer that is too large."""
    return [
        (case, tier)
        for case in these
        for tier in TIERS
        if tier == "step" or not (case.projection or (tier == "solo" and case.H > 100))
    ]


LIMITS = [("float64", 1e-12), ("float32", 2e-5)]


@pytest.mark.parametrize(("case", "tier"), tiers_of(cases()), ids=str)
@pytest.mark.parametrize(("dtype", "limit"), LIMITS)
def test_forward_and_backward_agree_with_the_oracle(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, limit: float, tier: str
) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    if case.H > 100:
        monkeypatch.setenv("FUSEDRNN_EMULATED_MULTIPROCESSORS", "32")
    problem = build(case, dtype, device="cuda")
    assert f"tier {tier}" in problem.layer.explain(problem.x.shape, training=True)
    found = errors(run(gpu, problem), run_reference(build(case, dtype)))
    assert max(found.values()) <= limit, found


@pytest.mark.parametrize(("dtype", "limit"), LIMITS)
def test_long_rows_come_in_parts(gpu: Any, monkeypatch: pytest.MonkeyPatch, dtype: str, limit: float) -> None:
    """A row of gate gradients has 4*H numbers, more than fit beside the weights."""
    monkeypatch.setenv("FUSEDRNN_TIER", "grid")
    monkeypatch.setenv("FUSEDRNN_EMULATED_MULTIPROCESSORS", "40")
    case = Case(T=2, B=9, I=3, H=300)
    found = errors(run(gpu, build(case, dtype, device="cuda")), run_reference(build(case, dtype)))
    assert max(found.values()) <= limit, found


@pytest.mark.parametrize("tier", TIERS)
def test_two_runs_give_the_same_bits(gpu: Any, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem = build(Case(cell="gru", lengths=True, T=9, B=40, I=33, H=19), "float32", device="cuda")
    first, second = run(gpu, problem), run(gpu, problem)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("batch_first", "orders"), [(False, 2), (True, 4)])
def test_places_are_found_once_for_all_layers_and_passes(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, batch_first: bool, orders: int
) -> None:
    """For each direction; the first layer has them in the order of x, the others in that of time."""
    made = []
    pack = cuda_places.Lengths._pack
    monkeypatch.setattr(cuda_places.Lengths, "_pack", lambda *given: made.append(given[2:]) or pack(*given))
    case = Case(lengths=True, bidirectional=True, num_layers=3, batch_first=batch_first)
    run(gpu, build(case, device="cuda"))
    assert len(made) == len(set(made)) == orders


def test_dropout_has_the_masks_of_the_cpu(gpu: Any) -> None:
    case = Case(num_layers=3, bidirectional=True, I=5, H=7)
    more = {"dropout": 0.4}
    found = errors(run(gpu, build(case, device="cuda", **more), step=3), run_problem(build(case, **more), step=3))
    assert max(found.values()) <= 1e-12, found


def test_one_hot_input_is_a_lookup(gpu: Any) -> None:
    ids = np.array([[0, 2, 2], [3, 1, 2]])
    layer, other = make_layer(Case(), device="cuda"), make_layer(Case())
    results = []
    for one, move in ((layer, gpu.asarray), (other, np.asarray)):
        y, state, saved = one.forward(fr.OneHot(move(ids), 4), lengths=[2, 1, 2])
        back = one.backward(saved, move(np.cos(np.arange(y.size)).reshape(y.shape)))
        results.append(named(*over((y, state, *back), lambda value: over(value, gpu.asnumpy))))
    assert max(errors(*results).values()) <= 1e-12


def test_tier_is_checked(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(Case(projection=True), device="cuda")
    monkeypatch.setenv("FUSEDRNN_TIER", "stairs")
    with pytest.raises(ValueError, match="FUSEDRNN_TIER must be one of step, solo, cluster, grid, got 'stairs'"):
        layer(gpu.asarray(np.zeros((2, 3, 4))))
    for tier in ("solo", "cluster", "grid"):
        monkeypatch.setenv("FUSEDRNN_TIER", tier)
        with pytest.raises(ValueError, match=f"FUSEDRNN_TIER is {tier}, which cannot run a projection"):
            layer(gpu.asarray(np.zeros((2, 3, 4))))
    monkeypatch.setenv("FUSEDRNN_TIER", "solo")
    large = make_layer(Case(H=300), device="cuda")
    with pytest.raises(ValueError, match="FUSEDRNN_TIER is solo, which cannot run a projection, nor 300 units"):
        large(gpu.asarray(np.zeros((2, 3, 4))))


BAD = [
    (
        np.zeros((2, 3, 4)),
        TypeError,
        "x must be a cupy array of float64, got a float64 array of shape .*; nothing is moved",
    ),
    ("float32", TypeError, "x must be a cupy array of float64, got float32; nothing is cast"),
    ((2, 3, 5), ValueError, r"x must have I = input_size = 4 columns, got shape \(2, 3, 5\)"),
    ((3,), ValueError, "x must have 3 axes"),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD)
def test_bad_input(gpu: Any, x: Any, error: type[Exception], message: str) -> None:
    layer = make_layer(Case(), device="cuda")
    if isinstance(x, str):
        x = gpu.asarray(np.zeros((2, 3, 4), x))
    elif isinstance(x, tuple):
        x = gpu.asarray(np.zeros(x))
    with pytest.raises(error, match=message):
        layer(x)


def test_arrays_of_another_gpu_are_an_error_that_says_which(gpu: Any) -> None:
    if gpu.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU alone")
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    optimizer = fr.optim.SGD(layer, 0.1)
    with gpu.cuda.Device(1):
        there = gpu.asarray(np.ones((5, 3, 4)))
        grads = {name: gpu.asarray(gpu.asnumpy(value)) for name, value in layer.state_dict().items()}
        with pytest.raises(ValueError, match="LSTM: x must be on the current GPU, 1, got an array on GPU 0"):
            layer(x)
        with pytest.raises(ValueError, match="weights must be on the current GPU, 1, got an array on GPU 0"):
            layer(there)
        with pytest.raises(ValueError, match="sgd: parameters must be on the current GPU, 1, got an array on GPU 0"):
            optimizer.step(grads)
    with pytest.raises(ValueError, match="x must be on the current GPU, 0, got an array on GPU 1"):
        layer(there)
    assert layer(x)[0].device.id == 0


def test_a_layer_copies_pickles_and_loads(gpu: Any) -> None:
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    y = gpu.asnumpy(layer(x)[0])
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert np.array_equal(gpu.asnumpy(other(x)[0]), y)
    fresh = make_layer(Case(), device="cuda")
    with fresh.writable() as parameters:
        for value in parameters.values():
            value[...] = 0
    assert not gpu.asnumpy(fresh(x)[0]).any()
    fresh.load_state_dict({name: gpu.asnumpy(value) for name, value in layer.state_dict().items()})
    assert np.array_equal(gpu.asnumpy(fresh(x)[0]), y)


@pytest.mark.parametrize(("case", "tier"), tiers_of(narrow_cases()), ids=str)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_err_by_little_more_than_their_rounding(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, tier: str
) -> None:
    pytest.importorskip("ml_dtypes")
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem, exact = build(case, parameter_dtype("test", dtype, [dtype]), device="cuda"), build(case)
    widen = lambda value: gpu.asnumpy(value).astype(np.float64)  # noqa: E731
    exact.layer.load_state_dict({name: widen(value) for name, value in problem.layer.state_dict().items()})
    rounded = {"x": problem.x, "dy": problem.dy, "dstate": problem.dstate}
    exact = replace(exact, **over(rounded, widen), call=problem.call | {"state": over(problem.call["state"], widen)})
    found = errors(run(gpu, problem), run_reference(exact))
    assert max(found.values()) <= 16 * SPACING[dtype], found


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_one_hot_input_of_sixteen_bits_is_a_lookup(gpu: Any, dtype: str) -> None:
    """Equal gate gradients come from a dense input of ones and zeros; the sums by id err by one rounding."""
    pytest.importorskip("ml_dtypes")
    number = parameter_dtype("test", dtype, [dtype])
    ids = np.random.default_rng(0).integers(0, 4, (40, 3))
    layer, results = make_layer(Case(), number, device="cuda"), []
    widen = lambda value: gpu.asnumpy(value).astype(np.float64)  # noqa: E731
    for x in (fr.OneHot(gpu.asarray(ids), 4), gpu.asarray(np.eye(4)[ids].astype(number))):
        y, state, saved = layer.forward(x)
        dy = gpu.asarray(np.cos(np.arange(y.size)).reshape(y.shape).astype(number))
        _, dstate, grads = layer.backward(saved, dy, need_dx=False)
        results.append(named(*over((y, state, None, dstate, grads), lambda value: over(value, widen))))
    found = errors(*results)
    assert max(found.values()) <= 2 * SPACING[dtype], found


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dropout_of_sixteen_bits_rounds_that_of_float32_once(gpu: Any, dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    number = parameter_dtype("test", dtype, [dtype])
    x = np.random.default_rng(0).standard_normal((3, 4, 7)).astype(number)
    there = fr.functional.dropout_forward(gpu.asarray(x), 0.4, seed=3, step=2)
    here = fr.functional.dropout_forward(x.astype("float32"), 0.4, seed=3, step=2).astype(number)
    assert gpu.asnumpy(there).tobytes() == here.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dropout_between_layers_of_sixteen_bits(gpu: Any, dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    case, more = Case(num_layers=2, I=5, H=7), {"dropout": 0.4}
    problem = build(case, parameter_dtype("test", dtype, [dtype]), device="cuda", **more)
    exact = build(case, **more)
    widen = lambda value: gpu.asnumpy(value).astype(np.float64)  # noqa: E731
    exact.layer.load_state_dict({name: widen(value) for name, value in problem.layer.state_dict().items()})
    rounded = {"x": problem.x, "dy": problem.dy, "dstate": problem.dstate}
    exact = replace(exact, **over(rounded, widen), call=problem.call | {"state": over(problem.call["state"], widen)})
    found = errors(run(gpu, problem, step=3), run_problem(exact, step=3))
    assert max(found.values()) <= 16 * SPACING[dtype], found
