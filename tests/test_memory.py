"""Memory: inputs of any layout, results of their own, rows and padding apart, threads, forks, denormal numbers."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter, sleep
from typing import Any

import numpy as np
import pytest
from problems import CELLS, Case, Problem, build, named, parts_of, run

import fusedrnn as fr

Results = dict[str, np.ndarray]

# One group of vectors and a part of another one in both dtypes, and rows that do not fill a tile.
SMALL = {"T": 7, "B": 5, "I": 9, "H": 19}
# Large enough to be shared out among threads.
WIDE = {"T": 12, "B": 70, "I": 33, "H": 65}

KINDS = {cell: {"cell": cell} for cell in CELLS} | {"lstm_projection": {"cell": "lstm", "projection": True}}
SIZES = {"small": SMALL, "wide": WIDE}
ARRAYS = ("x", "state", "lengths", "reset", "dy", "dstate")

every_kind = pytest.mark.parametrize("kind", KINDS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_size = pytest.mark.parametrize("size", SIZES)


def case_of(kind: str, size: str = "small", **more: Any) -> Case:
    return Case(**(KINDS[kind] | SIZES[size] | more))


def full_case(kind: str, size: str = "small", **more: Any) -> Case:
    """Two layers in both directions, with lengths and resets."""
    features = {"num_layers": 2, "bidirectional": True, "lengths": True, "reset": True}
    return case_of(kind, size, **(features | more))


def assert_same_bits(found: Results, expected: Results) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert found[name].tobytes() == value.tobytes(), name


def infer(problem: Problem) -> Results:
    y, state = problem.layer(problem.x, **problem.call)
    return named(y, state, None, (), {})


def run_all(problem: Problem) -> Results:
    """Forward, backward and inference."""
    return run(problem) | {f"inferred {name}": value for name, value in infer(problem).items()}


def arrays_of(problem: Problem) -> Results:
    """The arrays of a problem by name, parts of a state apart."""
    found = {"x": problem.x, "lengths": problem.call["lengths"], "reset": problem.call["reset"], "dy": problem.dy}
    for name, state in (("state", problem.call["state"]), ("dstate", problem.dstate)):
        found |= {} if state is None else {f"{name}[{k}]": part for k, part in enumerate(parts_of(state))}
    return {name: value for name, value in found.items() if value is not None}


def reform(problem: Problem, form: Callable[[np.ndarray], np.ndarray], names: tuple[str, ...] = ARRAYS) -> Problem:
    """The same problem with some of its arrays in another form."""

    def one(name: str, value: Any) -> Any:
        if value is None or name not in names:
            return value
        return form(value) if isinstance(value, np.ndarray) else tuple(map(form, value))

    return replace(
        problem,
        x=one("x", problem.x),
        call={name: one(name, value) for name, value in problem.call.items()},
        dy=one("dy", problem.dy),
        dstate=one("dstate", problem.dstate),
    )


# ---- the layout of inputs --------------------------------------------------------------------------------------------


def poison(dtype: np.dtype) -> Any:
    """A value that shows when it is read."""
    return {"f": np.nan, "i": -1, "u": 2**63, "b": True}[dtype.kind]


def strided(value: np.ndarray) -> np.ndarray:
    """Every third element along each axis of a larger array."""
    large = np.full(tuple(3 * size for size in value.shape), poison(value.dtype), value.dtype)
    view = large[(slice(1, None, 3),) * value.ndim]
    view[...] = value
    return view


def spaced_rows(value: np.ndarray) -> np.ndarray:
    """The last axis is contiguous, the others are not: the kernels may read it in place."""
    large = np.full(tuple(size + 3 for size in value.shape), poison(value.dtype), value.dtype)
    view = large[tuple(slice(1, 1 + size) for size in value.shape)]
    view[...] = value
    return view


def negative(value: np.ndarray) -> np.ndarray:
    """All axes run backwards in memory."""
    back = (slice(None, None, -1),) * value.ndim
    return np.ascontiguousarray(value[back])[back]


def negative_steps(value: np.ndarray) -> np.ndarray:
    """Only the first axis runs backwards."""
    return np.ascontiguousarray(value[::-1])[::-1]


def swapped(value: np.ndarray) -> np.ndarray:
    """The first two axes lie the other way round in memory."""
    return np.ascontiguousarray(value.swapaxes(0, 1)).swapaxes(0, 1) if value.ndim > 1 else value


def read_only(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value.flags.writeable = False
    return value


def shifted(value: np.ndarray, by: int) -> np.ndarray:
    """Contiguous, and `by` bytes behind an address that is a multiple of 64."""
    buffer = np.full(value.nbytes + 128, 0xFF, np.uint8)
    start = -buffer.ctypes.data % 64 + by
    view = np.frombuffer(buffer, value.dtype, value.size, start).reshape(value.shape)
    view[...] = value
    assert view.ctypes.data % 64 == by
    return view


def record_field(value: np.ndarray) -> np.ndarray:
    """A field of packed records: strides that are no multiple of the size of an element."""
    records = np.zeros(value.shape, [("before", np.uint8), ("value", value.dtype), ("behind", np.uint16)])
    records["value"] = value
    return records["value"]


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "strided": strided,
    "spaced-rows": spaced_rows,
    "negative": negative,
    "negative-steps": negative_steps,
    "swapped": swapped,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "1-byte-off": lambda value: shifted(value, 1),
    "4-bytes-off": lambda value: shifted(value, 4),
    "record-field": record_field,
}

BROADCASTS = {"steps": (0,), "rows": (1,), "columns": (-1,), "steps-rows": (0, 1), "everything": (0, 1, -1)}


def assert_layout_does_not_matter(problem: Problem, form: Callable[[np.ndarray], np.ndarray], *names: str) -> None:
    other = reform(problem, form, names or ARRAYS)
    plain = reform(other, lambda value: np.array(value, order="C"))
    before = {name: value.copy() for name, value in arrays_of(other).items()}
    assert_same_bits(run_all(other), run_all(plain))
    assert_same_bits(arrays_of(other), before)


@pytest.mark.parametrize("form", FORMS)
@every_dtype
@every_kind
def test_any_layout_of_all_inputs_gives_the_bits_of_contiguous_ones(kind, dtype, form):
    assert_layout_does_not_matter(build(full_case(kind), dtype), FORMS[form])


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_any_layout_of_one_input_gives_the_bits_of_a_contiguous_one(kind, form, name):
    problem = build(full_case(kind), "float32")
    assert_layout_does_not_matter(problem, FORMS[form], name)
    assert_same_bits(run_all(reform(problem, FORMS[form], (name,))), run_all(problem))


@pytest.mark.parametrize("form", FORMS)
@every_kind
def test_any_layout_gives_the_same_bits_with_batch_first(kind, form):
    assert_layout_does_not_matter(build(full_case(kind, batch_first=True), "float32"), FORMS[form])


@pytest.mark.parametrize("form", FORMS)
@every_kind
def test_any_layout_gives_the_same_bits_on_many_threads(kind, form):
    assert_layout_does_not_matter(build(full_case(kind, "wide"), "float32"), FORMS[form])


@pytest.mark.parametrize("axes", BROADCASTS)
@every_size
@every_kind
def test_broadcast_input_gives_the_bits_of_a_full_copy(kind, size, axes):
    def first_everywhere(value: np.ndarray) -> np.ndarray:
        if value.ndim < 2:
            return np.broadcast_to(value[-1], value.shape)
        where = {axis % value.ndim for axis in BROADCASTS[axes]}
        first = tuple(slice(1) if axis in where else slice(None) for axis in range(value.ndim))
        return np.broadcast_to(value[first], value.shape)

    problem = build(full_case(kind, size), "float32")
    assert 0 in first_everywhere(problem.x).strides
    assert_layout_does_not_matter(problem, first_everywhere)


@every_kind
def test_windows_over_a_series_may_overlap(kind):
    problem = build(full_case(kind, B=1, bidirectional=False, lengths=False), "float32")
    alone = unbatched(replace(problem, call=problem.call | {"lengths": [7]}))
    series = np.random.default_rng(4).normal(size=7 + 9 - 1).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(series, 9)
    assert windows.strides == (4, 4)
    assert_same_bits(run_all(replace(alone, x=windows)), run_all(replace(alone, x=windows.copy())))


@every_kind
def test_one_array_may_be_given_twice(kind):
    problem = build(full_case(kind, H=9, bidirectional=False, projection=False), "float32")
    shared = replace(problem, dy=problem.x, dstate=problem.call["state"])
    apart = replace(problem, dy=problem.x.copy(), dstate=tuple(part.copy() for part in parts_of(shared.dstate)))
    if kind.startswith("lstm"):
        h = problem.dstate[0]
        shared = replace(shared, call=problem.call | {"state": (h, h)}, dstate=(h, h))
        apart = replace(apart, call=problem.call | {"state": (h.copy(), h.copy())}, dstate=(h.copy(), h.copy()))
    else:
        apart = replace(apart, dstate=apart.dstate[0])
    assert_same_bits(run_all(shared), run_all(apart))


@every_kind
def test_input_may_lie_in_a_file(kind, tmp_path):
    problem = build(full_case(kind), "float32")

    def in_a_file(value: np.ndarray) -> np.ndarray:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, value)
        return np.load(path, mmap_mode="r")

    found = run_all(reform(problem, in_a_file))
    assert_same_bits(found, run_all(problem))
    assert {type(value) for value in found.values()} == {np.ndarray}


@every_kind
def test_a_true_of_any_byte_is_true(kind):
    problem = build(full_case(kind), "float32")
    reset = problem.call["reset"]
    others = np.where(reset, np.random.default_rng(1).integers(2, 256, reset.shape), 0).astype(np.uint8).view(bool)
    other = replace(problem, call=problem.call | {"reset": others})
    assert_same_bits(run_all(other), run_all(problem))


# ---- inputs stay, results are new ------------------------------------------------------------------------------------


AXES = {"time-major": {}, "batch-first": {"batch_first": True}}


def unbatched(problem: Problem) -> Problem:
    """The problem of one row without its axis."""
    squeezed = reform(problem, lambda value: value[:, 0], ("x", "state", "reset", "dy", "dstate"))
    return replace(squeezed, call=squeezed.call | {"lengths": problem.call["lengths"]})


def problem_in(kind: str, axes: str, dtype: str = "float32") -> Problem:
    if axes == "unbatched":
        problem = unbatched(build(full_case(kind, B=1, lengths=False), dtype))
        return replace(problem, call=problem.call | {"lengths": np.array([5])})
    return build(full_case(kind, batch_first=axes == "batch-first"), dtype)


every_axes = pytest.mark.parametrize("axes", ["time-major", "batch-first", "unbatched"])


@every_axes
@every_dtype
@every_kind
def test_inputs_and_weights_are_never_changed(kind, dtype, axes):
    problem = problem_in(kind, axes, dtype)
    given = arrays_of(problem) | problem.layer.parameters()
    before = {name: value.copy() for name, value in given.items()}
    run_all(problem)
    assert_same_bits(given, before)


@every_axes
@every_dtype
@every_kind
def test_results_are_contiguous_and_share_no_memory(kind, dtype, axes):
    problem = problem_in(kind, axes, dtype)
    results = run_all(problem)
    given = list((arrays_of(problem) | problem.layer.parameters()).values())
    for name, value in results.items():
        assert type(value) is np.ndarray and value.dtype == dtype, name
        assert value.flags.c_contiguous and value.flags.aligned and value.flags.writeable, name
        # A view of a new array of the same size owns as much; memory that is used again has an owner for each array.
        assert not isinstance(value.base, np.ndarray) or value.base.nbytes == value.nbytes, name
        others = given + [other for key, other in results.items() if key != name]
        assert not any(np.shares_memory(value, other) for other in others), name


@pytest.mark.parametrize("T", [0, 1])
@every_kind
def test_a_state_that_comes_back_unchanged_is_a_copy(kind, T):
    problem = build(full_case(kind, T=T, lengths=False), "float32")
    problem = replace(problem, call=problem.call | {"lengths": [0] * problem.case.B})
    results, given = run_all(problem), list(arrays_of(problem).values())
    for k, part in enumerate(parts_of(problem.call["state"])):
        assert results[f"state[{k}]"].tobytes() == part.tobytes()
        assert results[f"inferred state[{k}]"].tobytes() == part.tobytes()
    for name, value in results.items():
        assert not any(np.shares_memory(value, other) for other in given), name


@every_axes
@every_kind
def test_a_second_call_leaves_the_results_of_the_first(kind, axes):
    problem = problem_in(kind, axes)
    first = run_all(problem)
    before = {name: value.copy() for name, value in first.items()}
    other = reform(problem, lambda value: -value, ("x", "state", "dy", "dstate"))
    second = run_all(other)
    assert second["y"].tobytes() != before["y"].tobytes()
    assert_same_bits(first, before)
    assert_same_bits(run_all(problem), before)


@every_axes
@every_kind
def test_results_may_be_overwritten_before_backward(kind, axes):
    problem = problem_in(kind, axes)
    expected = run(problem)
    y, state, saved = problem.layer.forward(problem.x, **problem.call)
    for value in (y, *parts_of(state)):
        value.fill(np.nan)
    dx, dstate0, grads = problem.layer.backward(saved, problem.dy, problem.dstate, retain=True)
    for value in (dx, *parts_of(dstate0), *grads.values()):
        value.fill(np.nan)
    again = problem.layer.backward(saved, problem.dy, problem.dstate)
    found = {name: value for name, value in named(y, state, *again).items() if name in expected}
    skip = ("y", "state")
    only = lambda results: {name: v for name, v in results.items() if name.split("[")[0] not in skip}  # noqa: E731
    assert_same_bits(only(found), only(expected))


@every_kind
def test_a_result_may_be_the_next_input(kind):
    problem = build(full_case(kind, I=2 * (9 if KINDS[kind].get("projection") else 19)), "float32")
    y, state = problem.layer(problem.x, **problem.call)
    chained = replace(problem, x=y, call=problem.call | {"state": state}, dy=y, dstate=state)
    copied = reform(chained, np.copy)
    assert_same_bits(run_all(chained), run_all(copied))
    assert_same_bits(arrays_of(chained), arrays_of(copied))


# ---- NaN where nothing may be read -----------------------------------------------------------------------------------


def padding_of(problem: Problem) -> np.ndarray:
    """True beyond the rows' lengths, in the axes of x."""
    steps = np.arange(problem.case.T)
    lengths = np.asarray(problem.call["lengths"])
    return steps >= lengths[:, None] if problem.case.batch_first else steps[:, None] >= lengths


