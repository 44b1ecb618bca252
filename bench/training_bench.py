"""``fusedrnn bench --systems``: each system trained beside its twin in PyTorch.

Losses first: without dropout, those of the first steps must be equal. Then both train in alternating bursts of a fixed
number of steps, with the dropout that the system has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from fusedrnn.bench.comparing import finish
from fusedrnn.bench.memory import MIB
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.process import WorkerError, WorkerProcess
from fusedrnn.bench.report import FORMAT, outcome_json
from fusedrnn.bench.results import Outcome
from fusedrnn.bench.table import align, number
from fusedrnn.bench.timing import measure
from fusedrnn.bench.training import Assignment, Training

PEER = "torch"
CHECKED_STEPS = 10
# Relative. Rounding gives up to 5e-6 here; another formula, initial weight or order of batches far more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class TrainingRow:
    """One system, trained by all libraries."""

    training: Training
    samples: int
    settings: dict[str, Any]
    outcomes: dict[str, Outcome]

    def per_second(self, library: str) -> float | None:
        """Samples a second in the median step, where the library was timed."""
        outcome = self.outcomes.get(library)
        return self.samples / outcome.timing.median_ms * 1e3 if outcome and outcome.timing else None

    def ratio(self, library: str) -> float | None:
        """Our samples a second over those of a library."""
        ours, theirs = self.per_second(OURS), self.per_second(library)
        return ours / theirs if ours and theirs else None

    def peak_bytes(self, library: str) -> int | None:
        """The most memory that the process of a library took while it trained, everything included."""
        outcome = self.outcomes.get(library)
        return outcome.memory.peak if outcome and outcome.memory else None

    def memory_ratio(self, library: str) -> float | None:
        """Our memory over that of a library."""
        ours, theirs = self.peak_bytes(OURS), self.peak_bytes(library)
        return ours / theirs if ours and theirs else None


def _losses(worker: WorkerProcess, assignment: Assignment) -> list[float] | Outcome:
    """The losses of the first steps, or how the worker failed."""
    try:
        worker.request("train", assignment=assignment.as_dict())
        return list(worker.request("losses", steps=CHECKED_STEPS)["losses"])
    except WorkerError as failure:
        return Outcome("failed", str(failure))


def check_losses(losses: Mapping[str, Sequence[float]]) -> Outcome:
    """Compare our losses with those of the peer, where it has any.

    Examples
    --------
    >>> check_losses({"fusedrnn": [1.0, 0.5], "torch": [1.0, 0.4]}).note
    'loss of step 2 must be 0.4 as that of torch, got 0.5'
    """
    ours = np.asarray(losses[OURS])
    if PEER not in losses:
        return Outcome("timed")
    theirs = np.asarray(losses[PEER])
    errors = np.abs(ours - theirs) / np.abs(theirs)
    error = float(errors.max())
    if error <= TOLERANCE:  # NaN is not
        return Outcome("timed", error=error)
    worst = int(np.argmax(errors))
    note = f"loss of step {worst + 1} must be {theirs[worst]:.6g} as that of {PEER}, got {ours[worst]:.6g}"
    return Outcome("wrong", note, error)


def compare(training: Training, workers: Mapping[str, WorkerProcess], rounds: int) -> TrainingRow:
    """Check the losses of a system, then time its steps; a library whose worker failed is left out.

    Parameters
    ----------
    training : which system
    workers : a process for each library, ours among them
    rounds : bursts of each library
    """
    for worker in workers.values():
        worker.renew()
    task = Assignment(training.name).task()
    without = Assignment(training.name, dropout=False)
    found = {name: _losses(worker, without) for name, worker in workers.items()}
    outcomes = {name: answer for name, answer in found.items() if isinstance(answer, Outcome)}
    losses = {name: answer for name, answer in found.items() if not isinstance(answer, Outcome)}
    if OURS in losses:
        outcomes |= {name: Outcome("timed") for name in losses} | {OURS: check_losses(losses)}
        if outcomes[OURS].status == "timed":
            outcomes |= _time(training, {name: workers[name] for name in losses}, outcomes, rounds)
    return TrainingRow(training, task.samples, asdict(task.settings), outcomes)


def _time(
    training: Training, workers: Mapping[str, WorkerProcess], outcomes: Mapping[str, Outcome], rounds: int
) -> dict[str, Outcome]:
    """Time the steps of those whose losses are right."""
    timed: dict[str, Outcome] = {}
    ready = dict(workers)
    for name, worker in workers.items() if training.drops else ():
        try:
            worker.request("train", assignment=Assignment(training.name).as_dict())
        except WorkerError as failure:
            timed[name] = Outcome("failed", str(failure))
            ready.pop(name)
    for name, timing in measure(ready, rounds, calls=training.steps).items():
        timed[name] = finish(outcomes[name], timing, ready[name])
    return timed


def run(trainings: Sequence[Training], workers: Mapping[str, WorkerProcess], rounds: int) -> list[TrainingRow]:
    """Compare all systems, one after the other."""
    rows = []
    for place, training in enumerate(trainings, 1):
        print(f"[{place}/{len(trainings)}] {training.name}", file=sys.stderr, flush=True)
        rows.append(compare(training, workers, rounds))
    return rows


def _line(row: TrainingRow) -> list[str]:
    """One system of the table."""
    cells = [row.training.name, row.training.unit]
    for library in (OURS, PEER):
        outcome = row.outcomes.get(library)
        timing = outcome.timing if outcome else None
        cells += (
            [number(row.per_second(library)), number(timing.median_ms, 4), f"{timing.spread:.0%}"]
            if timing
            else [outcome.status if outcome else "-", "-", "-"]
        )
        peak = row.peak_bytes(library)
        cells.append("-" if peak is None else number(peak / MIB))
    ours = row.outcomes.get(OURS)
    error = ours.error if ours else None
    ratios = [number(row.ratio(PEER)), number(row.memory_ratio(PEER), 2)]
    return [*cells, *ratios, "-" if error is None else f"{error:.0e}"]


def table(rows: Sequence[TrainingRow]) -> str:
    """One line a system: samples a second, median milliseconds of a step, spread, memory, ratios, error of losses."""
    head = ["system", "samples"]
    for library in (OURS, PEER):
        head += [f"{library} /s", "ms", "spread", "MiB"]
    return align([[*head, "ratio", "memory", "error"], *map(_line, rows)], left=2)


def text(rows: Sequence[TrainingRow], machine: Mapping[str, Any], absent: Mapping[str, str]) -> str:
    """Everything that a run prints; the arguments are those of `report.text`."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    remarks = [
        f"{name}: {outcome.status} at {row.training.name}: {outcome.note}"
        for row in rows
        for name, outcome in row.outcomes.items()
        if outcome.status != "timed"
    ]
    remarks += [f"{name}: not measured: {why}" for name, why in absent.items()]
    ratios = {row.training.name: row.ratio(PEER) for row in rows}
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if known:
        lowest = min(known, key=known.__getitem__)
        slower = [name for name, ratio in known.items() if ratio < 1]
        remarks.insert(
            0, f"Lowest ratio: {known[lowest]:.2f} at {lowest}. Slower than {PEER}: {len(slower)} of {len(known)}."
        )
    methods = sorted({out.memory.method for row in rows for out in row.outcomes.values() if out.memory})
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, instruction set {machine['instruction_set']}",
        versions,
        "",
        table(rows),
        "",
        "Medians of single steps of training; spread is the distance between the quartiles over the median; ratio is",
        f"{OURS}'s samples a second over {PEER}'s; error is the largest relative one of {OURS}'s first"
        f" {CHECKED_STEPS} losses without dropout.",
        "MiB are the most that the process of a library took while it trained, interpreter and libraries included"
        f" ({' and '.join(methods) or '-'});",
        f"memory is {OURS}'s over {PEER}'s.",
    ]
    return "\n".join(parts + (["", *remarks] if remarks else []))


def as_json(
    rows: Sequence[TrainingRow], machine: Mapping[str, Any], absent: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that a run found, as JSON can hold it."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "settings": dict(settings),
        "absent": dict(absent),
        "systems": [
            {
                "name": row.training.name,
                "unit": row.training.unit,
                "samples": row.samples,
                "steps": row.training.steps,
                "settings": row.settings,
                "ratio": row.ratio(PEER),
                "memory_ratio": row.memory_ratio(PEER),
                "libraries": {
                    name: {**outcome_json(outcome), "samples_per_second": row.per_second(name)}
                    for name, outcome in row.outcomes.items()
                },
            }
            for row in rows
        ],
    }
