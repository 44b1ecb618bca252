"""Systems side by side with their twins in PyTorch, and the table of their figures. Speed is not a matter of tests."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusedrnn.bench import main, peers, systems, timing, training_bench, worker
from fusedrnn.bench.memory import MIB, Memory
from fusedrnn.bench.process import WorkerError
from fusedrnn.bench.results import Outcome
from fusedrnn.bench.systems import Entry, Figure
from fusedrnn.bench.training import TRAININGS, Assignment
from fusedrnn.bench.training_bench import TrainingRow, check_losses, compare

TRAINED = {"ptb", "iris", "sine", "textrnn", "rcnn", "binary", "mnist", "charlm"}
CHEAP = ["iris", "sine", "binary"]


def arrays(batch: Any) -> dict[str, np.ndarray]:
    fields = batch._asdict() if hasattr(batch, "_asdict") else vars(batch)
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}


# What is trained


def test_every_system_that_trains_is_there() -> None:
    assert TRAININGS.keys() >= TRAINED
    assert {entry.system for entry in systems.ENTRIES} > TRAINED


@pytest.mark.parametrize("name", TRAININGS)
def test_tasks_are_pure_functions_of_their_assignments(name: str) -> None:
    one, two = (Assignment(**json.loads(json.dumps(Assignment(name, 3).as_dict()))).task() for _ in range(2))
    weights = [task.model.state_dict() for task in (one, two)]
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert len(one.batches) == len(two.batches) > 0
    for first, second in zip(one.batches, two.batches, strict=True):
        assert all(np.array_equal(value, arrays(second)[key]) for key, value in arrays(first).items())


@pytest.mark.parametrize("name", [name for name, training in TRAININGS.items() if training.drops])
def test_dropout_can_be_left_out(name: str) -> None:
    with_it, without = Assignment(name).task().settings, Assignment(name, dropout=False).task().settings
    assert with_it.keep < 1.0
    assert replace(with_it, keep=1.0) == without


@pytest.mark.parametrize("name", CHEAP)
def test_our_loop_is_that_of_fit(name: str) -> None:
    task, train = Assignment(name).task(), peers.load(peers.OURS).trainer(Assignment(name), None)
    losses, nanoseconds = train(12)
    assert len(losses) == len(nanoseconds) == 12
    assert min(nanoseconds) > 0 and losses[-1] < losses[0]
    state, expected = None, []
    for number in range(12):
        place = number % len(task.batches)
        step = task.compute(task.batches[place], state if place and task.carries_state else None, number)
        task.optimizer.step(step.grads)
        state = step.state
        expected.append(step.loss)
        assert step.counted == task.samples
    assert losses == expected


@pytest.mark.parametrize("name", TRAININGS)
def test_losses_are_those_of_pytorch(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is what systems are compared with")
    assignment = Assignment(name, seed=1, dropout=False)
    # One round through the batches and a bit more, where steps are cheap, so that a state starts anew.
    steps = 3 if TRAININGS[name].drops else 10
    losses = {library: peers.load(library).trainer(assignment, None)(steps)[0] for library in (peers.OURS, "torch")}
    outcome = check_losses(losses)
    assert (outcome.status, outcome.note) == ("timed", "")


@pytest.mark.parametrize("name", [name for name, training in TRAININGS.items() if training.drops])
def test_twins_drop_as_much(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is what systems are compared with")
    torch.manual_seed(0)
    losses = [peers.load("torch").trainer(Assignment(name, 1, dropout), None)(1)[0] for dropout in (True, False)]
    assert losses[0] != losses[1]


# The worker and the bursts


def test_worker_trains() -> None:
    requests = [
        {"request": "losses", "steps": 2},
        {"request": "train", "assignment": Assignment("iris").as_dict()},
        {"request": "losses", "steps": 2},
        {"request": "burst", "calls": 3, "warm_up": 2},
        {"request": "losses", "steps": 1},
    ]
    replies = io.StringIO()
    lines = "\n".join(map(json.dumps, requests))
    worker.serve(worker.Worker(peers.OURS, None), io.StringIO(lines), replies)
    early, ready, first, burst, later = map(json.loads, replies.getvalue().splitlines())
    assert "losses after train" in early["error"]
    assert ready == {}
    assert len(burst["nanoseconds"]) == 3 and min(burst["nanoseconds"]) > 0
    train = peers.load(peers.OURS).trainer(Assignment("iris"), None)
    losses = train(8)[0]
    assert first["losses"] + later["losses"] == losses[:2] + losses[7:]


class FakeWorker:
    """Has given losses and steps of equal length; fails where told so."""

    def __init__(self, losses: list[float], step_ns: int = 10**6, fails_at: str = "") -> None:
        self.losses, self.step_ns, self.fails_at = losses, step_ns, fails_at
        self.asked: list[str] = []

    def renew(self) -> None:
        assert self.asked == []

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        self.asked.append(request)
        if request == self.fails_at:
            raise WorkerError("gone")
        if request == "burst":
            return {"nanoseconds": [self.step_ns] * fields["calls"]}
        if request == "memory":
            return {"peak": 2 * MIB, "growth": MIB, "method": "VmHWM"}
        return {"losses": self.losses} if request == "losses" else {}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PAUSE_S", 0.0)


def test_bursts_of_a_given_length_need_no_calibration() -> None:
    workers = {"a": FakeWorker([]), "b": FakeWorker([])}
    found = timing.measure(workers, rounds=3, sleep=lambda seconds: None, calls=20)
    assert workers["a"].asked == ["burst"] * 3
    assert all(isinstance(one, timing.Timing) and one.calls == 60 for one in found.values())


def test_right_losses_are_timed_with_dropout() -> None:
    workers = {"fusedrnn": FakeWorker([2.0, 1.0]), "torch": FakeWorker([2.0, 1.00001], 3 * 10**6)}
    row = compare(TRAININGS["textrnn"], workers, rounds=2)
    assert workers["torch"].asked == ["train", "losses", "train", "burst", "burst", "memory"]
    assert (row.samples, row.per_second("fusedrnn"), row.ratio("torch")) == (64, 64000.0, pytest.approx(3.0))
    assert row.outcomes["fusedrnn"].error == pytest.approx(1e-5, rel=1e-3)


def test_wrong_losses_are_not_timed() -> None:
    workers = {"fusedrnn": FakeWorker([2.0, 1.0]), "torch": FakeWorker([2.0, 1.001])}
    row = compare(TRAININGS["iris"], workers, rounds=2)
    assert row.outcomes["fusedrnn"].note == "loss of step 2 must be 1.001 as that of torch, got 1"
    assert row.outcomes["fusedrnn"].status == "wrong" and row.ratio("torch") is None
    assert "burst" not in workers["torch"].asked
    assert check_losses({"fusedrnn": [math.nan], "torch": [1.0]}).status == "wrong"


@pytest.mark.parametrize("fails_at", ["train", "losses", "burst", "memory"])
@pytest.mark.parametrize("name", ["fusedrnn", "torch"])
def test_library_that_fails_is_left_out(name: str, fails_at: str) -> None:
    workers = {one: FakeWorker([1.0], fails_at=fails_at if one == name else "") for one in ("fusedrnn", "torch")}
    row = compare(TRAININGS["sine"], workers, rounds=1)
    assert (row.outcomes[name].status, row.outcomes[name].note) == ("failed", "gone")
    assert row.ratio("torch") is None


# Tables


def timed(median_ms: float, error: float | None = None, mib: int | None = None) -> Outcome:
    found = timing.Timing(median_ms, 0.9 * median_ms, 1.1 * median_ms, 0.8 * median_ms, 20, (median_ms,))
    memory = None if mib is None else Memory(mib * MIB, MIB, "VmHWM")
    return Outcome("timed", error=error, timing=found, memory=memory)


ROWS = [
    TrainingRow(
        TRAININGS["ptb"], 700, {"hidden": 200}, {"fusedrnn": timed(100.0, 1e-6, 90), "torch": timed(150.0, None, 360)}
    ),
    TrainingRow(TRAININGS["iris"], 120, {}, {"fusedrnn": timed(0.2, 2e-7), "torch": timed(0.1)}),
    TrainingRow(TRAININGS["sine"], 32, {}, {"fusedrnn": Outcome("wrong", "of step 2", 0.1), "torch": Outcome("timed")}),
]
MACHINE = {"cpu": "A processor", "cores": 2, "instruction_set": "avx2", "versions": {"python": "3.11"}}


def test_table_and_what_stands_below_it() -> None:
    lines = [" ".join(line.split()) for line in training_bench.table(ROWS).splitlines()]
    assert lines[0] == "system samples fusedrnn /s ms spread MiB torch /s ms spread MiB ratio memory error"
    assert lines[2] == "ptb words 7000 100.0 20% 90.0 4667 150.0 20% 360 1.50 0.25 1e-06"
    assert lines[3] == "iris flowers 600000 0.2000 20% - 1200000 0.1000 20% - 0.500 - 2e-07"
    assert lines[4] == "sine windows wrong - - - timed - - - - - 1e-01"
    text = training_bench.text(ROWS, MACHINE, {"torch": "why"}).splitlines()
    assert any("interpreter and libraries included (VmHWM)" in line for line in text)
    assert "Lowest ratio: 0.50 at iris. Slower than torch: 1 of 2." in text
    assert text[-2:] == ["fusedrnn: wrong at sine: of step 2", "torch: not measured: why"]


def test_json_holds_everything() -> None:
    made = json.loads(json.dumps(training_bench.as_json(ROWS, MACHINE, {}, {"repeat": 7}), allow_nan=False))
    ptb = made["systems"][0]
    assert (ptb["name"], ptb["samples"], ptb["settings"], ptb["ratio"]) == ("ptb", 700, {"hidden": 200}, 1.5)
    assert ptb["libraries"]["torch"]["timing"]["median_ms"] == 150.0
    assert ptb["libraries"]["torch"]["memory"] == {"peak": 360 * MIB, "growth": MIB, "method": "VmHWM"}
    assert (ptb["memory_ratio"], made["systems"][1]["memory_ratio"]) == (0.25, None)
    assert ptb["libraries"]["fusedrnn"]["samples_per_second"] == 7000.0
    assert made["systems"][2]["libraries"]["fusedrnn"]["status"] == "wrong"


# fusedrnn bench --systems


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda module: None)


@pytest.mark.usefixtures("without_torch")
def test_whole_run_without_the_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--systems", "iris,sine", "--repeat", "1", "--threads", "1", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "torch: not measured: not installed: pip install torch" in out
    assert err.splitlines() == ["[1/2] iris", "[2/2] sine"]
    made = json.loads(path.read_text(encoding="utf-8"))
    assert [system["name"] for system in made["systems"]] == ["iris", "sine"]
    assert all(system["libraries"]["fusedrnn"]["samples_per_second"] > 0 for system in made["systems"])
    assert made["settings"]["systems"] == "iris,sine"


def test_whole_run_beside_the_peer(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is what systems are compared with")
    assert main(["--systems", "iris", "--repeat", "1", "--threads", "1"]) == 0
    assert "Lowest ratio: " in capsys.readouterr().out


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--systems", "forward"], "--systems must be names out of ptb,"),
        (["--systems", "iris", "--cells", "gru"], "--cells must be left out with --systems, got gru"),
        (["--systems", "--scaling"], "--scaling must be left out with --systems, got True"),
        (["--systems", "--dtype", "float64"], "--dtype must be left out with --systems, got float64"),
        (["--systems", "--against", "numpy"], "--against must be torch with --systems, got numpy"),
        (["--systems", "--against", "torch"], "--against must name a library that is installed, got torch"),
    ],
)
def test_bad_options_are_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fusedrnn bench: {message}") and err.count("\n") == 1


# bench/systems.py


def test_figures_are_where_they_must_be_or_not() -> None:
    around = systems._around("loss", 0.34657, 0.005)
    assert around.fits(0.34157) and around.fits(0.35157) and not around.fits(0.3416 - 1e-4)
    assert not Figure("loss", high=1.0).fits(math.nan)
    targets = [Figure("a", high=118), Figure("a", low=0.9), systems._exactly("a", 929589), around]
    assert [figure.target for figure in targets] == ["<= 118", ">= 0.9", "= 929589", "0.34157 to 0.35157"]


def test_forward_runs_through_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert systems.main(["--only", "forward", "--seeds", "2"]) == 0
    line = " ".join(capsys.readouterr().out.splitlines()[2].split())
    assert line.startswith("forward error ") and " <= 1e-08 ok " in line


def give(monkeypatch: pytest.MonkeyPatch, entry: Entry, values: list[float]) -> None:
    """Let runs of an entry have these figures, one a seed."""
    monkeypatch.setattr(systems, "ENTRIES", (entry,))
    monkeypatch.setattr(systems, "run_system", lambda entry, data, seed: {"accuracy": values[seed]})


@pytest.mark.parametrize(("values", "code", "verdict"), [([0.5, 0.9, 1.0], 0, "ok"), ([0.5, 0.89, 1.0], 1, "SHORT")])
def test_the_median_decides(
    values: list[float], code: int, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, Entry("one", "iris", ("--rate", ".1"), (Figure("accuracy", low=0.9),)), values)
    assert systems.main(["--all"]) == code
    line = " ".join(capsys.readouterr().out.splitlines()[2].split())
    assert line.startswith(f"iris --rate .1 accuracy 0.5 {values[1]} 1 {values[1]} >= 0.9 {verdict} ")


@pytest.mark.parametrize(("theirs", "code"), [(0.755, 0), (0.775, 1), (0.735, 0)])
def test_classifiers_are_compared_with_their_twins(
    theirs: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mr").mkdir()
    monkeypatch.setattr(systems, "find_spec", lambda module: module)
    monkeypatch.setattr(systems, "twin_accuracy", lambda entry, data, seed: theirs)
    give(monkeypatch, Entry("one", "rcnn", (), (Figure("accuracy"),), "mr", True), [0.7, 0.75, 0.75, 0.75, 0.825])
    assert systems.main(["--all", "--data", str(tmp_path)]) == code
    assert f"  0.755  >= {theirs - 0.01:g} " in capsys.readouterr().out


def test_run_that_fails_is_a_figure_that_falls_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systems, "ENTRIES", (Entry("one", "iris", ("--steps", "0"), (Figure("right"),)),))
    assert systems.main(["--only", "one"]) == 1
    out, err = capsys.readouterr()
    assert " failed " in out
    assert "iris --steps 0: ended with code 2: fusedrnn: iris: --steps must be >= 1, got 0" in err


def test_what_cannot_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert systems.main(["--only", "ptb-small,charlm-random"]) == 0
    assert "ptb-small: not run: --data must name a folder with ptb/ptb.zip, got none" in capsys.readouterr().out
    assert systems.main(["--only", "mnist", "--data", str(tmp_path)]) == 0
    why = f"--data must name a folder with mnist, got {tmp_path} without"
    assert f"mnist-raw: not run: {why}" in capsys.readouterr().out
    monkeypatch.setattr(systems, "find_spec", lambda module: None)
    (tmp_path / "mr").mkdir()
    assert systems.main(["--only", "rcnn", "--data", str(tmp_path)]) == 0
    assert "rcnn: not run: PyTorch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["--only", "tetris"], ["--all", "--seeds", "0"], ["--all", "--only", "ptb"]])
def test_bad_options_of_the_table(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        systems.main(argv)
    assert stopped.value.code == 2


def test_accuracy_of_a_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is what systems are compared with")
    from fusedrnn.bench.twins import accuracy

    lines = ["label\ttext", *["good\tthe film is fine", "bad\tthe film is dull"] * 20]
    (tmp_path / "films.tsv").write_text("\n".join(lines))
    sizes = ["--embed", "4", "--hidden", "5", "--batch", "8", "--epochs", "8", "--rate", ".05"]
    for system in ("textrnn", "rcnn"):
        accuracy.main([system, "--data", str(tmp_path / "films.tsv"), *sizes])
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"accuracy": 1.0}
