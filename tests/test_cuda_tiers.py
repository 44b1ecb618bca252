"""What the tiers of the CUDA backend share out: rows among groups and turns, units among blocks, both directions in one
launch, and products that may be rounded to TF32."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from problems import CELLS, Case, build, errors, make_layer, run_reference
from test_cuda_layers import TIERS, run

import fusedrnn as fr
from fusedrnn.backends.cuda_parts import parts

pytestmark = pytest.mark.gpu

RESIDENT = TIERS[1:]


def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The calls of the loops from now on: which, and of how many directions."""
    found: list[tuple[str, int]] = []
    _, module = parts()
    for name in ("forward", "backward"):
        loop = getattr(module, name)

        def counted(*given: Any, name: str = name, loop: Any = loop) -> None:
            found.append((name, len(given[5])))
            loop(*given)

        monkeypatch.setattr(module, name, counted)
    return found


@pytest.mark.parametrize("tier", RESIDENT)
@pytest.mark.parametrize(
    "case",
    [
        Case(T=3, B=130, I=3, H=9, lengths=True, reset=True),  # several turns a group
        Case(cell="gru", T=3, B=130, I=3, H=21, bidirectional=True),
        Case(T=2, B=900, I=2, H=56),  # more rows than have room: groups wait for others to end
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 5e-5)])
def test_many_rows(gpu: Any, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: str, limit: float, tier: str) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    found = errors(run(gpu, build(case, dtype, device="cuda")), run_reference(build(case, dtype)))
    assert max(found.values()) <= limit, found


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_threads_does_not_matter(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, cell: str, tier: str, precision: str
) -> None:
    """On the emulated device they run in an order that is drawn: one that fails to wait finds what is not yet there."""
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    monkeypatch.setenv("FUSEDRNN_EMULATED_MULTIPROCESSORS", "12")
    case = Case(cell=cell, T=5, B=19, I=3, H=44, lengths=True, bidirectional=True)
    problem = build(case, "float32", device="cuda", precision=precision)
    if gpu.__version__ == "emulated" and tier in ("cluster", "grid"):
        assert not re.search(r"of 1 block\b", problem.layer.explain(problem.x.shape, training=True))
    expected = run(gpu, problem)
    monkeypatch.setenv("FUSEDRNN_EMULATED_ORDER", "drawn")
    for _ in range(3):
        found = run(gpu, problem)
        assert all(np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("cell", CELLS)
def test_clusters_of_sixteen(gpu: Any, monkeypatch: pytest.MonkeyPatch, cell: str, dtype: str, limit: float) -> None:
    """The last of their blocks may have no units."""
    monkeypatch.setenv("FUSEDRNN_TIER", "cluster")
    monkeypatch.setenv("FUSEDRNN_EMULATED_MULTIPROCESSORS", "32")
    case = Case(cell=cell, T=4, B=5, I=3, H=150)
    problem = build(case, dtype, device="cuda")
    if gpu.__version__ == "emulated" and dtype == "float64":
        assert "16 blocks with 12 units" in problem.layer.explain(problem.x.shape)
    found = errors(run(gpu, problem), run_reference(build(case, dtype)))
    assert max(found.values()) <= limit, found


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("more", [{}, {"lengths": True, "reset": True}], ids=str)
def test_both_directions_are_one_launch(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], tier: str
) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    problem = build(Case(bidirectional=True, num_layers=2, T=5, **more), device="cuda")
    assert "directions side by side" in problem.layer.explain(problem.x.shape)
    found = launches(monkeypatch)
    run(gpu, problem)
    assert found == [("forward", 2)] * 2 + [("backward", 2)] * 2


def test_directions_must_agree(gpu: Any) -> None:
    _, module = parts()
    with pytest.raises(ValueError, match="forward: directions must be one or two, got 0"):
        module.forward("lstm", "float32", False, 4, 4, [], None, 0)
    layer = make_layer(Case(), "float32", device="cuda")
    arrays = [
        module.ForwardArrays(
            module.Rows(steps, 2, False, False, None, None, None, [], None),
            module.Steps(0, steps, True, 0, steps),
            *(None, (None,) * 4, (), None, (), None, None, ()),
        )
        for steps in (3, 4)
    ]
    with pytest.raises(ValueError, match="forward: directions must agree in rows, lengths and steps"):
        module.forward("lstm", "float32", False, layer.hidden_size, layer.hidden_size, arrays, None, 0)


@pytest.mark.parametrize("hidden", [43, 44])  # of these, tensor cores take 44 in tier step
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])  # relu decides otherwise near zero
def test_tf32_rounds_the_factors_alone(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, cell: str, tier: str, hidden: int
) -> None:
    """Ten bits of mantissa: an error of about 2**-11 a term, where ieee has 2**-24."""
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    case = Case(cell=cell, T=6, B=35, I=37, H=hidden, bidirectional=cell == "lstm")
    exact = run_reference(build(case))
    ieee = errors(run(gpu, build(case, "float32", device="cuda")), exact)
    problem = build(case, "float32", device="cuda", precision="tf32")
    assert ("on tensor cores" in problem.layer.explain(problem.x.shape)) == (tier != "step" or hidden == 44)
    rounded = errors(run(gpu, problem), exact)
    assert max(ieee.values()) <= 2e-5, ieee
    assert 1e-5 <= rounded["y"] <= 2e-3, rounded
    assert max(rounded.values()) <= 2e-2, rounded


def test_tf32_products_are_those_of_cublas(gpu: Any) -> None:
    if gpu.__version__ != "emulated":
        pytest.skip("only the stand-in counts the products")
    counter = sys.modules["cupy.cuda.cublas"]
    before = counter.products
    run(gpu, build(Case(T=3), "float32", device="cuda", precision="tf32"))
    assert counter.products - before == 4  # gx; dW_ih, dW_hh, dx
    run(gpu, build(Case(T=3), "float32", device="cuda"))
    assert counter.products - before == 4


def test_precision_is_checked() -> None:
    with pytest.raises(ValueError, match="GRU: precision must be one of 'ieee', 'tf32', got 'fast'"):
        fr.GRU(2, 3, precision="fast")
    with pytest.raises(ValueError, match="LSTM: precision must be 'ieee' for dtype float64, got 'tf32'"):
        fr.LSTM(2, 3, dtype="float64", precision="tf32")


def test_the_cpu_keeps_all_bits() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    results = [fr.LSTM(3, 4, precision=precision, seed=1)(x)[0] for precision in ("ieee", "tf32")]
    assert np.array_equal(*results)
    assert "precision='tf32'" in repr(fr.LSTM(3, 4, precision="tf32"))
