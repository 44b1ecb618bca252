"""The bench: its NumPy baseline, its workers, its timing, its tables. What it measures is not a matter of tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusedrnn.bench import cases, checking, command, comparing, main, numpy_baseline, peers, report, timing, worker
from fusedrnn.bench.cases import CASES, CELLS, Case, Workload, make_problem
from fusedrnn.bench.process import WorkerError, WorkerProcess
from fusedrnn.bench.results import Outcome, Row, summarise_ratios

from fusedrnn import reference

SMALL = Case("small", 4, 3, 5, 7)
SIZES = [(1, 1, 1, 1), (5, 3, 2, 17), (7, 4, 6, 3), (3, 1, 30, 8)]
ROUNDING = {"float64": 1e-13, "float32": 5e-6}


def largest_error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def random_problem(cell: str, sizes: tuple[int, int, int, int], dtype: str) -> dict[str, Any]:
    """A problem with a random state and a random cotangent for each output; states are tuples of (B, H)."""
    problem = make_problem(Workload(Case("random", *sizes), cell, "training", dtype))
    generator = np.random.default_rng(sizes)
    count = 2 if cell == "lstm" else 1
    state, dstate = (
        tuple(generator.standard_normal((sizes[1], sizes[3])).astype(dtype) for _ in range(count)) for _ in range(2)
    )
    return {"x": problem.x, "dy": problem.dy, "weights": problem.weights, "state": state, "dstate": dstate}


def run_baseline(cell: str, problem: dict[str, Any]) -> dict[str, np.ndarray]:
    state, dstate = (problem[name] if cell == "lstm" else problem[name][0] for name in ("state", "dstate"))
    y, last, saved = numpy_baseline.FORWARD[cell](problem["x"], problem["weights"], state)
    dx, dstate0, grads = numpy_baseline.BACKWARD[cell](saved, problem["dy"], dstate)
    last, dstate0 = (value if cell == "lstm" else (value,) for value in (last, dstate0))
    named = {"y": y, "dx": dx, **grads}
    named |= {f"state{k}": value for k, value in enumerate(last)}
    return named | {f"dstate{k}": value for k, value in enumerate(dstate0)}


# The baseline


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_baseline_equals_torch(cell: str, sizes: tuple[int, int, int, int], dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    problem = random_problem(cell, sizes, dtype)
    layer = getattr(torch.nn, cell.upper())(sizes[2], sizes[3], dtype=getattr(torch, dtype))
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in problem["weights"].items()})
    x, *state = (torch.from_numpy(value).requires_grad_() for value in (problem["x"], *(problem["state"])))
    y, last = layer(x, tuple(s[None] for s in state) if cell == "lstm" else state[0][None])
    last = last if cell == "lstm" else (last,)
    cotangents = [torch.from_numpy(value) for value in (problem["dy"], *(d[None] for d in problem["dstate"]))]
    names = ["dx", *(f"dstate{k}" for k in range(len(state))), *problem["weights"]]
    leaves = [x, *state, *(layer.get_parameter(name) for name in problem["weights"])]
    expected = dict(zip(names, torch.autograd.grad([y, *last], leaves, cotangents), strict=True))
    expected |= {"y": y} | {f"state{k}": value[0] for k, value in enumerate(last)}

    got = run_baseline(cell, problem)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == dtype
        assert largest_error(got[name], value.detach().numpy()) < ROUNDING[dtype], name


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_baseline_equals_the_oracle(cell: str, sizes: tuple[int, int, int, int]) -> None:
    problem = random_problem(cell, sizes, "float64")
    state, dstate = (tuple(s[None] for s in problem[name]) for name in ("state", "dstate"))
    y, last, saved = reference.forward(
        "rnn_tanh" if cell == "rnn" else cell,
        problem["weights"],
        problem["x"],
        state if cell == "lstm" else state[0],
        num_layers=1,
    )
    dx, dstate0, grads = reference.backward(saved, problem["dy"], dstate if cell == "lstm" else dstate[0])
    expected = {"y": y, "dx": dx, **grads}
    for name, values in (("state", last), ("dstate", dstate0)):
        expected |= {f"{name}{k}": value[0] for k, value in enumerate(values if cell == "lstm" else (values,))}

    got = run_baseline(cell, problem)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert largest_error(got[name], value) < ROUNDING["float64"], name


@pytest.mark.parametrize("cell", CELLS)
def test_baseline_without_a_state_starts_from_zeros(cell: str) -> None:
    problem = random_problem(cell, (5, 3, 2, 4), "float64")
    zeros = np.zeros((3, 4))
    forward = numpy_baseline.FORWARD[cell]
    y, _, _ = forward(problem["x"], problem["weights"])
    same, _, _ = forward(problem["x"], problem["weights"], (zeros, zeros) if cell == "lstm" else zeros)
    assert np.array_equal(y, same)


@pytest.mark.parametrize("cell", CELLS)
def test_baseline_changes_none_of_its_inputs(cell: str) -> None:
    problem = random_problem(cell, (5, 3, 2, 4), "float32")
    arrays = [problem["x"], problem["dy"], *problem["weights"].values(), *problem["state"], *problem["dstate"]]
    before = [value.copy() for value in arrays]
    run_baseline(cell, problem)
    assert all(np.array_equal(old, new) for old, new in zip(before, arrays, strict=True))


# The cases


def test_problems_are_pure_functions_of_their_workloads() -> None:
    workload = Workload(SMALL, "gru", "training")
    one, two = make_problem(workload), make_problem(Workload.from_dict(json.loads(json.dumps(workload.as_dict()))))
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.weights["bias_hh_l0"], two.weights["bias_hh_l0"])
    assert not np.array_equal(one.x, make_problem(Workload(SMALL, "gru", "training", seed=1)).x)


def test_flops_count_the_products() -> None:
    # T*B rows of a product with (G*H, I) and one with (G*H, H), two operations for each weight
    assert Workload(SMALL, "lstm", "inference").flops == 2 * 12 * (28 * 5 + 28 * 7)
    assert Workload(SMALL, "gru", "training").flops == 3 * 2 * 12 * (21 * 5 + 21 * 7)


# Workers


@pytest.mark.parametrize("name", [peers.OURS, *peers.PEERS])
def test_libraries_answer_alike(name: str, tmp_path: Path) -> None:
    peer = peers.PEERS.get(name)
    if peer and peer.missing:
        pytest.skip(f"{', '.join(peer.missing)} not installed: {peer.install}")
    path = tmp_path / "answer.npz"
    with WorkerProcess(name, timeout_s=120) as process:
        assert process.request("hello")["versions"][name]
        for cell in CELLS:
            for mode in cases.MODES:
                for dtype in cases.DTYPES:
                    workload = Workload(SMALL, cell, mode, dtype)
                    reply = process.request("prepare", workload=workload.as_dict())
                    if name == "onnxruntime" and (mode == "training" or dtype == "float64"):
                        assert reply["unsupported"] in ("inference only", "float32 only")
                        continue
                    assert reply["unsupported"] is None
                    process.request("answer", path=str(path))
                    with np.load(path) as answer:
                        error, where = checking.relative_error(answer, checking.truth(make_problem(workload)))
                    assert error < ROUNDING[dtype], (workload.label, dtype, where)
                    assert len(process.request("burst", calls=2, warm_up=1)["nanoseconds"]) == 2


def test_worker_answers_each_line_and_goes_on_after_an_error() -> None:
    workload = Workload(SMALL, "rnn", "inference").as_dict()
    requests = [
        {"request": "burst", "calls": 1, "warm_up": 0},
        {"request": "dance"},
        {"request": "prepare", "workload": workload},
        {"request": "burst", "calls": 3, "warm_up": 0},
    ]
    lines = [*(json.dumps(request) for request in requests), "no json"]
    replies = io.StringIO()
    worker.serve(worker.Worker("numpy", None), io.StringIO("\n".join(lines)), replies)
    early, unknown, prepared, burst, nonsense = map(json.loads, replies.getvalue().splitlines())
    assert early["error"] == "ValueError: worker: a workload must be prepared first"
    assert "got {'request': 'dance'}" in unknown["error"]
    assert prepared["unsupported"] is None
    assert prepared["first_ms"] > 0
    assert len(burst["nanoseconds"]) == 3
    assert min(burst["nanoseconds"]) > 0
    assert nonsense["error"].startswith("JSONDecodeError")


def test_worker_that_cannot_start_says_why() -> None:
    with WorkerProcess("no_such_library") as process, pytest.raises(WorkerError, match=r"ended with code 1: Module.*"):
        process.request("hello")


def test_worker_that_takes_too_long_is_killed_and_starts_anew() -> None:
    with WorkerProcess("numpy", threads=1, timeout_s=2) as process:
        big = Workload(CASES["wide-1024"], "lstm", "inference").as_dict()
        assert process.request("hello")["versions"]["numpy"] == np.__version__
        process.request("prepare", workload={**big, "case": {**big["case"], "steps": 1, "rows": 1}})
        with pytest.raises(WorkerError, match="no answer within 2 s"):
            process.request("burst", calls=10**6, warm_up=0)
        assert process.request("hello")["versions"]["numpy"] == np.__version__
        with pytest.raises(WorkerError, match="must be prepared first"):
            process.request("burst", calls=1, warm_up=0)


# Timing


class FakeWorker:
    """Answers bursts with calls of equal length; fails from a given burst on."""

    def __init__(self, name: str, call_ns: int, log: list[str], fails_at: int = 10**6) -> None:
        self.name, self.call_ns, self.log, self.left = name, call_ns, log, fails_at

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        assert request == "burst"
        self.log.append(f"{self.name} {fields['calls']}")
        self.left -= 1
        if self.left < 0:
            raise WorkerError("gone")
        return {"nanoseconds": [self.call_ns] * fields["calls"]}


def test_bursts_alternate_with_a_pause_before_each() -> None:
    log: list[str] = []
    workers = {"a": FakeWorker("a", 10_000_000, log), "b": FakeWorker("b", 50_000_000, log)}
    found = timing.measure(workers, rounds=3, sleep=lambda seconds: log.append(f"pause {seconds}"))
    assert log[0::2] == [f"pause {timing.PAUSE_S}"] * 8
    assert log[1::2] == ["a 3", "b 3", "a 10", "b 2", "b 2", "a 10", "a 10", "b 2"]
    a, b = found["a"], found["b"]
    assert isinstance(a, timing.Timing)
    assert isinstance(b, timing.Timing)
    assert (a.median_ms, a.calls, a.burst_medians_ms) == (10.0, 30, (10.0, 10.0, 10.0))
    assert (b.median_ms, b.calls, b.spread) == (50.0, 6, 0.0)


@pytest.mark.parametrize("fails_at", [0, 2])
def test_worker_that_fails_is_left_out(fails_at: int) -> None:
    log: list[str] = []
    workers = {"a": FakeWorker("a", 10**8, log, fails_at), "b": FakeWorker("b", 10**8, log)}
    found = timing.measure(workers, rounds=3, sleep=lambda seconds: None)
    assert isinstance(found["a"], WorkerError)
    assert isinstance(found["b"], timing.Timing)
    assert sum(line.startswith("a") for line in log) == fails_at + 1


# Answers


def test_relative_error_finds_what_is_wrong() -> None:
    expected = {"y": np.array([[1.0, -2.0]]), "dx": np.array([4.0])}
    assert checking.relative_error(expected, expected) == (0.0, "y")
    assert checking.relative_error({**expected, "dx": np.array([5.0])}, expected) == (0.25, "dx")
    for broken in (np.array([np.nan]), np.array([4.0, 4.0])):
        assert checking.relative_error({**expected, "dx": broken}, expected) == (np.inf, "dx")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_in_a_wrong_order_are_a_wrong_answer(cell: str) -> None:
    problem = make_problem(Workload(CASES["sine"], cell, "inference"))
    hidden = problem.workload.case.hidden
    swapped = {name: np.roll(value, hidden, axis=0) for name, value in problem.weights.items()}
    y, _, _ = numpy_baseline.FORWARD[cell](problem.x, swapped)
    error, _ = checking.relative_error({"y": y}, checking.truth(problem))
    assert error > 100 * checking.TOLERANCES["float32"]


# Tables


def timed(median_ms: float, error: float = 2e-7) -> Outcome:
    found = timing.Timing(median_ms, 0.9 * median_ms, 1.1 * median_ms, 0.8 * median_ms, 20, (median_ms,))
    return Outcome("timed", error=error, timing=found)


ROWS = [
    Row(
        Workload(CASES["sine"], "lstm", "inference"),
        {"fusedrnn": timed(0.02), "torch": timed(0.16, 3e-6), "jax": timed(0.08), "numpy": timed(0.32)},
    ),
    Row(
        Workload(CASES["ptb-small"], "lstm", "inference"),
        {
            "fusedrnn": timed(2.0),
            "torch": timed(2.0),
            "jax": Outcome("wrong", "relative error of y must be <= 0.0001, got 2.0e-01", 0.2),
            "numpy": timed(4.0),
        },
    ),
    Row(
        Workload(CASES["sine"], "gru", "training"),
        {
            "fusedrnn": timed(1.0),
            "torch": timed(0.5),
            "jax": Outcome("unsupported", "inference only"),
            "numpy": Outcome("failed", "ended with code -9"),
        },
    ),
]
MACHINE = {
    "cpu": "A processor",
    "cores": 2,
    "instruction_set": "avx2",
    "versions": {"python": "3.11", "fusedrnn": "1.0"},
}


def test_ratios() -> None:
    sine, small, gru = ROWS
    assert (sine.best_peer, sine.ratio("jax"), sine.ratio("torch")) == ("jax", 4.0, 8.0)
    assert (small.best_peer, small.ratio("jax")) == ("torch", None)
    assert gru.ratio(gru.best_peer) == 0.5
    assert sine.gflops == pytest.approx(2380800 / 0.02e-3 / 1e9)
    best, jax = summarise_ratios(ROWS), summarise_ratios(ROWS, "jax")
    assert best is not None
    assert jax is not None
    assert best.mean == pytest.approx((4 * 1 * 0.5) ** (1 / 3))
    assert (best.lowest, best.lowest_label, best.count) == (0.5, "gru sine training", 3)
    assert (jax.mean, jax.count) == (pytest.approx(4.0), 1)
    assert summarise_ratios(ROWS, "onnxruntime") is None


def test_row_without_a_peer_or_without_us_has_no_ratio() -> None:
    workload = Workload(SMALL, "rnn", "inference")
    alone = Row(workload, {"fusedrnn": timed(1.0)})
    failed = Row(workload, {"fusedrnn": Outcome("failed", "gone"), "torch": timed(1.0)})
    assert (alone.best_peer, alone.ratio(alone.best_peer)) == (None, None)
    assert (failed.best_peer, failed.ratio("torch"), failed.gflops) == ("torch", None, None)
    assert "failed" in report.times_table([alone, failed], ["torch"])
    assert summarise_ratios([alone, failed]) is None


def test_tables() -> None:
    lines = report.times_table(ROWS, ["torch", "jax", "numpy"]).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[2] == "lstm sine 10,32,1,30 inference 0.0200 20% 119 - 0.1600 0.0800 0.3200 jax 4.00 2e-07 3e-06"
    assert words[3] == "lstm ptb-small 35,20,200,200 inference 2.000 20% 224 - 2.000 wrong 4.000 torch 1.00 2e-07 2e-01"
    assert words[4] == "gru sine 10,32,1,30 training 1.000 20% 5.36 - 0.5000 - failed torch 0.500 2e-07 2e-07"
    assert set(lines[1]) == {"-"}

    means = [" ".join(line.split()) for line in report.means_table(ROWS, ["torch", "jax", "numpy"]).splitlines()]
    assert means[2] == "lstm inference 2 2.00 2.83 4.00 5.66 1.00 lstm ptb-small inference"
    assert means[3] == "gru training 1 0.500 0.500 - - 0.500 gru sine training"
    assert means[4] == "all all 3 1.26 1.59 4.00 5.66 0.500 gru sine training"


def test_text_says_what_was_not_timed_and_why() -> None:
    text = report.text(ROWS, ["torch", "jax", "numpy"], MACHINE, {"onnxruntime": "not installed: pip install it"})
    assert "A processor, 2 cores, instruction set avx2" in text
    for line in (
        "jax: wrong at lstm ptb-small inference: relative error of y must be <= 0.0001, got 2.0e-01",
        "jax: unsupported at gru sine training: inference only",
        "numpy: failed at gru sine training: ended with code -9",
        "onnxruntime: not measured: not installed: pip install it",
    ):
        assert line in text.splitlines()


def test_json_holds_everything() -> None:
    infinite = Row(ROWS[0].workload, {**ROWS[0].outcomes, "jax": Outcome("wrong", "", float("inf"))})
    made = report.as_json([*ROWS, infinite], ["torch", "jax", "numpy"], MACHINE, {}, {"repeat": 7})
    made = json.loads(json.dumps(made, allow_nan=False))
    assert made["machine"] == MACHINE
    assert made["settings"] == {"repeat": 7}
    sine = made["rows"][0]
    assert (sine["cell"], sine["case"]["name"], sine["best_peer"], sine["ratio"]) == ("lstm", "sine", "jax", 4.0)
    assert sine["libraries"]["torch"]["timing"]["median_ms"] == 0.16
    assert made["rows"][1]["libraries"]["jax"]["status"] == "wrong"
    assert made["rows"][3]["libraries"]["jax"]["error"] == "infinite"
    assert [(mean["cell"], mean["mode"]) for mean in made["means"]] == [("lstm", "inference"), ("gru", "training")]
    assert made["means"][1]["best_peer"]["mean"] == pytest.approx(0.5)


# The command


@pytest.mark.parametrize(
    "argv",
    [
        ["--cells", "transformer"],
        ["--cells", ""],
        ["--cases", "sine,cosine"],
        ["--mode", "sleeping"],
        ["--against", "caffe"],
        ["--dtype", "float16"],
        ["--device", "abacus"],
        ["--repeat", "0"],
        ["--repeat", "two"],
        ["--threads", "-1"],
        ["--json", "no/such/folder/bench.json"],
        ["--history", "no/such/folder/history.jsonl"],
        ["--history", "."],
        ["--show", "no/such/file.jsonl"],
        ["--show", "history.jsonl", "--cells", "gru"],
        ["--scaling", "--threads", "1"],
        ["--frobnicate"],
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fusedrnn bench: ")
    assert err.count("\n") == 1


@pytest.fixture
def only_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other peer were installed."""
    monkeypatch.setattr(peers, "find_spec", lambda module: module if module == "numpy" else None)


