"""Steppers on a GPU, or on the emulated one: the layer's results step by step, state, resets, and what is refused."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, make_layer
from test_cuda_layers import SPACING, TIERS, over, tiers_of
from test_cuda_sentences import nothing_waits
from test_stepper import load, write

import fusedrnn as fr
from fusedrnn.settings import parameter_dtype

pytestmark = pytest.mark.gpu

STEPS = 5
CASES = [Case(cell, layers, B=B, I=4, H=7) for cell in CELLS for layers, B in ((1, 1), (3, 5), (2, 9))]
CASES += [Case(cell, layers, projection=True, B=3, I=3, H=20) for cell in PROJECTING for layers in (1, 2)]
CASES += [Case("gru", 1, bias=False, B=2, I=1, H=1)]


def layer_of(case: Case, dtype: Any = "float32", **more: Any) -> Any:
    return make_layer(case, dtype, device="cuda", **more)


def draw(gpu: Any, *shape: int, dtype: Any = "float32", seed: int = 3) -> Any:
    return gpu.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def on_host(gpu: Any, state: Any) -> tuple[np.ndarray, ...]:
    moved = over(state, gpu.asnumpy)
    return moved if isinstance(moved, tuple) else (moved,)


def assert_same_state(gpu: Any, found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    for part, other in zip(on_host(gpu, found), on_host(gpu, expected), strict=True):
        assert part.dtype == other.dtype
        assert part.shape == other.shape
        assert part.tobytes() == other.tobytes()


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(float) - expected.astype(float)).max(initial=0))


# ---- the layer's results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("case", "tier"), tiers_of(CASES), ids=str)
def test_steps_give_the_bits_of_calls_with_one_step(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, tier: str
) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    layer = layer_of(case, dtype)
    x, state = draw(gpu, STEPS, case.B, case.I, dtype=dtype), None
    step, found = layer.stepper(case.B), []
    for x_t in x.copy():
        y, state = layer(x_t[None], state)
        found.append(gpu.asnumpy(step(x_t)))
        assert found[-1].tobytes() == gpu.asnumpy(y).tobytes()
    assert_same_state(gpu, step.state, state)
    # A product of all steps may sum its terms in another order than one of a single step does.
    whole, after = layer(x)
    limit = 16 * np.finfo(dtype).eps
    assert distance(np.stack(found), gpu.asnumpy(whole)) <= limit
    for part, other in zip(on_host(gpu, step.state), on_host(gpu, after), strict=True):
        assert distance(part, other) <= limit


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_states_of_sixteen_bits_go_on_in_float32(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, cell: str, dtype: str, tier: str
) -> None:
    """As in one call; only the product of the input may round otherwise."""
    pytest.importorskip("ml_dtypes")
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    number = parameter_dtype("test", dtype, [dtype])
    layer = layer_of(Case(cell, 2, I=4, H=7), number)
    x = draw(gpu, 20, 3, 4, dtype=number)
    step = layer.stepper(3)
    y = np.stack([gpu.asnumpy(step(x_t)) for x_t in x])
    whole, state = (over(value, gpu.asnumpy) for value in layer(x))
    scale = max(1.0, float(np.abs(whole.astype(float)).max()))
    assert distance(y, whole) <= 4 * SPACING[dtype] * scale
    for part, other in zip(on_host(gpu, step.state), on_host(gpu, state), strict=True):
        assert part.dtype == number
        assert distance(part, other) <= 4 * SPACING[dtype] * max(1.0, float(np.abs(other.astype(float)).max()))


@pytest.mark.parametrize("cell", CELLS)
def test_ids_are_a_lookup(gpu: Any, cell: str) -> None:
    layer = layer_of(Case(cell, 2, I=7, H=6))
    ids, state = np.random.default_rng(0).integers(0, 7, (STEPS, 2)), None
    step = layer.stepper(2)
    for at, kind in zip(ids, ("int64", "uint8", "int32", "int64", "uint16"), strict=True):
        y, state = layer(fr.OneHot(gpu.asarray(at[None]), 7), state)
        found = step(fr.OneHot(gpu.asarray(at.astype(kind)), 7))
        assert gpu.asnumpy(found).tobytes() == gpu.asnumpy(y).tobytes()
    assert_same_state(gpu, step.state, state)
    out = gpu.zeros((2, 6), np.float32)
    assert step(fr.OneHot(gpu.asarray(ids[0]), 7), out) is out
    bad = gpu.asnumpy(step(fr.OneHot(gpu.asarray(np.array([1, 7])), 7)))
    assert np.isfinite(bad[0]).all()
    if cell != "rnn_relu":
        assert np.isnan(bad[1]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_unbatched_steps(gpu: Any, cell: str) -> None:
    layer = layer_of(Case(cell, 2, I=3, H=5))
    x, state = draw(gpu, STEPS, 3), None
    step = layer.stepper()
    for x_t in x.copy():
        y, state = layer(x_t[None], state)
        found = step(x_t)
        assert found.shape == (5,)
        assert gpu.asnumpy(found).tobytes() == gpu.asnumpy(y[0]).tobytes()
    assert_same_state(gpu, step.state, state)
    step.reset()
    step.reset(state)
    assert_same_state(gpu, step.state, state)
    y, _ = layer(fr.OneHot(gpu.asarray(np.array([2])), 3), state)
    assert np.array_equal(gpu.asnumpy(step(fr.OneHot(gpu.asarray(np.array(2)), 3))), gpu.asnumpy(y[0]))


# ---- input and output ------------------------------------------------------------------------------------------------


def test_x_may_lie_in_memory_in_any_way(gpu: Any) -> None:
    layer, x = layer_of(Case(I=4, H=6)), draw(gpu, 3, 4)
    expected = gpu.asnumpy(layer.stepper(3)(x))
    twice = gpu.asarray(np.repeat(gpu.asnumpy(x), 2, axis=1))
    turned = gpu.asarray(np.ascontiguousarray(gpu.asnumpy(x)[::-1]))
    for form in (gpu.asarray(gpu.asnumpy(x).T.copy()).T, twice[:, ::2], turned[::-1]):
        assert np.array_equal(gpu.asnumpy(layer.stepper(3)(form)), expected)


def test_out_receives_the_result_and_may_be_x(gpu: Any) -> None:
    layer = layer_of(Case(num_layers=2, I=5, H=5))
    x, step = draw(gpu, STEPS, 2, 5), layer.stepper(2)
    expected = [gpu.asnumpy(step(x_t)) for x_t in x.copy()]
    step.reset()
    for x_t, y_t in zip(x.copy(), expected, strict=True):
        assert step(x_t, out=x_t) is x_t
        assert np.array_equal(gpu.asnumpy(x_t), y_t)


def test_a_result_is_overwritten_by_the_next_step_alone_and_may_be_its_input(gpu: Any) -> None:
    layer = layer_of(Case(I=5, H=5))
    step, x = layer.stepper(2), draw(gpu, 2, 5)
    first = step(x)
    kept = gpu.asnumpy(first)
    step.reset(step.state)
    assert np.array_equal(gpu.asnumpy(first), kept)
    y, _ = layer(gpu.asarray(kept[None]), step.state)
    assert step(first) is first
    assert np.array_equal(gpu.asnumpy(first), gpu.asnumpy(y[0]))
    state = step.state
    first[...] = 7
    assert_same_state(gpu, step.state, state)


def test_a_step_waits_for_nothing_and_keeps_no_memory(gpu: Any) -> None:
    layer = layer_of(Case("lstm", 2, projection=True, I=4, H=8))
    step, x = layer.stepper(3), draw(gpu, 3, 4)
    ids, rows = fr.OneHot(gpu.asarray(np.array([1, 0, 3])), 4), gpu.asarray(np.array([True, False, True]))
    held = arrays_of(step)
    with nothing_waits(gpu):
        for _ in range(3):
            step(x)
            step(ids)
            step.reset(rows=rows)
            step.reset(step.state, rows=rows)
            step.reset()
    assert held == arrays_of(step)


def arrays_of(step: fr.Stepper) -> set[int]:
    """Which arrays a stepper works in, in whatever order."""
    inside = step._core
    return {id(array) for array in (*inside._h, *inside._others, inside._gx, inside._raw, inside._y)}


# ---- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_state_goes_in_and_out_as_a_copy(gpu: Any, cell: str, dtype: str) -> None:
    layer = layer_of(Case(cell, 2, I=3, H=6, projection=cell in PROJECTING), dtype)
    _, state = layer(draw(gpu, STEPS, 4, 3, dtype=dtype))
    step, x = layer.stepper(4), draw(gpu, 1, 4, 3, dtype=dtype, seed=8)
    step.reset(state)
    found = step.state
    assert_same_state(gpu, found, state)
    for part in found if isinstance(found, tuple) else (found,):
        part[...] = 9
    y, after = layer(x, state)
    assert np.array_equal(gpu.asnumpy(step(x[0])), gpu.asnumpy(y[0]))
    assert_same_state(gpu, step.state, after)
    step.reset()
    assert not any(part.any() for part in on_host(gpu, step.state))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
def test_rows_are_set_one_by_one(gpu: Any, cell: str, dtype: str) -> None:
    if dtype in SPACING:
        pytest.importorskip("ml_dtypes")
    number = parameter_dtype("test", dtype, [dtype])
    layer = layer_of(Case(cell, 2, I=3, H=6), number)
    x = draw(gpu, STEPS, 4, 3, dtype=number)
    (_, first), (_, second) = layer(x), layer(x[:3])
    rows = np.array([True, False, False, True])
    for other in (second, None):
        step = layer.stepper(4)
        step.reset(first)
        step.reset(other, rows=gpu.asarray(rows))
        for k, (part, old) in enumerate(zip(on_host(gpu, step.state), on_host(gpu, first), strict=True)):
            new = np.zeros_like(old) if other is None else on_host(gpu, other)[k]
            assert np.array_equal(part, np.where(rows[:, None], new, old))
        fresh = layer.stepper(4)
        fresh.reset(step.state)
        assert np.array_equal(gpu.asnumpy(fresh(x[0])), gpu.asnumpy(step(x[0])))


def test_a_reset_removes_numbers_that_are_not_finite(gpu: Any) -> None:
    step, x = layer_of(Case("gru", I=3, H=5)).stepper(2), np.ones((2, 3), "float32")
    x[1] = np.nan
    y = gpu.asnumpy(step(gpu.asarray(x)))
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()
    step.reset(rows=gpu.asarray(np.array([False, True])))
    assert np.isfinite(gpu.asnumpy(step(gpu.asarray(np.ones((2, 3), "float32"))))).all()


# ---- weights ---------------------------------------------------------------------------------------------------------


def optimise_there(layer: Any) -> None:
    gradients = {name: value + 1 for name, value in layer.parameters().items()}
    fr.optim.SGD(layer, lr=0.5).step(gradients)


@pytest.mark.parametrize("change", [write, load, optimise_there])
def test_weights_that_change_are_noticed_and_taken_over(gpu: Any, change: Any) -> None:
    layer, x = layer_of(Case(num_layers=2, I=3, H=5)), draw(gpu, 2, 2, 3)
    old, step = copy.copy(layer).stepper(2), layer.stepper(2)
    step(x[0])
    state, y = step.state, gpu.asnumpy(step(x[1]))
    step.reset(state)
    change(layer)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^LSTM.stepper: the weights must be .*; refresh\(\) takes them over$"):
            step(x[1])
    assert_same_state(gpu, step.state, state)
    step.refresh()
    assert_same_state(gpu, step.state, state)
    found = gpu.asnumpy(step(x[1]))
    assert np.array_equal(found, gpu.asnumpy(layer(x[1:], state)[0][0]))
    assert not np.array_equal(found, y)
    old(x[0])
    assert np.array_equal(gpu.asnumpy(old(x[1])), y)  # that of a copy goes on with its own


def test_weights_that_are_being_written_are_refused(gpu: Any) -> None:
    layer = layer_of(Case("gru", I=3, H=5))
    step = layer.stepper(1)
    with layer.writable():
        for call in (lambda: layer.stepper(1), step.refresh):
            with pytest.raises(RuntimeError, match=r"^GRU.stepper: the weights must not be open .* writable\(\) block"):
                call()
        with pytest.raises(RuntimeError, match="the weights must be those"):
            step(draw(gpu, 1, 3))


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_call_while_another_thread_is_in_a_step_is_refused(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = layer_of(Case(I=3, H=5)), draw(gpu, 1, 3)
    step, inside, go_on = layer.stepper(1), threading.Event(), threading.Event()
    pack = layer._packed(0, 0)
    product = pack.input_products

    def slow(*given: Any) -> Any:
        inside.set()
        assert go_on.wait(30)
        return product(*given)

    monkeypatch.setattr(pack, "input_products", slow)
    other = threading.Thread(target=step, args=(x,))
    other.start()
    try:
        assert inside.wait(30)
        for call in (lambda: step(x), lambda: step.state, step.reset):
            with pytest.raises(RuntimeError, match=r"^LSTM.stepper: a step must have ended .* in another thread$"):
                call()
    finally:
        go_on.set()
        other.join()
    monkeypatch.undo()
    assert gpu.asnumpy(step(x)).shape == (1, 5)


def bad_steps(gpu: Any) -> list[tuple[tuple[Any, ...], type[Exception], str]]:
    there, array = gpu.asarray, "must be a cupy array of float32, got"
    x = there(np.ones((1, 3), "float32"))
    return [
        ((there(np.ones((2, 3), "float32")),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(2, 3\)$"),
        ((there(np.ones(3, "float32")),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(3,\)$"),
        ((there(np.ones((1, 3))),), TypeError, f"x {array} float64; nothing is cast$"),
        ((np.ones((1, 3), "float32"),), TypeError, f"x {array} a float32 array .* in host memory; nothing is moved$"),
        ((None,), TypeError, f"x {array} None; nothing is moved$"),
        ((x, there(np.ones((2, 5), "float32"))), ValueError, r"out must have shape \(B, H\) = \(1, 5\), got \(2, 5\)$"),
        ((x, there(np.ones((1, 5)))), TypeError, f"out {array} float64; nothing is cast$"),
        (
            (x, there(np.ones((1, 10), "float32"))[:, ::2]),
            ValueError,
            r"out must be C-contiguous, got strides \(40, 8\)",
        ),
        ((x, np.ones((1, 5), "float32")), TypeError, f"out {array} a float32 array"),
        ((fr.OneHot(there(np.array([0])), 4),), ValueError, "x.depth must be input_size = 3, got 4$"),
        ((fr.OneHot(there(np.array([[0]])), 3),), ValueError, r"x.ids must have shape \(B,\) = \(1,\), got \(1, 1\)$"),
        ((fr.OneHot(np.array([0]), 3),), TypeError, "x.ids must be a cupy array of integers, got .* in host memory"),
        ((fr.OneHot(there(np.array([0])), 3), there(np.ones((2, 5), "float32"))), ValueError, "out must have shape"),
    ]


@pytest.mark.parametrize("at", range(13))
def test_what_does_not_fit_is_refused_and_changes_nothing(gpu: Any, at: int) -> None:
    arguments, kind, message = bad_steps(gpu)[at]
    step = layer_of(Case(I=3, H=5)).stepper(1)
    step(draw(gpu, 1, 3))
    before = step.state
    with pytest.raises(kind, match=f"^LSTM.stepper: {message}"):
        step(*arguments)
    assert_same_state(gpu, step.state, before)


def bad_resets(gpu: Any) -> list[tuple[dict[str, Any], type[Exception], str]]:
    there, h = gpu.asarray, np.ones((1, 1, 5), "float32")
    return [
        ({"state": there(h)}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got "),
        ({"state": (there(h), h)}, TypeError, r"state\[1\] must be a cupy array of float32, got .* in host memory"),
        ({"state": (there(h), there(h[:, :, :4].copy()))}, ValueError, r"state\[1\] must have shape \(L\*D, B, H\)"),
        ({"rows": np.array([True])}, TypeError, "rows must be a cupy array of bool, got .* in host memory"),
        ({"rows": there(np.array([1]))}, TypeError, "rows must be a cupy array of bool, got int64; nothing is cast$"),
        ({"rows": there(np.array([True, False]))}, ValueError, r"rows must have shape \(B,\) = \(1,\), got \(2,\)$"),
    ]


@pytest.mark.parametrize("at", range(6))
def test_a_reset_that_does_not_fit_is_refused_and_changes_nothing(gpu: Any, at: int) -> None:
    arguments, kind, message = bad_resets(gpu)[at]
    step = layer_of(Case(I=3, H=5)).stepper(1)
    step(draw(gpu, 1, 3))
    before = step.state
    with pytest.raises(kind, match=f"^LSTM.stepper: {message}"):
        step.reset(**arguments)
    assert_same_state(gpu, step.state, before)


def test_a_layer_of_two_directions_is_refused(gpu: Any) -> None:
    with pytest.raises(ValueError, match="^GRU.stepper: the layer must have one direction, got bidirectional=True"):
        layer_of(Case("gru", bidirectional=True)).stepper(1)


def test_arrays_of_another_gpu_are_an_error_that_says_which(gpu: Any) -> None:
    if gpu.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU alone")
    step, x = layer_of(Case(I=3, H=5)).stepper(1), draw(gpu, 1, 3)
    with gpu.cuda.Device(1):
        there = draw(gpu, 1, 3)
        with pytest.raises(ValueError, match=r"^LSTM.stepper: weights must be on the current GPU, 1, got .* on GPU 0$"):
            step(there)
        with pytest.raises(ValueError, match=r"^LSTM.stepper: x must be on the current GPU, 1, got .* on GPU 0$"):
            step(x)
    with pytest.raises(ValueError, match=r"^LSTM.stepper: x must be on the current GPU, 0, got .* on GPU 1$"):
        step(there)
    assert step(x).device.id == 0
