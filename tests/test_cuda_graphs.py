"""Tier step in graphs: the bits that launches one by one give, how much goes into graphs, threads, captured streams."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import CELLS, PROJECTING, Case, build, make_layer, named
from test_cuda_layers import SPACING, over, run

import fusedrnn as fr
from fusedrnn.backends import cuda_products
from fusedrnn.settings import parameter_dtype

pytestmark = pytest.mark.gpu

TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "float16": 4e-3, "bfloat16": 3e-2}  # of the largest entry
STEPS = (1, 31, 32, 33, 70)  # a graph has 32 launches
CASES = [Case(cell, 2, lengths=lengths) for cell in CELLS for lengths in (False, True)]
CASES += [Case(cell, lengths=True, projection=True, B=12, H=20) for cell in PROJECTING]


@pytest.fixture(autouse=True)
def tier_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", "step")
    monkeypatch.delenv("FUSEDRNN_GRAPHS", raising=False)


@pytest.fixture
def emulation(gpu: Any) -> ctypes.CDLL:
    """The functions of tests/emulation/cuda_graphs.cpp."""
    if gpu.__version__ != "emulated":
        pytest.skip("a GPU counts no launches; the emulated one does")
    return ctypes.CDLL(str(sys.modules["fusedrnn._cuda"].__file__))


@contextmanager
def launches(emulation: ctypes.CDLL) -> Iterator[dict[str, int]]:
    """How many launches of steps there were meanwhile: graphs, their nodes, and those one by one."""
    count = lambda name: int(getattr(emulation, f"emulated_{name}_launches")())  # noqa: E731
    before = {name: count(name) for name in ("graph", "node", "direct")}
    made: dict[str, int] = {}
    yield made
    made |= {name: count(name) - number for name, number in before.items()}


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("dtype", ["float32", "float64", *SPACING])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_graphs_give_the_bits_of_launches_one_by_one(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, steps: int
) -> None:
    if dtype in SPACING:
        pytest.importorskip("ml_dtypes")
    case = Case(**vars(case) | {"T": steps})
    problem = build(case, parameter_dtype("test", dtype, [dtype]), device="cuda")
    found = run(gpu, problem)
    monkeypatch.setenv("FUSEDRNN_GRAPHS", "0")
    assert_same_bits(found, run(gpu, problem))


# How many graphs, and launches beside them: forward has one launch a step and product, backward one more.
COUNTS = [
    (Case(T=1), (0, 1), (0, 2)),
    (Case(T=31), (0, 31), (0, 32)),
    (Case(T=32), (1, 0), (1, 1)),
    (Case(T=33), (1, 1), (1, 2)),
    (Case(T=70), (2, 6), (2, 7)),
    (Case(T=15, projection=True), (0, 30), (0, 31)),
    (Case(T=40, projection=True), (2, 16), (2, 17)),
    (Case(T=40, num_layers=2), (2, 16), (2, 18)),  # the launches of each layer by themselves
]


@pytest.mark.parametrize(("case", "forward", "backward"), COUNTS, ids=str)
def test_whole_graphs_are_launched_and_the_rest_goes_by_itself(
    gpu: Any, emulation: ctypes.CDLL, case: Case, forward: tuple[int, int], backward: tuple[int, int]
) -> None:
    problem = build(case, device="cuda")
    with launches(emulation) as made:
        y, _, saved = problem.layer.forward(gpu.asarray(problem.x))
    assert (made["graph"], made["direct"]) == forward
    assert made["node"] == 32 * forward[0]
    with launches(emulation) as made:
        problem.layer.backward(saved, gpu.asarray(np.ones(y.shape)))
    assert (made["graph"], made["direct"]) == backward


def test_graphs_can_be_turned_off(gpu: Any, emulation: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = build(Case(T=70), device="cuda")
    shape = problem.x.shape
    assert "in graphs of 32 launches" in problem.layer.explain(shape)
    assert "in graphs" not in problem.layer.explain((31, *shape[1:]))
    monkeypatch.setenv("FUSEDRNN_GRAPHS", "0")
    assert "in graphs" not in problem.layer.explain(shape)
    with launches(emulation) as made:
        problem.layer(gpu.asarray(problem.x))
    assert made == {"graph": 0, "node": 0, "direct": 70}
    monkeypatch.setenv("FUSEDRNN_GRAPHS", "no")
    with pytest.raises(ValueError, match="FUSEDRNN_GRAPHS must be one of 0, 1, got 'no'"):
        problem.layer(gpu.asarray(problem.x))


def test_a_stepper_launches_its_step(gpu: Any, emulation: ctypes.CDLL) -> None:
    step = make_layer(Case(), "float32", device="cuda").stepper(batch=3)
    with launches(emulation) as made:
        step(gpu.asarray(np.ones((3, 4), "float32")))
    assert made == {"graph": 0, "node": 0, "direct": 1}


def test_no_graph_is_launched_where_the_stream_is_captured(gpu: Any, emulation: ctypes.CDLL) -> None:
    problem = build(Case(T=70), device="cuda")
    expected = run(gpu, problem)
    emulation.emulated_capture(1)
    try:
        with launches(emulation) as made:
            found = run(gpu, problem)
    finally:
        emulation.emulated_capture(0)
    assert made == {"graph": 0, "node": 0, "direct": 70 + 71}
    assert_same_bits(found, expected)


def test_a_graph_that_cannot_be_launched_is_an_error_and_the_next_one_is_whole(
    gpu: Any, emulation: ctypes.CDLL
) -> None:
    problem = build(Case(T=70), device="cuda")
    expected = run(gpu, problem)
    emulation.emulated_refuse_graphs(1)
    try:
        with pytest.raises(RuntimeError, match="fusedrnn: a graph that begins with forward step failed on the GPU"):
            run(gpu, problem)
    finally:
        emulation.emulated_refuse_graphs(0)
    assert_same_bits(run(gpu, problem), expected)


def test_threads_share_the_graphs(gpu: Any) -> None:
    """More threads than a GPU has graphs, each with a layer of its own, and on a GPU with a stream of its own."""
    problems = [build(Case(CELLS[k % len(CELLS)], T=70, H=5 + k), seed=k, device="cuda") for k in range(10)]
    expected = [run(gpu, problem) for problem in problems]

    def again(problem: Any) -> list[dict[str, np.ndarray]]:
        if gpu.__version__ == "emulated":
            return [run(gpu, problem) for _ in range(3)]
        with gpu.cuda.Stream(non_blocking=True):
            return [run(gpu, problem) for _ in range(20)]

    with ThreadPoolExecutor(len(problems)) as pool:
        for results, alone in zip(pool.map(again, problems), expected, strict=True):
            for found in results:
                assert_same_bits(found, alone)


def test_lengths_are_refused_where_the_stream_is_captured(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(Case(), device="cuda")
    x = gpu.asarray(np.ones((5, 3, 4)))
    monkeypatch.setattr(gpu.cuda.Stream, "is_capturing", lambda _: True)
    with pytest.raises(ValueError, match=r"cuda: lengths must be None while .* is captured.*, got .* shape \(3,\)"):
        layer(x, lengths=[5, 1, 3])


def on_host(gpu: Any, y: Any, state: Any) -> dict[str, np.ndarray]:
    return named(gpu.asnumpy(y), over(state, gpu.asnumpy), None, (), {})


@contextmanager
def captured(gpu: Any) -> Iterator[Any]:
    """A stream that is being captured, with memory that nobody else is given; `launch` runs what it has taken."""

    class Captured:
        stream, pool, graph = gpu.cuda.Stream(non_blocking=True), gpu.cuda.MemoryPool(), None

        def launch(self) -> None:
            self.graph.launch(self.stream)
            self.stream.synchronize()

    capture = Captured()
    gpu.cuda.get_current_stream().synchronize()
    with capture.stream, gpu.cuda.using_allocator(capture.pool.malloc):
        capture.stream.begin_capture()
        try:
            yield capture
        finally:
            capture.graph = capture.stream.end_capture()


@pytest.fixture
def real(gpu: Any) -> Any:
    if gpu.__version__ == "emulated":
        pytest.skip("the emulated GPU runs what a captured stream is given instead of keeping it")
    return gpu


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("tier", ["step", "grid"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_call_with_ids_is_captured_and_runs_again(
    real: Any, monkeypatch: pytest.MonkeyPatch, cell: str, tier: str, dtype: str
) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    layer = make_layer(Case(cell, T=70), dtype, device="cuda")
    generator = np.random.default_rng(0)
    first, second = (generator.integers(0, 4, (70, 3)) for _ in range(2))
    ids, reset = real.asarray(first), real.asarray(generator.random((70, 3)) < 0.1)
    expected = [layer(fr.OneHot(real.asarray(part), 4), reset=reset) for part in (first, second)]
    with captured(real) as capture:
        y, state = layer(fr.OneHot(ids, 4), reset=reset)
    others = [real.empty(2**12, "float32") for _ in range(50)]  # what is taken meanwhile is not the graph's
    for part, result in zip((first, second), expected, strict=True):
        ids[...] = real.asarray(part)
        real.cuda.get_current_stream().synchronize()
        for other in others:
            other.fill(np.nan)
        capture.launch()
        found, whole = (on_host(real, *value) for value in ((y, state), result))
        assert_same_bits(found, whole)


@pytest.mark.parametrize("cell", CELLS)
def test_two_steps_of_a_stepper_over_ids_are_captured(real: Any, cell: str) -> None:
    """Two, since h changes places with what it was at every step."""
    layer = make_layer(Case(cell), "float32", device="cuda")
    step, other = layer.stepper(batch=3), layer.stepper(batch=3)
    ids = real.asarray(np.random.default_rng(0).integers(0, 4, (2, 3)))
    y, expected = real.empty((2, 3, 6), "float32"), real.empty((3, 2, 3, 6), "float32")
    for turn in expected:
        for k, out in enumerate(turn):
            other(fr.OneHot(ids[k], 4), out=out)
    with captured(real) as capture:
        for k, out in enumerate(y):
            step(fr.OneHot(ids[k], 4), out=out)
    for turn in expected:
        capture.launch()
        assert real.asnumpy(y).tobytes() == real.asnumpy(turn).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("training", [False, True])
def test_a_call_with_dense_input_is_captured_and_runs_again(real: Any, training: bool, dtype: str) -> None:
    if dtype in SPACING:
        pytest.importorskip("ml_dtypes")
    case = Case(T=70, num_layers=2, bidirectional=True)
    problem = build(case, parameter_dtype("test", dtype, [dtype]), device="cuda")
    first, second = real.asarray(problem.x), real.asarray(problem.x[::-1].copy())
    x, dy = first.copy(), real.asarray(np.ones((70, 3, 12)), problem.layer.dtype)

    def call() -> list[Any]:
        y, _, saved = problem.layer.forward(x)
        return [y, *problem.layer.backward(saved, dy)[2].values()] if training else [y]

    def wide(values: list[Any]) -> list[np.ndarray]:
        return [real.asnumpy(value).astype("float64") for value in values]

    expected = [wide(call())]
    x[...] = second
    expected.append(wide(call()))
    with captured(real) as capture:
        results = call()
    for part, values in zip((first, second), expected, strict=True):
        x[...] = part
        real.cuda.get_current_stream().synchronize()
        capture.launch()
        for found, value in zip(wide(results), values, strict=True):  # cuBLAS may take another kernel than CuPy's call
            np.testing.assert_allclose(found, value, rtol=0, atol=TOLERANCE[dtype] * np.abs(value).max())


@pytest.mark.parametrize("dtype", ["float32", "float64", *SPACING])
@pytest.mark.parametrize("case", [*CASES[:2], Case(num_layers=2, bidirectional=True)], ids=str)
def test_products_go_past_cupy_where_the_stream_is_captured(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str
) -> None:
    """CuPy 14 refuses them there. The emulated stream runs them at once, so their results can be looked at."""
    if gpu.__version__ != "emulated":
        pytest.skip("the tests above capture on a GPU")
    if dtype in SPACING:
        pytest.importorskip("ml_dtypes")
    problem = build(replace(case, lengths=False), parameter_dtype("test", dtype, [dtype]), device="cuda")
    expected = run(gpu, problem)

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")

    def gemm(*arguments: int) -> int:
        emulated_gemm(*(argument or 0 for argument in arguments))  # ctypes gives None for a pointer that is 0
        return 0

    counter, emulated_gemm = gpu.cuda.cublas, gpu.cuda.cublas.gemmEx
    before = counter.products
    library = cuda_products.Library(cuda_products.SetStream(lambda *_: 0), cuda_products.Gemm(gemm))
    monkeypatch.setattr(gpu.cuda.Stream, "is_capturing", lambda _: True)
    monkeypatch.setattr(gpu, "matmul", refuse)
    monkeypatch.setattr(gpu.cuda.cublas, "gemmEx", refuse)
    monkeypatch.setattr(cuda_products, "_library", lambda: library)
    found = run(gpu, problem)
    assert counter.products - before == 4 * case.num_layers * (1 + case.bidirectional)  # gx; dW_ih, dW_hh, dx
    for name, value in expected.items():
        value, other = value.astype("float64"), found[name].astype("float64")
        np.testing.assert_allclose(other, value, rtol=0, atol=TOLERANCE[dtype] * np.abs(value).max())


def test_what_cublas_says_no_to_in_a_captured_stream_is_an_error(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a = gpu.asarray(np.ones((2, 3)))
    library = cuda_products.Library(cuda_products.SetStream(lambda *_: 0), cuda_products.Gemm(lambda *_: 14))
    monkeypatch.setattr(gpu.cuda.Stream, "is_capturing", lambda _: True)
    monkeypatch.setattr(cuda_products, "_library", lambda: library)
    with pytest.raises(RuntimeError, match="cuda: cublasGemmEx must return 0 while .* is captured, got status 14"):
        cuda_products.matrix_product(a, a.T, gpu.asarray(np.ones((2, 2))))