def fill(value: np.ndarray, where: Any, filler: float) -> np.ndarray:
    value = value.copy()
    value[where] = filler
    return value


@pytest.mark.parametrize("filler", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("axes", AXES)
@every_size
@every_kind
def test_padding_is_never_read(kind, size, axes, filler):
    problem = build(full_case(kind, size, **AXES[axes]), "float32")
    padding = padding_of(problem)
    assert padding.any()

    def padded(value: float) -> Problem:
        return replace(problem, x=fill(problem.x, padding, value), dy=fill(problem.dy, padding, value))

    results = run_all(padded(filler))
    assert_same_bits(results, run_all(padded(0)))
    for name in ("y", "dx", "inferred y"):
        assert not results[name][padding].any(), name
        assert not np.signbit(results[name][padding]).any(), name


@every_kind
def test_padding_is_never_read_in_float64(kind):
    problem = build(full_case(kind))
    padding = padding_of(problem)
    other = replace(problem, x=fill(problem.x, padding, np.nan), dy=fill(problem.dy, padding, np.nan))
    assert_same_bits(run_all(other), run_all(problem))


@pytest.mark.parametrize("filler", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["x", "state", "dy", "dstate"])
@every_size
@every_kind
def test_nan_in_one_row_stays_in_it(kind, size, name, filler):
    problem = build(full_case(kind, size, lengths=False, reset=False), "float32")
    row = problem.case.B // 2
    where = (2, row) if name in ("x", "dy") else (slice(None), row)
    broken = reform(problem, lambda value: fill(value, where, filler), (name,))
    clean, found = run_all(problem), run_all(broken)
    of_rows = [key for key in clean if key not in problem.layer.parameters()]
    others = np.arange(problem.case.B) != row
    take = lambda results: {key: results[key][:, others] for key in of_rows}  # noqa: E731
    assert_same_bits(take(found), take(clean))
    if np.isnan(filler):
        hit = {"x": "y", "state": "y", "dy": "dx", "dstate": "dx"}[name]
        assert np.isnan(found[hit][:, row]).any()


@every_dtype
@every_kind
def test_nan_shows_in_every_cell(kind, dtype):
    problem = build(case_of(kind), dtype)
    y, state = problem.layer(fill(problem.x, (3, 1, 0), np.nan), problem.call["state"])
    assert np.isnan(y[3:, 1]).all()
    assert np.isfinite(y[:3]).all() and np.isfinite(y[:, 0]).all()
    for part in parts_of(state):
        assert np.isnan(part[:, 1]).all()


@every_dtype
@every_kind
def test_nan_of_a_row_without_steps_reaches_no_gradient(kind, dtype):
    problem = build(full_case(kind), dtype)
    empty = problem.call["lengths"] == 0
    assert empty.any()
    floats = ("x", "state", "dy", "dstate")
    broken = reform(problem, lambda value: fill(value, (slice(None), empty), np.nan), floats)
    clean, found = run_all(problem), run_all(broken)
    for name, value in found.items():
        if name.startswith(("state", "dstate0", "inferred state")):
            assert np.isnan(value[:, empty]).all(), name
            assert value[:, ~empty].tobytes() == clean[name][:, ~empty].tobytes(), name
        else:
            assert value.tobytes() == clean[name].tobytes(), name


@every_dtype
@every_kind
def test_a_reset_of_the_first_step_never_reads_the_initial_state(kind, dtype):
    problem = build(full_case(kind, bidirectional=False, lengths=False), dtype)
    problem.call["reset"][0, ::2] = True
    cut = problem.call["reset"][0]
    broken = reform(problem, lambda value: fill(value, (slice(None), cut), np.nan), ("state",))
    results = run_all(broken)
    assert_same_bits(results, run_all(problem))
    for name, value in results.items():
        if name.startswith("dstate0"):
            assert not value[:, cut].any(), name


@pytest.mark.parametrize("bidirectional", [False, True])
@every_dtype
@every_kind
def test_nan_stays_in_its_segment(kind, dtype, bidirectional):
    problem = build(full_case(kind, bidirectional=bidirectional, lengths=False, T=9), dtype)
    problem.call["reset"][:] = False
    problem.call["reset"][3] = problem.call["reset"][6] = True
    clean, outside = run_all(problem), np.r_[0:3, 6:9]
    for name in ("x", "dy"):
        found = run_all(reform(problem, lambda value: fill(value, (4, 1), np.nan), (name,)))
        hit = {"x": "y", "dy": "dx"}[name]
        assert np.isnan(found[hit][3:6, 1]).any()
        for key in ("y", "dx", "inferred y"):
            assert found[key][outside].tobytes() == clean[key][outside].tobytes(), key
        for key in clean:
            if key.startswith(("state", "dstate0", "inferred state")):
                assert found[key].tobytes() == clean[key].tobytes(), key


# ---- inference keeps nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@every_dtype
@every_kind
def test_inference_gives_the_bits_of_forward(kind, dtype, size):
    results = run_all(build(full_case(kind, size), dtype))
    for name, value in results.items():
        if name.startswith("inferred "):
            assert value.tobytes() == results[name.removeprefix("inferred ")].tobytes(), name


def traced(call: Callable[[], Any]) -> tuple[Any, int, int]:
    """What a call returns, and the bytes of arrays: at most while it ran, and left when it returned."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = call()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, peak - before, after - before


SLACK = 50_000  # bytes of Python's own


@pytest.mark.parametrize("bidirectional", [False, True])
@every_kind
def test_arrays_of_inference_are_its_results(kind, bidirectional):
    problem = build(case_of(kind, T=2000, B=8, bidirectional=bidirectional), "float32")
    layer, x = problem.layer, problem.x
    layer(x)
    (y, state), peak, left = traced(lambda: layer(x))
    size = y.nbytes + sum(part.nbytes for part in parts_of(state))
    assert size <= peak < size + SLACK
    assert left < size + SLACK


@every_kind
@pytest.mark.parametrize(("threads", "together"), [(1, 1), (2, 1), (3, 3)])
def test_arrays_of_inference_through_many_layers_are_those_of_two_and_of_what_goes_along(kind, threads, together):
    problem = build(case_of(kind, T=2000, B=8, num_layers=5), "float32")
    layer, x = problem.layer, problem.x
    before = fr.get_num_threads()
    fr.set_num_threads(threads)
    try:
        assert ("wavefront" in layer.explain(x.shape)) is (together > 1)
        y, _ = layer(x)
        _, peak, left = traced(lambda: layer(x))
    finally:
        fr.set_num_threads(before)
    assert peak < (together + 2) * y.nbytes + SLACK
    assert left < y.nbytes + SLACK


@every_kind
def test_backward_frees_what_forward_kept(kind):
    problem = build(case_of(kind, T=500, num_layers=2), "float32")
    layer = problem.layer

    def step() -> None:
        _, _, saved = layer.forward(problem.x, **problem.call)
        layer.backward(saved, problem.dy, problem.dstate)
        kept.append(saved)

    kept: list[Any] = []
    step()
    _, peak, left = traced(step)
    assert peak > 2 * problem.dy.nbytes
    assert left < SLACK


PEAK = """
import sys
import numpy as np
import fusedrnn as fr

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))

