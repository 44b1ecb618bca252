"""The bench on a GPU: what it times, its floors, tables and files; whole runs on a GPU or on the emulated one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusedrnn.bench import main
from fusedrnn.bench.cases import Workload
from fusedrnn.bench.gpu import arrays, cases, command, comparing, gpu_tests, ours, report, timing
from fusedrnn.bench.gpu.checking import TOLERANCES, OnCpu
from fusedrnn.bench.gpu.floors import floor_of
from fusedrnn.bench.gpu.options import DEFAULT_DTYPES, dtypes_of, parse
from fusedrnn.bench.gpu.results import GpuRow, means, peers_of
from fusedrnn.bench.options import BadInputError
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.results import Outcome
from fusedrnn.bench.timing import summarise

from fusedrnn.backends import cuda

DEVICE = "--device=cuda"
MODES = ("inference", "training")


def workload(name: str, cell: str = "lstm", mode: str = "inference", dtype: str = "float32") -> Workload:
    case = cases.case_named(name)
    assert case is not None
    return Workload(case, cell, mode, dtype)


# ---- what is timed ---------------------------------------------------------------------------------------------------


def all_groups() -> list[list[Workload]]:
    return cases.workloads(["lstm", "gru", "rnn"], DEFAULT_DTYPES, MODES)


def test_the_table_has_every_size_of_the_grid() -> None:
    for cell in ("lstm", "gru", "rnn"):
        sizes = {(g[0].case.hidden, g[0].case.rows, g[0].case.steps) for g in all_groups() if g[0].cell == cell}
        for hidden in (64, 128, 256, 512, 1024, 2048):
            assert {(hidden, rows, steps) for rows in (1, 8, 32, 64, 256) for steps in (100, 1000)} <= sizes


def test_a_case_has_its_modes_together_and_comes_once() -> None:
    groups = all_groups()
    assert all([work.mode for work in group] == list(MODES) for group in groups)
    assert len({(g[0].case, g[0].cell, g[0].dtype) for g in groups}) == len(groups)


def test_the_first_cases_are_of_every_kind() -> None:
    first = [group[0] for group in all_groups()[:80]]
    assert {work.cell for work in first} == {"lstm", "gru", "rnn"}
    assert {work.dtype for work in first} == {"float32", "tf32", "bfloat16", "float16"}
    assert {work.case.steps for work in first} == {100, 1000}
    assert {work.case.ragged for work in first} == {False, True}
    assert {work.case.hidden for work in first} >= {128, 256, 512, 1024, 2048}
    assert {work.case.rows for work in first} >= {1, 32, 64, 256}


def test_names_are_those_of_the_sizes() -> None:
    assert all(cases.case_named(case.name) == case for case in cases.CASES)
    assert [cases.case_named(name) for name in ("", "h1", "h1-b1-t0", "h1-b1-t1-odd")] == [None] * 4


def test_arrays_are_the_same_every_time_and_rows_differ() -> None:
    first, second = (arrays.make_problem(workload("h16-b3-t5-packed", "gru", "training", "float16")) for _ in range(2))
    assert first.x.dtype == first.weights["bias_hh_l0"].dtype == np.float16
    assert np.array_equal(first.x, second.x) and np.array_equal(first.dy, second.dy)
    assert len(np.unique(first.x.reshape(15, 16), axis=0)) == 15
    assert first.valid is not None and not first.dy[~first.valid].any()
    assert np.abs(first.weights["weight_hh_l0"]).max() <= 0.25


def test_arrays_of_tf32_are_those_of_float32() -> None:
    rounded, plain = (arrays.make_problem(workload("h16-b3-t5", dtype=dtype)) for dtype in ("tf32", "float32"))
    assert rounded.x.dtype == np.float32 and np.array_equal(rounded.x, plain.x)
    assert all(np.array_equal(rounded.weights[name], value) for name, value in plain.weights.items())


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (workload("h64-b256-t100", dtype="float16"), "0.25-0.4"),
        (workload("h1024-b64-t1000", dtype="bfloat16"), "1.6-1.9"),
        (workload("h1024-b64-t100", dtype="tf32"), "2.7-3.2"),
        (workload("h512-b1-t100", mode="training", dtype="tf32"), "1.76-2.25"),
        (workload("h64-b256-t100", dtype="tf32"), None),
        (workload("h512-b1-t100", "gru", dtype="tf32"), None),
        (workload("h512-b1-t100"), None),
        (workload("h512-b1-t100", dtype="float64"), None),
        (workload("h512-b1-t100-packed", dtype="tf32"), None),
    ],
)
def test_floors(work: Workload, text: str | None) -> None:
    floor = floor_of(work)
    assert (floor and floor.text) == text


# ---- times -----------------------------------------------------------------------------------------------------------


def test_libraries_take_turns_and_the_order_turns_round() -> None:
    order: list[str] = []

    def times(call: timing.Call, count: int) -> list[int]:
        order.append(call())
        return [50_000_000] * count

    found = timing.measure({"a": lambda: "a", "b": lambda: "b"}, times=times)
    assert "".join(order) == "aabb" + "abbaabbaab"
    assert found["a"].calls == timing.ROUNDS and found["a"].median_ms == 50.0


def test_what_does_not_fit_is_not_timed() -> None:
    with pytest.raises(timing.OutOfTimeError, match=r"5\.0 s of timing do not fit"):
        timing.measure({"a": lambda: None}, 4.9, times=lambda call, count: [10**9] * count, clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("work", "forward", "backward"),
    [
        (workload("h128-b64-t100", dtype="float16"), "small_h", "small_h"),
        (workload("h192-b64-t100"), "small_h", "standard"),
        (workload("h256-b64-t100", "rnn"), "small_h", "small_h"),
        (workload("h512-b64-t100", dtype="float16"), "persistent", "persistent"),
        (workload("h1024-b128-t100", "rnn", dtype="float16"), "standard", "standard"),
        (workload("h512-b64-t100", "gru", dtype="float16"), "standard", "standard"),
        (workload("h512-b1-t100", dtype="float16"), "standard", "standard"),
        (workload("h512-b64-t100", dtype="bfloat16"), "standard", "standard"),
        (workload("h128-b64-t100", dtype="float64"), "standard", "standard"),
        (workload("h128-b64-t100-packed"), "standard", "standard"),
    ],
)
def test_algorithms_of_cudnn(work: Workload, forward: str, backward: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    from fusedrnn.bench.gpu.pytorch import algorithm

    assert tuple(algorithm(work, way, (9, 0), 132) for way in (True, False)) == (forward, backward)


def test_ways_of_pytorch() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    from fusedrnn.bench.gpu.pytorch import ways

    assert ways(workload("h128-b32-t100")) == ("torch", "torch_without_cudnn")
    assert ways(workload("h128-b32-t100", dtype="tf32")) == ("torch",)


@pytest.mark.parametrize(
    ("dtype", "way", "wanted"),
    [
        ("float32", "torch", (True, False, False)),
        ("tf32", "torch", (True, True, True)),
        ("float32", "torch_without_cudnn", (False, False, False)),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_switches_of_pytorch(
    monkeypatch: pytest.MonkeyPatch, mode: str, dtype: str, way: str, wanted: tuple[bool, ...]
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    from fusedrnn.bench.gpu.pytorch import Torch

    cudnn, matmul, forward = torch.backends.cudnn, torch.backends.cuda.matmul, torch.nn.LSTM.forward
    seen = []

    def switches() -> tuple[bool, ...]:
        return cudnn.enabled, cudnn.allow_tf32, matmul.allow_tf32

    def watched(*given: Any) -> Any:
        seen.append(switches())
        return forward(*given)

    monkeypatch.setattr(torch.nn.LSTM, "forward", watched)
    before = switches()
    prepared = Torch("cpu").prepare(arrays.make_problem(workload("h8-b2-t5", mode=mode, dtype=dtype)), way)
    prepared.call()
    assert seen == [wanted] * 2 and switches() == before  # the plan, then the call


# ---- tables ----------------------------------------------------------------------------------------------------------


def row(name: str, mode: str, milliseconds: dict[str, float], **fields: Any) -> GpuRow:
    plan = {OURS: "tier grid, 4 groups", "torch": "cuDNN small_h, backward standard"}
    plan["torch_without_cudnn"] = "without cuDNN"
    timed = {
        library: Outcome("timed", error=2e-6, timing=summarise([[round(1e6 * value)]]), plan=plan[library])
        for library, value in milliseconds.items()
    }
    return GpuRow(workload(name, mode=mode, **fields), timed, checked_by="torch in float64", checked_steps=100)


def test_report_of_fixed_numbers() -> None:
    rows = [
        row("h512-b32-t100", "inference", {OURS: 0.2, "torch": 0.5, "torch_without_cudnn": 0.3}, dtype="tf32"),
        row("h512-b32-t100", "training", {OURS: 1.0, "torch": 0.5}, dtype="tf32"),
    ]
    wrong = Outcome("wrong", "relative error of y must be <= 3e-05, got 1.0e+00", 1.0)
    rows.append(GpuRow(workload("h64-b1-t100", dtype="tf32"), {OURS: wrong, "torch": rows[0].outcomes["torch"]}))
    table = report.times_table(rows).splitlines()
    assert [" ".join(line.split()) for line in (table[0], *table[2:])] == [
        "cell case mode plan fusedrnn error floor cuDNN torch x error torch_without_cudnn x error",
        "lstm h512-b32-t100 inference tier grid 2.00 2e-06 1-1.1 small_h 5.00 2.50 2e-06 3.00 1.50 2e-06",
        "lstm h512-b32-t100 training tier grid 10.0 2e-06 2.2-2.75 small_h 5.00 0.500 2e-06 - - -",
        "lstm h64-b1-t100 inference - wrong 1e+00 - small_h 5.00 - 2e-06 - - -",
    ]
    assert peers_of(rows) == ["torch", "torch_without_cudnn"]
    found = means(rows)
    assert found["lstm", "inference", "tf32", "torch"].mean == pytest.approx(2.5)
    assert found["lstm", "training", "tf32", "torch"].lowest == pytest.approx(0.5)
    left = [report.left_out(workload(name, "gru"), "no time left") for name in ("h64-b1-t100", "h64-b8-t100")]
    text = report.text(rows, {"name": "GPU"}, left, {"summary": "3 passed", "failed": ["a::b"]})
    for part in (
        "name GPU",
        "tests: 3 passed\nfailed: a::b",
        "got 1.0e+00",
        "left out, no time left: gru inference float32: h64-b1-t100 h64-b8-t100",
    ):
        assert part in text
    made = json.loads(json.dumps(report.as_json(rows, {}, left, None, {}, complete=True), allow_nan=False))
    assert made["rows"][0]["libraries"]["torch"]["ratio"] == pytest.approx(2.5)
    assert made["rows"][0]["floor_us_per_step"] == {"low": 1.0, "high": 1.1}
    assert not rows[2].good and made["complete"] is True


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["--cases", "sine"],
        ["--cells", "transformer"],
        ["--dtype", "float8"],
        ["--mode", "sleeping"],
        ["--against", "jax"],
        ["--budget-s", "0"],
        ["--budget-s", "nan"],
        ["--json", "no/such/folder/bench.json"],
        ["--threads", "2"],
        ["--frobnicate"],
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith("fusedrnn bench: ")


def test_bfloat16_without_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusedrnn.bench.gpu.options.find_spec", lambda _: None)
    with pytest.raises(BadInputError, match="pip install ml_dtypes"):
        parse(["--dtype", "bfloat16"])
    assert dtypes_of(parse([])) == ["float32", "tf32", "float16"]


def test_without_a_gpu_there_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda.parts.cache_clear()
    assert main(["--device", "cuda"]) == command.run_all(["--json", "gpu.json"]) == 2
    line = "fusedrnn bench: --device: device must be 'cpu' here, got 'cuda': the module cupy is missing; "
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [line + "pip install 'fusedrnn[cuda13]'"] * 2
    assert not Path("gpu.json").exists()
    cuda.parts.cache_clear()


# ---- the tests that a run begins with --------------------------------------------------------------------------------


def checkout(folder: Path, body: str) -> Path:
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text("")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\n")
    lines = ["import pytest", "@pytest.mark.gpu", "def test_one(): pass", "def test_other(): assert 0"]
    (folder / "tests" / "test_it.py").write_text("\n".join([*lines, "@pytest.mark.gpu", body, ""]))
    return folder


def test_tests_that_pass(tmp_path: Path) -> None:
    tested = gpu_tests.run_tests(checkout(tmp_path, "def test_two(): pass"), 60)
    assert tested.good and tested.summary.startswith("2 passed, 0 failed, 0 skipped") and tested.failed == []


def test_a_test_that_fails_is_named(tmp_path: Path) -> None:
    tested = gpu_tests.run_tests(checkout(tmp_path, "def test_two(): assert 0"), 60)
    assert not tested.good and tested.failed == ["tests.test_it::test_two"] and "assert 0" in tested.tail


def test_tests_that_take_too_long_are_stopped(tmp_path: Path) -> None:
    tested = gpu_tests.run_tests(checkout(tmp_path, "def test_two(): __import__('time').sleep(60)"), 3)
    assert not tested.good and tested.summary == "stopped after 3 s"


def test_the_checkout_is_found_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout(tmp_path, "def test_two(): pass"))
    assert gpu_tests.find_tests() == tmp_path


def test_tests_that_cannot_be_run_say_why(tmp_path: Path) -> None:
    (checkout(tmp_path, "def test_two(): pass") / "pytest.ini").write_text("[pytest]\naddopts = --frobnicate\n")
    tested = gpu_tests.run_tests(tmp_path, 60)
    assert not tested.good and tested.summary.startswith("not run: pytest ended with exit code 4: ")


# ---- whole runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAXIMUM_CALLS", 2)


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_alone(gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    argv = [DEVICE, "--cases", "h8-b2-t5,h6-b3-t4-packed", "--cells", "lstm,gru", "--dtype", "float32,tf32,float16"]
    assert main([*argv, "--json", str(path)]) == 0
    made = json.loads(path.read_text())
    assert made["complete"] and made["left_out"] == [] and len(made["rows"]) == 24
    assert made["facts"]["name"] and "torch is not installed" in made["facts"]["absent"]
    for entry in made["rows"]:
        found = entry["libraries"][OURS]
        assert found["status"] == "timed" and found["us_per_step"] > 0 and "tier" in found["plan"]
        dtype, plan = entry["workload"]["dtype"], found["plan"]
        assert found["error"] <= TOLERANCES[dtype]
        assert plan.count("on tensor cores") == (0 if dtype == "float32" else plan.count("tier solo")), plan
        assert (entry["checked_by"], entry["checked_steps"]) == (
            "fusedrnn on the CPU",
            entry["workload"]["case"]["steps"],
        )
    assert "lstm  h8-b2-t5" in capsys.readouterr().out


@pytest.mark.gpu
def test_one_mode(gpu: Any) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    argv = ["--cases", "h8-b2-t5", "--cells", "lstm", "--dtype", "float32"]
    for mode in MODES:
        assert command.main([*argv, "--mode", mode], peer_device=device_of(gpu)) == 0
    assert command.main([*argv, "--mode", "training,inference"], peer_device=device_of(gpu)) == 0


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_torch_must_be_there_when_it_is_named(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([DEVICE, "--against", "torch"]) == 2
    assert "got torch: torch is not installed" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_beside_torch(gpu: Any, tmp_path: Path, cell: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    pytest.importorskip("ml_dtypes")
    path = tmp_path / "gpu.json"
    argv = ["--cases", "h8-b2-t5,h6-b3-t4-packed", "--cells", cell, "--against", "torch", "--json", str(path)]
    assert command.main([*argv, "--dtype", "float32,tf32,float16,bfloat16,float64"], peer_device=device_of(gpu)) == 0
    made = json.loads(path.read_text())
    assert len(made["rows"]) == 20 and made["means"]
    for entry in made["rows"]:
        assert entry["libraries"].keys() == {OURS, "torch"} and entry["checked_by"] == "torch in float64"
        assert all(found["status"] == "timed" for found in entry["libraries"].values()), entry


def device_of(gpu: Any) -> str:
    """Where PyTorch computes: beside the emulated GPU on the CPU."""
    return "cpu" if gpu.__version__ == "emulated" else "cuda"


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_a_wrong_answer_is_not_timed(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepare = ours.prepare

    def wrong(problem: Any) -> Any:
        prepared = prepare(problem)

        def answer(result: Any) -> dict[str, Any]:
            right = prepared.answer(result)
            return right | ({"dx": right["dx"] * 1.001} if "dx" in right else {})

        return replace(prepared, answer=answer)

    monkeypatch.setattr(ours, "prepare", wrong)
    path = tmp_path / "gpu.json"
    assert main([DEVICE, "--cases", "h8-b2-t5", "--cells", "lstm", "--dtype", "float32", "--json", str(path)]) == 1
    inference, training = (entry["libraries"][OURS] for entry in json.loads(path.read_text())["rows"])
    assert inference["status"] == "timed"
    assert training["status"] == "wrong" and training["timing"] is None
    assert training["note"] == "relative error of dx must be <= 3e-05, got 1.0e-03"


@pytest.mark.gpu
def test_a_wrong_answer_is_seen_by_torch_too(gpu: Any) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is whom we are timed beside")
    from fusedrnn.bench.gpu.pytorch import Torch

    problem = arrays.make_problem(workload("h8-b2-t5", mode="training"))
    judge, prepared = Torch(device_of(gpu)).judge(problem), ours.prepare(problem)
    answer = prepared.answer(prepared.call())
    assert judge.error(answer)[0] < TOLERANCES["float32"]
    error, where = judge.error(answer | {"weight_hh_l0": answer["weight_hh_l0"] * 1.01})
    assert where == "weight_hh_l0" and error == pytest.approx(0.01, rel=1e-3)
    assert judge.error({"y": answer["y"], "dx": answer["dx"]})[0] == np.inf
    assert judge.error(answer | {"y": answer["y"] * np.nan}) == (np.inf, "y")


@pytest.mark.gpu
def test_long_sequences_are_checked_in_part_on_the_cpu(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusedrnn.bench.gpu.checking.CPU_OPERATIONS", 20_000)
    group = [workload("h8-b2-t9", mode=mode) for mode in MODES]
    assert len(OnCpu(arrays.make_problem(group[1])).problem.x) == 3
    assert [(row.good, row.checked_steps) for row in comparing.compare(group, None)] == [(True, 3)] * 2


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_the_file_is_written_after_each_case_and_the_rest_is_named(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, seen = tmp_path / "gpu.json", []

    def compare(group: list[Workload], peer: Any, deadline: float) -> list[GpuRow]:
        if path.exists():
            seen.append(json.loads(path.read_text()))
        return comparing.compare(group, peer, deadline if len(seen) < 2 else 0.0)

    monkeypatch.setattr(command, "compare", compare)
    argv = [DEVICE, "--cases", "h8-b2-t5,h8-b2-t6,h8-b2-t7", "--cells", "rnn", "--dtype", "float32"]
    assert main([*argv, "--json", str(path)]) == 0
    assert [(made["complete"], len(made["rows"])) for made in seen] == [(False, 2), (False, 4)]
    made = json.loads(path.read_text())
    assert made["complete"] and len(made["rows"]) == 4
    assert made["left_out"] == [
        {"kind": f"rnn {mode} float32", "case": "h8-b2-t7", "why": "no time left"} for mode in MODES
    ]


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_an_error_is_reported_and_the_run_goes_on(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = ours.prepare

    def failing(problem: Any) -> Any:
        if problem.workload.cell == "lstm":
            raise RuntimeError("no such kernel")
        return prepare(problem)

    monkeypatch.setattr(ours, "prepare", failing)
    assert main([DEVICE, "--cases", "h8-b2-t5", "--cells", "lstm,gru", "--dtype", "float32"]) == 1
    out = capsys.readouterr().out
    assert "lstm h8-b2-t5 training float32 fusedrnn: RuntimeError: no such kernel" in out
    assert "gru   h8-b2-t5  training   tier" in out


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
def test_a_lost_gpu_ends_the_run_with_what_is_known(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    for name in ("prepare", "wait", "free_memory"):
        monkeypatch.setattr(ours, name, lost)
    path = tmp_path / "gpu.json"
    argv = [DEVICE, "--cases", "h8-b2-t5,h8-b2-t6", "--cells", "rnn", "--dtype", "float32", "--json", str(path)]
    assert main(argv) == 1
    made = json.loads(path.read_text())
    assert [entry["libraries"][OURS]["status"] for entry in made["rows"]] == ["failed"] * 2
    assert {entry["why"] for entry in made["left_out"]} == {"the GPU cannot be used after an error"}
    assert "the GPU cannot be used any more: an illegal memory access" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("body", "code"), [("def test_two(): pass", 0), ("def test_two(): assert 0", 1)])
def test_one_command_tests_and_times(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, code: int
) -> None:
    monkeypatch.chdir(checkout(tmp_path, body))
    argv = ["--cases", "h8-b2-t5", "--cells", "gru", "--dtype", "float32", "--budget-s", "60"]
    assert command.run_all(argv) == code
    made = json.loads((tmp_path / "fusedrnn-gpu.json").read_text())
    assert made["tests"]["good"] == (code == 0) and len(made["rows"]) == 2