@pytest.mark.usefixtures("only_numpy")
def test_peers_that_are_named_must_not_all_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", "torch,jax"]) == 2
    assert capsys.readouterr().err == (
        "fusedrnn bench: --against must name a library that is installed, got torch,jax; "
        "to install: pip install torch; pip install jax\n"
    )


@pytest.mark.usefixtures("only_numpy")
def test_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    argv = ["--against", "numpy,jax", "--cases", "sine", "--repeat", "1", "--threads", "1", "--json", str(path)]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert out.count("10,32,1,30") == 6
    assert out.count("forward: 1 thread, chunks of 10 steps") == 6
    assert err.count("\n") == 6
    assert "jax: not measured: not installed: pip install jax" in out
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]
    made = json.loads(path.read_text(encoding="utf-8"))
    assert len(made["rows"]) == 6
    assert made["settings"]["threads"] == 1
    assert all(row["libraries"][name]["status"] == "timed" for row in made["rows"] for name in ("fusedrnn", "numpy"))
    assert all(row["share"] > 0 for row in made["rows"])
    assert {"cpu", "cores", "instruction_set", "commit", "versions"} <= made["machine"].keys()


@pytest.mark.usefixtures("only_numpy")
def test_wrong_answer_of_ours_is_not_timed_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(comparing.TOLERANCES, "float32", 0.0)
    assert main(["--cases", "sine", "--cells", "rnn", "--mode", "inference", "--repeat", "1"]) == 1
    out = capsys.readouterr().out
    assert "fusedrnn: wrong at rnn sine inference: relative error of y must be <= 0, got" in out


@pytest.mark.usefixtures("only_numpy")
def test_stopped_by_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any) -> Row:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "compare", interrupted)
    assert main(["--cases", "sine"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "fusedrnn bench: stopped"