def layer(cell, **more):
    if cell == "gru":
        return fr.GRU(4, 64, **more)
    if cell.startswith("rnn"):
        return fr.RNN(4, 64, nonlinearity=cell.removeprefix("rnn_"), **more)
    return fr.LSTM(4, 64, proj_size=48 if cell == "lstm_projection" else 0, **more)

layer = layer(sys.argv[1], bidirectional=True, seed=0)
x = np.ones((3000, 32, 4), "float32")
layer(x[:100])
before = peak()
y, state = layer(x)
print((peak() - before) / y.nbytes)
"""


def run_script(script: str, *arguments: str, **environment: str) -> str:
    """Run Python in a process of its own, which must end well and in time, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
@every_kind
def test_a_process_grows_by_the_output_of_inference(kind):
    growth = float(run_script(PEAK, kind))
    assert 0.9 < growth < 1.3


# ---- many callers at once --------------------------------------------------------------------------------------------


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Each call may use four threads."""
    before = fr.get_num_threads()
    fr.set_num_threads(4)
    yield
    fr.set_num_threads(before)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """The results of calls that start together, each on a thread of its own."""
    gate = threading.Barrier(len(calls))

    def start(call: Callable[[], Any]) -> Any:
        gate.wait(timeout=30)
        return call()

    with ThreadPoolExecutor(len(calls)) as executor:
        return list(executor.map(start, calls))


@pytest.mark.usefixtures("four_threads")
@every_size
@every_kind
def test_eight_threads_may_infer_with_one_layer(kind, size):
    problems = [build(full_case(kind, size), "float32", seed=seed) for seed in range(8)]
    expected = [infer(problem) for problem in problems]
    layer = build(full_case(kind, size), "float32").layer  # packs nothing before the threads start

    def several(problem: Problem) -> list[Results]:
        return [infer(replace(problem, layer=layer)) for _ in range(3)]

    found = at_once([lambda problem=problem: several(problem) for problem in problems])
    for results, result in zip(found, expected, strict=True):
        for one in results:
            assert_same_bits(one, result)


@pytest.mark.usefixtures("four_threads")
@every_size
@every_kind
def test_four_threads_may_train_with_one_layer(kind, size):
    problems = [build(full_case(kind, size), "float32", seed=seed, dropout=0.5) for seed in range(4)]
    expected = [run(problem) for problem in problems]
    layer = build(full_case(kind, size), "float32", dropout=0.5).layer
    found = at_once([lambda problem=problem: run(replace(problem, layer=layer)) for problem in problems])
    for one, result in zip(found, expected, strict=True):
        assert_same_bits(one, result)


@pytest.mark.usefixtures("four_threads")
def test_threads_may_use_many_layers_at_once():
    problems = [build(full_case(kind, "wide"), dtype) for kind in KINDS for dtype in ("float32", "float64")]
    expected = [run_all(problem) for problem in problems]
    found = at_once([lambda problem=problem: run_all(problem) for problem in problems])
    for one, result in zip(found, expected, strict=True):
        assert_same_bits(one, result)


@pytest.mark.usefixtures("four_threads")
def test_the_number_of_threads_may_change_while_others_compute():
    problem = build(full_case("lstm", "wide"), "float32")
    expected = run_all(problem)

    def change() -> None:
        for n in (1, 3, 2, 5, 4) * 20:
            fr.set_num_threads(n)

    found = at_once([change, *[lambda: run_all(problem)] * 3])
    for one in found[1:]:
        assert_same_bits(one, expected)


@pytest.mark.usefixtures("four_threads")
def test_python_runs_on_while_a_layer_computes():
    problem = build(case_of("lstm", "wide", T=2000), "float32")
    problem.layer(problem.x[:1])
    span: list[float] = []

    def compute() -> None:
        span.append(perf_counter())
        problem.layer(problem.x)
        span.append(perf_counter())

    thread = threading.Thread(target=compute)
    thread.start()
    ticks = []
    while len(span) < 2:
        ticks.append(perf_counter())
        sleep(1e-4)
    thread.join(timeout=30)
    start, end = span
    assert any(start + 0.2 * (end - start) < tick < end - 0.2 * (end - start) for tick in ticks)


# ---- forks -----------------------------------------------------------------------------------------------------------

PROBLEM = """
import multiprocessing, os, sys, threading
import numpy as np
import fusedrnn as fr

