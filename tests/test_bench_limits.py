"""The bench beside the limits of the machine: peak, memory, lengths, threads; and the history of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusedrnn.bench import (
    checking,
    comparing,
    details,
    history,
    lengths,
    main,
    memory,
    peak,
    peers,
    report,
    scaling,
    worker,
)
from fusedrnn.bench.cases import CASES, CELLS, GATES, MODES, Case, Workload, make_problem
from fusedrnn.bench.memory import MIB, Gauge, Memory
from fusedrnn.bench.peak import Peak, PeakMeter
from fusedrnn.bench.peers import ONE_THREAD, OURS, PADDED
from fusedrnn.bench.process import WorkerError, WorkerProcess
from fusedrnn.bench.results import Outcome, Row, split_by_lengths
from fusedrnn.bench.timing import Timing, measure

from fusedrnn import _core

RAGGED = Case("ragged", 20, 6, 5, 7, ragged=True)
# Lanes that one instruction may multiply: without vector kernels the compiler may still find those of 128 bits.
LANES = {"scalar": 4, "avx2": 8, "avx512": 16}
MOST_GHZ, MOST_UNITS = 7, 4


@pytest.fixture
def thread_setting() -> Any:
    before = _core.num_threads()
    yield
    _core.set_num_threads(before)


# The peak


@pytest.mark.usefixtures("thread_setting")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peak_is_a_figure_that_a_processor_can_have(dtype: str, threads: int) -> None:
    _core.set_num_threads(threads)
    found = _core.peak(np.dtype(dtype), 5.0)
    lanes = LANES[_core.isa()] * 4 // np.dtype(dtype).itemsize
    assert math.isfinite(found)
    assert 0 < found < threads * lanes * 2 * MOST_UNITS * MOST_GHZ  # a loop left out by the compiler gives far more


@pytest.mark.usefixtures("thread_setting")
def test_peak_counts_operations_not_calls() -> None:
    """Whatever the time given, the rate is the same; float32 has twice the lanes of float64, where there are lanes."""
    _core.set_num_threads(1)
    # The best of short ones, which fit between what else the machine does; long ones may have to share it.
    short, double, long = (
        max(_core.peak(np.dtype(dtype), milliseconds) for _ in range(repeats))
        for dtype, milliseconds, repeats in [("float32", 1.0, 20), ("float64", 1.0, 20), ("float32", 40.0, 2)]
    )
    assert short / 8 < long < short * 8  # times forty, if it were a count
    lanes = 1 if _core.isa() == "scalar" else 2
    assert lanes / 1.8 < short / double < lanes * 1.8


@pytest.mark.parametrize("milliseconds", [0.0, -1.0, math.nan, math.inf, 10000.5])
def test_peak_refuses_times_that_are_none(milliseconds: float) -> None:
    with pytest.raises(ValueError, match=r"peak: milliseconds must be in \(0, 10000\], got "):
        _core.peak(np.dtype("float32"), milliseconds)


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "O"])
def test_peak_refuses_other_types(dtype: str) -> None:
    with pytest.raises(TypeError, match="peak: dtype must be float32 or float64, got "):
        _core.peak(np.dtype(dtype), 1.0)


class FakeWorker:
    """Has given answers for `peak`, slow at first, and bursts of equal length."""

    def __init__(self, gflops: list[float], log: list[str]) -> None:
        self.gflops, self.log = gflops, log

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        self.log.append(request)
        if request == "burst":
            return {"nanoseconds": [10**8] * fields["calls"]}
        if not self.gflops:
            raise WorkerError("gone")
        assert fields["pieces"] == peak.WARM_UP_PIECES + peak.PIECES
        return {"gflops": [0.0] * peak.WARM_UP_PIECES + [self.gflops.pop(0)] * peak.PIECES}


def test_peak_takes_its_turn_after_each_round() -> None:
    log: list[str] = []
    fake = FakeWorker([300.0, 100.0, 200.0], log)
    meter = PeakMeter(fake, "float32", sleep=lambda seconds: log.append("pause"))
    assert meter.peak is None
    measure({"a": fake}, rounds=3, sleep=lambda seconds: log.append("pause"), after_round=meter.take)
    assert log[:2] == ["pause", "burst"]  # which tells how long a call is
    assert log[2:] == ["pause", "burst", "pause", "peak"] * 3
    assert meter.peak == Peak((300.0, 100.0, 200.0))
    assert (meter.peak.gflops, meter.failure) == (200.0, "")
    for _ in range(2):
        meter.take()
    assert (meter.failure, log[-2:], meter.peak.gflops) == ("gone", ["pause", "peak"], 200.0)


# Memory


def test_gauge_sees_what_is_freed_again_and_not_what_was_before() -> None:
    gauge = Gauge()
    if gauge.read().method != "VmHWM":
        pytest.skip("the system does not let the highest figure be set back")
    block = np.ones(64 * MIB, dtype=np.uint8)
    del block
    first = gauge.read()
    assert 60 * MIB < first.growth < 100 * MIB
    later = Gauge()
    assert later.read().growth < 30 * MIB
    block = np.ones(64 * MIB, dtype=np.uint8)
    del block
    later.leave_out()
    assert later.read().growth < 30 * MIB
    assert gauge.read().growth >= first.growth


def test_gauge_without_a_system_that_can_set_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "FORGET", tmp_path / "no" / "such" / "file")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "nothing")
    gauge = Gauge()
    block = np.ones(8 * MIB, dtype=np.uint8)
    found = gauge.read()
    assert found.method == "ru_maxrss"
    assert 0 <= found.growth < found.peak
    assert len(block) < found.peak
    assert "a lower bound" in details.legend([Row(Workload(RAGGED, "rnn", "inference"), {OURS: timed(1.0, found)})])


def test_worker_tells_what_it_took() -> None:
    with WorkerProcess("numpy", threads=1) as process:
        with pytest.raises(WorkerError, match="memory of what was made ready"):
            process.request("memory")
        with pytest.raises(WorkerError, match="peak of fusedrnn"):
            process.request("peak", dtype="float32", milliseconds=1.0, pieces=1)
        case = Case("big", 8, 500, 2, 1000)  # y and the states are 16 MB each
        process.request("prepare", workload=Workload(case, "rnn", "inference").as_dict())
        found = comparing.read_memory(process)
    assert found.peak > 30 * MIB
    assert found.method == "ru_maxrss" or 15 * MIB < found.growth < found.peak


def test_renewed_worker_is_another_process_only_where_it_was_used() -> None:
    with WorkerProcess("numpy", threads=1) as process:
        process.renew()
        process.request("hello")
        first = process._process
        process.renew()
        assert process._process is first
        process.request("prepare", workload=Workload(RAGGED, "rnn", "inference").as_dict())
        process.renew()
        assert process._process is not None
        assert process._process is not first
        assert process.request("hello")


# Lengths


def test_lengths_are_drawn_once_for_all() -> None:
    drawn = [Workload(RAGGED, cell, mode).lengths for cell in CELLS for mode in MODES]
    assert all(np.array_equal(one, drawn[0]) for one in drawn)
    [wide] = [case for case in CASES.values() if case.ragged and case.hidden == 512]
    drawn_wide = Workload(wide, "lstm", "inference").lengths
    assert drawn_wide is not None
    assert drawn_wide.shape == (64,)
    assert (drawn_wide.min() >= 5, drawn_wide.max() <= 50) == (True, True)
    assert 0.45 < drawn_wide.mean() / 50 < 0.65
    assert Workload(CASES["sine"], "lstm", "inference").lengths is None


def test_only_steps_within_the_lengths_are_work() -> None:
    workload = Workload(RAGGED, "gru", "training")
    assert workload.lengths is not None
    assert workload.flops == 3 * 2 * int(workload.lengths.sum()) * GATES["gru"] * 7 * (5 + 7)
    assert Workload.from_dict(json.loads(json.dumps(workload.as_dict()))) == workload


@pytest.mark.parametrize("name", [OURS, PADDED, "torch"])
def test_libraries_agree_within_the_lengths(name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    library = peers.load(name)
    for cell in CELLS:
        for mode in MODES:
            problem = make_problem(Workload(RAGGED, cell, mode))
            prepared = library.prepare(problem, None)
            answer = prepared.answer(prepared.call())
            expected = checking.truth(problem)
            error, where = checking.relative_error(checking.within_lengths(problem, answer), expected)
            assert error < 5e-6, (cell, mode, where)
            beyond = answer["y"][~problem.valid]
            assert beyond.any() == (name == PADDED)


def test_others_take_no_lengths() -> None:
    request = {"request": "prepare", "workload": Workload(RAGGED, "rnn", "inference").as_dict()}
    assert worker.Worker("numpy", None).handle(request) == {"unsupported": "no lengths"}


# Tables


def timed(median_ms: float, took: Memory | None = None, plan: str = "") -> Outcome:
    found = Timing(median_ms, 0.9 * median_ms, 1.1 * median_ms, 0.8 * median_ms, 20, (median_ms,))
    return Outcome("timed", error=2e-7, timing=found, memory=took, plan=plan)


LSTM = Workload(CASES["wide-512"], "lstm", "training")
FULL = Row(
    LSTM,
    {
        OURS: timed(LSTM.flops / 400e6, Memory(90 * MIB, 20 * MIB, "VmHWM"), "forward: by rows; backward: by units"),
        ONE_THREAD: timed(LSTM.flops / 220e6),
        "torch": timed(LSTM.flops / 200e6, Memory(400 * MIB, 150 * MIB, "VmHWM")),
    },
    {OURS: Peak((500.0, 400.0, 510.0)), ONE_THREAD: Peak((250.0,))},
)
SHORT = Row(
    replace(LSTM, case=CASES["lengths-512"]),
    {OURS: timed(60.0), PADDED: timed(100.0), "torch": timed(300.0)},
)
MACHINE = {
    "cpu": "A processor",
    "cores": 2,
    "instruction_set": "avx2",
    "time": "2026-01-02T03:04:05+00:00",
    "commit": None,
    "versions": {"fusedrnn": "1.0"},
}


def words(table: str) -> list[str]:
    return [" ".join(line.split()) for line in table.splitlines()]


def test_share_is_work_over_time_and_peak() -> None:
    assert FULL.share == pytest.approx(400 / 500)
    assert SHORT.share is None
    assert words(report.times_table([FULL], ["torch"]))[2].startswith("lstm wide-512 50,64,512,512 training")
    assert " 400 80% " in words(report.times_table([FULL], ["torch"]))[2]


def test_ourselves_in_another_way_are_no_peer() -> None:
    quick = replace(FULL, outcomes={**FULL.outcomes, ONE_THREAD: timed(1.0), PADDED: timed(1.0)})
    assert quick.best_peer == "torch"


def test_tables_of_lengths_threads_and_memory() -> None:
    assert SHORT.workload.lengths is not None
    steps = SHORT.workload.lengths.mean() / 50
    assert words(lengths.table([SHORT]))[2] == (
        f"lstm lengths-512 50,64,512,512 training {steps:.0%} 60.00 100.0 300.0 0.600 5.00 -"
    )
    assert words(scaling.table([FULL]))[2].endswith(" 1.82 2.00")
    assert words(details.table([FULL], ["torch", "jax"]))[2] == (
        "lstm wide-512 training forward: by rows; backward: by units 20.0 150 -"
    )
    assert "(VmHWM, set back before)" in details.legend([FULL])


def test_rows_with_lengths_have_a_table_of_their_own() -> None:
    assert split_by_lengths([SHORT, FULL]) == ([FULL], [SHORT])
    text = report.text([FULL, SHORT], ["torch"], MACHINE, {})
    for head in ("best peer", "of padded", "all threads ms", "torch MiB"):
        assert head in text
    means = report.as_json([FULL, SHORT], ["torch"], MACHINE, {}, {})["means"]
    assert [mean["best_peer"]["count"] for mean in means] == [1]
    assert "all threads ms" not in report.text([SHORT], ["torch"], MACHINE, {})


def test_json_has_shares_plans_and_memory() -> None:
    row = report.as_json([FULL], ["torch"], MACHINE, {}, {})["rows"][0]
    row = json.loads(json.dumps(row, allow_nan=False))
    assert row["share"] == pytest.approx(0.8)
    assert row["peaks"][OURS] == {"gflops": 500.0, "burst_gflops": [500.0, 400.0, 510.0]}
    assert row["libraries"][OURS]["plan"] == "forward: by rows; backward: by units"
    assert row["libraries"]["torch"]["memory"] == {"peak": 400 * MIB, "growth": 150 * MIB, "method": "VmHWM"}


# The history


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    content = report.as_json([FULL], ["torch"], MACHINE, {}, {"threads": None})
    dirty = {**MACHINE, "commit": "0123456789" * 4 + "-dirty"}
    later = report.as_json([FULL, SHORT], ["torch"], dirty, {}, {"threads": 1})
    for one in (content, later):
        history.append(path, one)
    assert history.read(path) == json.loads(json.dumps([content, later]))
    lines = words(history.text(history.read(path)))[2:]
    median = FULL.median_ms(OURS)
    assert lines[0] == f"lstm wide-512 training float32 2026-01-02 version 1.0 2 {median:.1f} 0.80 2.00 A processor"
    assert lines[1] == f"lstm wide-512 training float32 2026-01-02 012345678-dirty 1 {median:.1f} 0.80 2.00 A processor"
    assert lines[2].startswith("lstm lengths-512 training float32 2026-01-02 012345678-dirty 1 60.00 - 5.00 ")


@pytest.mark.parametrize("line", ["no json", "[]", "{}", '{"machine": {}}', '{"rows": ['])
def test_history_that_is_none_is_refused(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.jsonl"
    history.append(path, report.as_json([FULL], ["torch"], MACHINE, {}, {}))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert main(["--show", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"fusedrnn bench: --show must name a file of --history, got {path} with something else in line 2\n"
    )


@pytest.fixture
def only_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other peer were installed."""
    find: Callable[[str], Any] = lambda module: module if module == "numpy" else None  # noqa: E731
    monkeypatch.setattr(peers, "find_spec", find)


@pytest.mark.usefixtures("only_numpy")
def test_whole_run_with_lengths_threads_and_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peak, "PIECES", 2)
    monkeypatch.setitem(CASES, "ragged", RAGGED)
    path = tmp_path / "runs.jsonl"
    argv = ["--cells", "gru", "--mode", "training", "--repeat", "1", "--threads", "2", "--history", str(path)]
    assert main([*argv, "--cases", "ragged,sine", "--scaling"]) == 0
    out = capsys.readouterr().out
    assert "of padded" in out
    assert "all threads ms" in out
    [run] = history.read(path)
    ragged, sine = run["rows"]
    assert ragged["libraries"].keys() == {OURS, PADDED}
    assert sine["libraries"].keys() == {OURS, ONE_THREAD, "numpy"}
    assert sine["peaks"].keys() == {OURS, ONE_THREAD}
    assert {"cases", "threads", "repeat"} <= run["settings"].keys()
    assert run["settings"].keys().isdisjoint({"json", "history", "show"})
    assert sine["libraries"]["numpy"]["memory"]["peak"] > 0
    assert main(["--show", str(path)]) == 0
    assert words(capsys.readouterr().out)[2].startswith("gru ragged training float32 ")
