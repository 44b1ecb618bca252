"""Steppers: the bits of whole sequences, state and its resets, weights that change, threads, and what is refused."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import tracemalloc
from itertools import product
from typing import Any

import instruction_sets
import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, make_layer, parts_of

import fusedrnn as fr
from fusedrnn import _core

WIDTHS = (1, 3, 16, 17, 33, 128)
STEPS = 5
DESIGN = [
    Case(cell, layers, projection=projection, T=STEPS, B=B, I=I, H=H, bias=I != 3)
    for cell, layers, projection, (I, H), B in product(
        CELLS, (1, 3), (False, True), [*zip(WIDTHS, WIDTHS, strict=True), (3, 128), (128, 3)], (1, 5)
    )
    if not projection or (cell in PROJECTING and H > 1)
]
# The cost model gives them several threads: by units, and by rows.
WIDE = [Case(cell, 2, T=3, B=1, I=9, H=600) for cell in CELLS] + [
    Case("lstm", 2, T=3, B=1, I=9, H=600, projection=True),
    Case("gru", 2, T=3, B=400, I=9, H=65),
    Case("lstm", 2, T=3, B=16, I=9, H=616),  # vectors of units left over, which threads share by rows
]

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_cell = pytest.mark.parametrize("cell", CELLS)


def draw(*shape: int, dtype: Any = "float32", seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_same_state(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    for part, other in zip(parts_of(found), parts_of(expected), strict=True):
        assert part.dtype == other.dtype
        assert part.shape == other.shape
        assert part.tobytes() == other.tobytes()


def assert_steps_are_the_call(layer: Any, x: np.ndarray, step: fr.Stepper, state: Any = None) -> None:
    y, after = layer(x, state)
    for x_t, y_t in zip(x, y, strict=True):
        assert step(x_t).tobytes() == y_t.tobytes()
    assert_same_state(step.state, after)


# ---- the bits of a whole sequence ------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("case", DESIGN, ids=str)
def test_steps_give_the_bits_of_one_call(case, dtype):
    layer = make_layer(case, dtype)
    x = draw(case.T, case.B, case.I, dtype=dtype)
    step = layer.stepper(case.B)
    assert_steps_are_the_call(layer, x, step)
    assert_steps_are_the_call(layer, x, step, step.state)  # goes on where it stands


@pytest.mark.parametrize("isa", instruction_sets.ALL)
def test_every_instruction_set_gives_the_bits_of_one_call(isa):
    instruction_sets.run_again(isa, __file__, "-k", "bits")


@pytest.mark.parametrize("case", WIDE, ids=str)
def test_any_number_of_threads_gives_the_bits_of_one_call(case):
    layer = make_layer(case, "float32")
    x = draw(case.T, case.B, case.I)
    before = fr.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fr.set_num_threads(threads)
            plan = layer.explain((1, case.B, case.I))
            assert f"{threads} thread" in plan
            if case is WIDE[-1] and threads == 2 and _core.isa() != "scalar":
                assert "those left over by rows" in plan
            assert_steps_are_the_call(layer, x, layer.stepper(case.B))
    finally:
        fr.set_num_threads(before)


@pytest.mark.skipif(_core.isa() == "scalar", reason="these plans are those of vectors")
@pytest.mark.parametrize(
    ("I", "H", "B", "threads"), [(1, 210, 1, (1, 2)), (8192, 16, 8, (2, 1)), (8192, 64, 1, (2, 1))]
)
def test_layers_with_use_for_other_numbers_of_threads_give_the_bits_of_one_call(I, H, B, threads):
    layer = fr.LSTM(I, H, 2, seed=0)
    before = fr.get_num_threads()
    fr.set_num_threads(2)
    try:
        plans = layer.explain((1, B, I)).splitlines()[1:3]
        assert [f"forward: {count} thread" in plan for count, plan in zip(threads, plans, strict=True)] == [True, True]
        assert_steps_are_the_call(layer, draw(3, B, I), layer.stepper(B))
    finally:
        fr.set_num_threads(before)


@both_dtypes
@every_cell
def test_ids_give_the_bits_of_one_call(cell, dtype):
    layer = make_layer(Case(cell, 2, I=7, H=17), dtype)
    ids = np.random.default_rng(0).integers(0, 7, (STEPS, 2))
    y, state = layer(fr.OneHot(ids, 7))
    step = layer.stepper(2)
    x = np.eye(7, dtype=dtype)
    for at, y_t in enumerate(y):
        for kind in ("int64", "uint8"):
            fork = layer.stepper(2)
            fork.reset(step.state)
            assert fork(fr.OneHot(ids[at].astype(kind), 7)).tobytes() == y_t.tobytes()
        assert step(fr.OneHot(ids[at], 7)).tobytes() == y_t.tobytes()
    assert_same_state(step.state, state)
    step(x[ids[0]])  # numbers after ids
    assert_same_state(step.state, layer(x[ids[:1]], state)[1])


@every_cell
def test_unbatched_steps_give_the_bits_of_one_call(cell):
    layer = make_layer(Case(cell, 2, I=3, H=5), "float32")
    x = draw(STEPS, 3)
    step = layer.stepper()
    assert step.batch is None
    assert_steps_are_the_call(layer, x, step)
    state = step.state
    step.reset()
    step.reset(state)
    assert_same_state(step.state, state)
    ids = np.array(2)
    assert step(fr.OneHot(ids, 3)).tobytes() == layer(fr.OneHot(ids[None], 3), state)[0].tobytes()


def test_dropout_is_off_and_batch_first_does_not_matter():
    plain = fr.LSTM(3, 5, 2, seed=0)
    other = fr.LSTM(3, 5, 2, seed=0, dropout=0.5, batch_first=True)
    x = draw(STEPS, 2, 3)
    step = other.stepper(2)
    assert_steps_are_the_call(plain, x, step)


def test_numbers_that_are_not_finite_pass_and_a_reset_removes_them():
    layer = fr.GRU(3, 5, seed=0)
    step = layer.stepper(2)
    x = draw(2, 3)
    x[1] = np.nan
    y = step(x)
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()
    step.reset(rows=np.array([False, True]))
    x[1] = 1
    assert np.isfinite(step(x)).all()


# ---- input and output ------------------------------------------------------------------------------------------------


def misaligned(value: np.ndarray) -> np.ndarray:
    room = np.empty(value.nbytes + 1, np.uint8)
    found = room[1:].view(value.dtype).reshape(value.shape)
    found[...] = value
    assert not found.flags.aligned
    return found


class Labelled(np.ndarray):
    """A subclass of arrays."""


@pytest.mark.parametrize(
    "form",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.repeat(x, 3, axis=0)[::3],
        misaligned,
        lambda x: misaligned(np.repeat(x, 2, axis=1))[:, ::2],
        lambda x: x.view(Labelled),
        lambda x: x.astype(np.dtype("float32", metadata={"unit": "V"})),
    ],
)
def test_x_may_lie_in_memory_in_any_way(form):
    layer = fr.LSTM(4, 6, seed=0)
    x = draw(3, 4)
    given = form(x)
    kept = np.array(given)
    assert np.array_equal(layer.stepper(3)(given), layer(x[None])[0][0])
    assert np.array_equal(given, kept)


def test_a_result_is_overwritten_by_the_next_step_alone():
    step = fr.LSTM(3, 5, seed=0).stepper(2)
    first = step(draw(2, 3))
    kept = first.copy()
    step.reset()
    _ = step.state
    assert np.array_equal(first, kept)
    second = step(draw(2, 3, seed=4))
    assert second is first
    assert not np.array_equal(first, kept)


def test_writing_into_a_result_does_not_touch_the_state():
    layer = fr.GRU(3, 5, seed=0)
    x = draw(STEPS, 2, 3)
    step = layer.stepper(2)
    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        y = step(x_t)
        assert np.array_equal(y, y_t)
        y[...] = 7


def test_a_result_outlives_stepper_and_layer():
    layer = fr.LSTM(3, 500, seed=0)
    expected = layer(draw(1, 1, 3))[0][0]
    step = layer.stepper(1)
    del layer
    gc.collect()
    y = step(draw(1, 1, 3)[0])
    del step
    gc.collect()
    assert np.array_equal(y, expected)
    with pytest.raises(ValueError, match="own its data"):
        y.resize((2, 500), refcheck=False)


@every_cell
def test_out_receives_the_result(cell):
    layer = make_layer(Case(cell, 2, I=5, H=5), "float32")
    x = draw(STEPS, 2, 5)
    expected, _ = layer(x)
    step = layer.stepper(2)
    y = np.empty_like(expected)
    for x_t, y_t in zip(x, y, strict=True):
        assert step(x_t, out=y_t) is y_t
    assert np.array_equal(y, expected)
    step.reset()
    for x_t, y_t in zip(x.copy(), expected, strict=True):  # in place
        assert np.array_equal(step(x_t, out=x_t), y_t)
    labelled = np.empty((2, 5), "float32").view(Labelled)
    step.reset()
    assert step(x[0], labelled) is labelled
    assert np.array_equal(labelled, expected[0])


def test_a_result_may_be_the_next_input():
    layer = fr.LSTM(600, 600, seed=0)  # several threads
    x = draw(1, 1, 600)
    step = layer.stepper(1)
    y, state, found = x, None, x[0]
    for _ in range(STEPS):
        y, state = layer(y, state)
        found = step(found)
    assert np.array_equal(found, y[0])


def test_a_step_allocates_nothing():
    step = fr.LSTM(64, 300, 2, seed=0).stepper(4)
    x, out = draw(4, 64), np.empty((4, 300), "float32")
    for _ in range(10):
        step(x)
        step(x, out)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            step(x)
            step(x, out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 1024  # NumPy's arrays are traced; one of them would have more
    assert after - before < 512


# ---- state -----------------------------------------------------------------------------------------------------------


@both_dtypes
@every_cell
def test_a_state_goes_in_and_out(cell, dtype):
    layer = make_layer(Case(cell, 2, I=3, H=6, projection=cell in PROJECTING), dtype)
    _, state = layer(draw(STEPS, 4, 3, dtype=dtype))
    step = layer.stepper(4)
    step.reset(state)
    assert_same_state(step.state, state)
    assert_steps_are_the_call(layer, draw(STEPS, 4, 3, dtype=dtype, seed=8), step, state)
    step.reset()
    assert all(not part.any() for part in parts_of(step.state))


def test_the_state_is_a_copy():
    layer = fr.LSTM(3, 5, seed=0)
    step = layer.stepper(2)
    step(draw(2, 3))
    state = step.state
    assert isinstance(state, fr.LSTMState)
    kept = copy.deepcopy(state)
    state.h[...] = 9
    assert_same_state(step.state, kept)
    step.reset(state)
    state.h[...] = 8
    assert (step.state.h == 9).all()


@every_cell
def test_rows_are_reset_one_by_one(cell):
    layer = make_layer(Case(cell, 2, I=3, H=6), "float32")
    x = draw(STEPS, 4, 3)
    reset = np.random.default_rng(2).random((STEPS, 4)) < 0.4
    y, after = layer(x, reset=reset)
    step = layer.stepper(4)
    for x_t, y_t, rows in zip(x, y, reset, strict=True):
        step.reset(rows=rows)
        assert np.array_equal(step(x_t), y_t)
    assert_same_state(step.state, after)


def test_rows_are_set_one_by_one():
    layer = fr.LSTM(3, 5, 2, seed=0)
    _, state = layer(draw(STEPS, 4, 3))
    _, other = layer(draw(STEPS, 4, 3, seed=9))
    step = layer.stepper(4)
    step.reset(state)
    rows = np.array([True, False, False, True, True, False, False, True])[::2]
    step.reset(other, rows=rows)
    for part, first, second in zip(step.state, state, other, strict=True):
        assert np.array_equal(part, np.where(rows[:, None], second, first))


# ---- weights ---------------------------------------------------------------------------------------------------------


def write(layer: Any) -> None:
    with layer.writable() as weights:
        weights["weight_hh_l0"][...] *= 0.5


def load(layer: Any) -> None:
    layer.load_state_dict({name: value * 2 for name, value in layer.state_dict().items()})


def optimise(layer: Any) -> None:
    fr.optim.SGD(layer, lr=0.5).step({name: np.ones_like(value) for name, value in layer.parameters().items()})


@pytest.mark.parametrize("change", [write, load, optimise])
def test_weights_that_change_are_noticed_and_taken_over(change):
    layer = fr.LSTM(3, 5, 2, seed=0)
    x = draw(2, 2, 3)
    old = copy.copy(layer).stepper(2)
    step = layer.stepper(2)
    step(x[0])
    state, y = step.state, step(x[1]).copy()
    step.reset(state)
    change(layer)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^LSTM.stepper: the weights must be .*; refresh\(\) takes them over$"):
            step(x[1])
    assert_same_state(step.state, state)
    step.refresh()
    assert np.array_equal(step(x[1]), layer(x[1:], state)[0][0])
    assert not np.array_equal(step(x[1]), y)
    old(x[0])
    assert np.array_equal(old(x[1]), y)  # that of a copy goes on with its own


def test_weights_that_are_being_written_are_refused():
    layer = fr.GRU(3, 5, seed=0)
    step = layer.stepper(1)
    with layer.writable():
        for call in (lambda: layer.stepper(1), step.refresh):
            with pytest.raises(RuntimeError, match=r"^GRU.stepper: the weights must not be open .* writable\(\) block"):
                call()
        with pytest.raises(RuntimeError, match="the weights must be those"):
            step(draw(1, 3))


def test_weights_are_packed_once_for_layer_and_steppers():
    layer = fr.GRU(3, 5, seed=0)
    layer.stepper(1)
    packs = layer._packs
    pack = packs[0, 0]
    layer.stepper(2)
    layer(draw(1, 2, 3))
    assert layer._packs is packs
    assert packs[0, 0] is pack


def test_layers_with_steppers_are_copied_and_pickled():
    layer = fr.GRU(3, 5, seed=0)
    step = layer.stepper(1)
    x = draw(1, 1, 3)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        mine = other.stepper(1)
        assert np.array_equal(mine(x[0]), layer(x)[0][0])
        write(other)
        with pytest.raises(RuntimeError, match="the weights must be those"):
            mine(x[0])
    step(x[0])  # nothing happened to its layer


# ---- threads and processes -------------------------------------------------------------------------------------------


def test_calls_from_two_threads_are_one_after_the_other_or_refused():
    """Steps of small layers keep Python's lock; those of large ones say that another one is running."""
    for hidden in (8, 900):
        layer = fr.RNN(4, hidden, seed=0)
        step = layer.stepper(1)
        x = draw(1, 4)
        taken, wrong = [], []

        def work(step: fr.Stepper = step, x: np.ndarray = x, taken: list = taken, wrong: list = wrong) -> None:
            for _ in range(200):
                try:
                    step(x)
                    taken.append(step.state.shape)
                except RuntimeError as error:
                    if "running in another thread" not in str(error):
                        wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert taken
        assert wrong == []
        assert np.isfinite(step(x)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on():
    layer = fr.LSTM(3, 600, seed=0)
    x = draw(2, 1, 3)
    y, _ = layer(x)
    step = layer.stepper(1)
    step(x[0])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(step(x[1]), y[1]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(step(x[1]), y[1])


@pytest.mark.parametrize("attempt", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stepper_is_not_copied(attempt):
    with pytest.raises(TypeError, match=r"^RNN.stepper: a stepper must not be copied or pickled"):
        attempt(fr.RNN(3, 5, seed=0).stepper(1))


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_layer_of_two_directions_is_refused():
    message = "^GRU.stepper: the layer must have one direction, got bidirectional=True, which needs the future$"
    with pytest.raises(ValueError, match=message):
        fr.GRU(3, 5, bidirectional=True, seed=0).stepper(1)


@pytest.mark.parametrize(("batch", "kind"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_batch_is_a_positive_integer(batch, kind):
    with pytest.raises(kind, match="^LSTM.stepper: batch must be "):
        fr.LSTM(3, 5, seed=0).stepper(batch)


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    value = np.zeros(shape, "float32")
    value.flags.writeable = False
    return value


ARRAY = "must be a numpy array of float32, got"
BAD_STEPS = {
    "rows": ((draw(2, 3),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(2, 3\)"),
    "columns": ((draw(1, 2),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(1, 2\)"),
    "axes": ((draw(3),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(3,\)"),
    "sequence": ((draw(1, 1, 3),), ValueError, r"x must have shape \(B, I\) = \(1, 3\), got \(1, 1, 3\)"),
    "dtype": ((draw(1, 3, dtype="float64"),), TypeError, f"x {ARRAY} float64; nothing is cast"),
    "byte order": ((draw(1, 3, dtype=">f4"),), TypeError, f"x {ARRAY} >f4"),
    "list": (([[1.0, 2.0, 3.0]],), TypeError, f"x {ARRAY} "),
    "none": ((None,), TypeError, f"x {ARRAY} None"),
    "masked": ((np.ma.ones((1, 3), "float32"),), TypeError, f"x {ARRAY} a masked array"),
    "out shape": ((draw(1, 3), draw(2, 5)), ValueError, r"out must have shape \(B, H\) = \(1, 5\), got \(2, 5\)"),
    "out dtype": ((draw(1, 3), draw(1, 5, dtype="float64")), TypeError, f"out {ARRAY} float64"),
    "out list": ((draw(1, 3), [1.0]), TypeError, f"out {ARRAY} "),
    "out read-only": ((draw(1, 3), read_only((1, 5))), ValueError, "out must be .* writable: False"),
    "out strides": ((draw(1, 3), draw(1, 10)[:, ::2]), ValueError, "out must be .* C-contiguous: False"),
    "out misaligned": ((draw(1, 3), misaligned(draw(1, 5))), ValueError, "out must be .* aligned: False"),
    "depth": ((fr.OneHot(np.array([0]), 4),), ValueError, "x.depth must be input_size = 3, got 4"),
    "ids shape": ((fr.OneHot(np.array([[0]]), 3),), ValueError, r"x.ids must have shape \(B,\) = \(1,\), got \(1, 1\)"),
    "ids and out": ((fr.OneHot(np.array([0]), 3), draw(2, 5)), ValueError, r"out must have shape"),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_what_does_not_fit_is_refused_and_changes_nothing(name):
    arguments, kind, message = BAD_STEPS[name]
    step = fr.LSTM(3, 5, seed=0).stepper(1)
    step(draw(1, 3))
    before = step.state
    with pytest.raises(kind, match=f"^LSTM.stepper: {message}"):
        step(*arguments)
    assert_same_state(step.state, before)


def test_unbatched_shapes_are_named():
    step = fr.LSTM(3, 5, proj_size=2, seed=0).stepper()
    with pytest.raises(ValueError, match=r"^LSTM.stepper: x must have shape \(I,\) = \(3,\), got \(1, 3\)"):
        step(draw(1, 3))
    with pytest.raises(ValueError, match=r"^LSTM.stepper: out must have shape \(P,\) = \(2,\), got \(5,\)"):
        step(draw(3), draw(5))
    with pytest.raises(ValueError, match=r"^LSTM.stepper: x.ids must have shape \(\) = \(\), got \(1,\)"):
        step(fr.OneHot(np.array([0]), 3))
    with pytest.raises(ValueError, match="^LSTM.stepper: rows must be None unbatched"):
        step.reset(rows=np.array([True]))


def test_ids_that_were_changed_after_their_check_are_refused():
    ids = np.array([1])
    x = fr.OneHot(ids, 3)
    ids[0] = 3
    step = fr.LSTM(3, 5, seed=0).stepper(1)
    with pytest.raises(ValueError, match=r"^LSTM.stepper: x.ids must be in \[0, I\) = \[0, 3\), got 3 at b = 0"):
        step(x)
    assert not step.state.h.any()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"state": draw(1, 1, 5)}, TypeError, r"state must be a tuple of 2 arrays \(h, c\)"),
        ({"state": (draw(1, 2, 5), draw(1, 1, 5))}, ValueError, r"state\[0\] must have shape \(L\*D, B, H\)"),
        ({"state": (draw(1, 1, 5), draw(1, 1, 5, dtype="float64"))}, TypeError, r"state\[1\] must be a numpy array"),
        ({"rows": [True]}, TypeError, "rows must be a numpy array of bool"),
        ({"rows": np.array([1])}, TypeError, "rows must be a numpy array of bool, got int64"),
        ({"rows": np.array([True, False])}, ValueError, r"rows must have shape \(B,\) = \(1,\), got \(2,\)"),
    ],
)
def test_a_reset_that_does_not_fit_is_refused_and_changes_nothing(arguments, kind, message):
    step = fr.LSTM(3, 5, seed=0).stepper(1)
    step(draw(1, 3))
    before = step.state
    with pytest.raises(kind, match=f"^LSTM.stepper: {message}"):
        step.reset(**arguments)
    assert_same_state(step.state, before)


def test_a_stepper_shows_what_it_is():
    assert repr(fr.LSTM(3, 5, seed=0).stepper(2)) == "LSTM(3, 5).stepper(2)"
    assert repr(fr.LSTM(3, 5, seed=0).stepper()) == "LSTM(3, 5).stepper()"


def test_a_stepper_of_a_copied_layer_takes_arrays_of_any_origin():
    layer = copy.deepcopy(fr.RNN(3, 4, seed=0))
    step, ids = layer.stepper(2), np.array([0, 2])
    x = pickle.loads(pickle.dumps(np.ones((2, 3), "float32")))
    first = step(x).copy()
    out = np.empty((2, 4), "float32")
    second = step(fr.OneHot(ids, 3), out=out)
    assert second is out
    whole, _ = layer(np.stack([np.ones((2, 3), "float32"), np.eye(3, dtype="float32")[ids]]))
    assert np.array_equal(np.stack([first, second]), whole)