generator = np.random.default_rng(0)
layer = fr.LSTM(33, 65, bidirectional=True, seed=0)
x = generator.normal(size=(12, 70, 33)).astype("float32")
dy = generator.normal(size=(12, 70, 130)).astype("float32")

def compute(_=None):
    y, state, saved = layer.forward(x)
    dx, dstate, grads = layer.backward(saved, dy)
    inferred, _ = layer(x)
    return b"".join(value.tobytes() for value in (y, *state, dx, *dstate, *grads.values(), inferred))

def fork(work):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 3)
    return child

def ended_well(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

if __name__ == "__main__":
    expected = compute()
"""

FORKS = {
    "one child": """
    assert ended_well(fork(lambda: compute() == expected))
    assert compute() == expected
""",
    "children at once": """
    children = [fork(lambda: compute() == expected) for _ in range(3)]
    assert compute() == expected
    assert all(map(ended_well, children))
""",
    "a child of a child": """
    assert ended_well(fork(lambda: compute() == expected and ended_well(fork(lambda: compute() == expected))))
""",
    "a child that computes nothing": """
    assert ended_well(fork(lambda: True))
    assert compute() == expected
""",
    "a child that ends as Python does": """
    child = os.fork()
    assert compute() == expected
    if child == 0:
        sys.exit(0)
    assert ended_well(child)
""",
    "a child that uses fewer threads": """
    def alone():
        fr.set_num_threads(1)
        return compute() == expected
    assert ended_well(fork(alone))
    assert fr.get_num_threads() == 4
""",
    "while another thread computes": """
    stop = threading.Event()
    def loop():
        while not stop.is_set():
            assert compute() == expected
    thread = threading.Thread(target=loop)
    thread.start()
    children = [fork(lambda: compute() == expected) for _ in range(4)]
    good = all(map(ended_well, children))
    stop.set()
    thread.join()
    assert good
""",
    "a pool of processes": """
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(compute, range(4)) == [expected] * 4
    assert compute() == expected
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("what", FORKS)
def test_forked_children_compute_the_same_bits(what):
    run_script(PROBLEM + FORKS[what], FUSEDRNN_NUM_THREADS="4")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_child_may_be_the_first_to_compute():
    script = PROBLEM.replace("expected = compute()", "assert ended_well(fork(lambda: compute() == compute()))")
    run_script(script, FUSEDRNN_NUM_THREADS="4")


def test_a_process_ends_while_threads_of_the_pool_sleep_or_spin():
    run_script(PROBLEM, FUSEDRNN_NUM_THREADS="4")
    run_script(PROBLEM + "    import time; time.sleep(0.05)", FUSEDRNN_NUM_THREADS="4")


# ---- the floating point mode of the caller ---------------------------------------------------------------------------

STATUS, FLUSH_AND_ZERO = 0x3F, 0x8040  # of x86's MXCSR: flags that arithmetic sets; denormal results and inputs are 0

on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or platform.libc_ver()[0] != "glibc",
    reason="the mode is read through glibc on x86",
)


class Environment(ctypes.Structure):
    """fenv_t of glibc on x86-64."""

    _fields_ = (("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32))


def floating_point_mode(new: int | None = None) -> int:
    """The control bits of MXCSR; with an argument, set them."""
    library, environment = ctypes.CDLL("libm.so.6"), Environment()
    assert library.fegetenv(ctypes.byref(environment)) == 0
    if new is not None:
        environment.mxcsr = environment.mxcsr & STATUS | new
        assert library.fesetenv(ctypes.byref(environment)) == 0
    return environment.mxcsr & ~STATUS


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    before = floating_point_mode()
    floating_point_mode(before | FLUSH_AND_ZERO)
    try:
        assert np.float32(1e-40) * np.float32(1) == 0
        yield
    finally:
        floating_point_mode(before)


def tiny(kind: str, what: str, size: str, **more: Any) -> Problem:
    """A problem with denormal weights, denormal inputs or gradients, or a product that gets denormal."""
    problem = build(full_case(kind, size, **more), "float32")
    shrink = lambda value: (value * 1e-39).astype("float32")  # noqa: E731
    if what == "weights":
        with problem.layer.writable() as parameters:
            for value in parameters.values():
                value[...] = shrink(value)
    elif what == "products":
        problem = reform(problem, lambda value: (value * 1e-19).astype("float32"), ("x", "state", "dy", "dstate"))
        with problem.layer.writable() as parameters:
            for value in parameters.values():
                value[...] = value * 1e-19
    else:
        problem = reform(problem, shrink, tuple(what.split("-")))
    return problem


every_denormal = pytest.mark.parametrize("what", ["weights", "x-state", "dy-dstate", "x-state-dy-dstate", "products"])


@on_x86
@every_denormal
@every_size
@every_kind
def test_results_do_not_depend_on_the_mode_of_the_caller(kind, size, what):
    problem = tiny(kind, what, size)
    expected = run_all(problem)
    with denormals_are_zero():
        found = run_all(problem)
    assert_same_bits(found, expected)


@pytest.mark.usefixtures("four_threads")
@every_denormal
@every_kind
def test_denormal_numbers_give_the_same_bits_on_any_number_of_threads(kind, what):
    problem = tiny(kind, what, "wide")
    expected = run_all(problem)
    fr.set_num_threads(1)
    assert_same_bits(run_all(problem), expected)


@pytest.mark.usefixtures("four_threads")
@every_size
@every_kind
def test_denormal_numbers_of_the_caller_live_on_after_a_call(kind, size):
    problem = tiny(kind, "x-state", size)
    for call in (infer, run):
        call(problem)
        assert np.float32(1e-40) * np.float32(1) != 0
        assert np.float32(1e-30) * np.float32(1e-10) != 0
        assert np.float64(1e-310) * np.float64(1) != 0


@on_x86
@pytest.mark.usefixtures("four_threads")
@every_size
@every_kind
def test_a_call_leaves_the_mode_of_the_caller(kind, size):
    problem = build(full_case(kind, size), "float32")
    before = floating_point_mode()
    for call in (infer, run):
        call(problem)
        assert floating_point_mode() == before
    with denormals_are_zero():
        for call in (infer, run):
            call(problem)
            assert floating_point_mode() == before | FLUSH_AND_ZERO
    assert floating_point_mode() == before


@on_x86
@pytest.mark.usefixtures("four_threads")
def test_calls_of_many_threads_leave_the_mode_of_each():
    problem = build(full_case("lstm", "wide"), "float32")

    def modes() -> tuple[int, int]:
        before = floating_point_mode()
        infer(problem)
        return before, floating_point_mode()

    for before, after in at_once([modes] * 8):
        assert before == after


@every_kind
def test_a_call_raises_no_flag_of_numpy(kind):
    """Overflow and NaN within the kernels are no business of the caller's errstate."""
    problem = build(full_case(kind, bidirectional=False), "float32")
    for filler in (np.inf, np.nan, 3e38, 1e-40):
        with np.errstate(all="raise"):
            run_all(replace(problem, x=fill(problem.x, (2, 1), filler), dy=fill(problem.dy, (2, 1), filler)))
