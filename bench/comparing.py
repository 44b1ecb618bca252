"""One workload in all libraries: answers first, then times in turn; the processor's peak and memory beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from fusedrnn.bench.cases import Problem, Workload, make_problem
from fusedrnn.bench.checking import TOLERANCES, relative_error, truth, within_lengths
from fusedrnn.bench.memory import Memory
from fusedrnn.bench.peak import PeakMeter
from fusedrnn.bench.peers import ONE_THREAD, OURS
from fusedrnn.bench.process import WorkerError, WorkerProcess
from fusedrnn.bench.results import Outcome, Row
from fusedrnn.bench.timing import Timing, measure


def _check_answer(worker: WorkerProcess, problem: Problem, expected: dict[str, np.ndarray], folder: Path) -> Outcome:
    """Let a worker prepare a workload and compare its answer; status "timed" means that it may be timed."""
    path = folder / "answer.npz"
    try:
        reply = worker.request("prepare", workload=problem.workload.as_dict())
        if reply["unsupported"]:
            return Outcome("unsupported", reply["unsupported"])
        worker.request("answer", path=str(path))
    except WorkerError as failure:
        return Outcome("failed", str(failure))
    with np.load(path) as answer:
        error, where = relative_error(within_lengths(problem, answer), expected)
    path.unlink()
    tolerance = TOLERANCES[problem.workload.dtype]
    if error > tolerance:
        return Outcome("wrong", f"relative error of {where} must be <= {tolerance:g}, got {error:.1e}", error)
    return Outcome("timed", error=error, plan=reply["plan"])


def read_memory(worker: WorkerProcess) -> Memory:
    """What the process of a worker took since it was made ready."""
    return Memory(**worker.request("memory"))


def finish(outcome: Outcome, timing: Timing | WorkerError, worker: WorkerProcess) -> Outcome:
    """Put time and memory into what is known of a library that was timed."""
    try:
        if isinstance(timing, WorkerError):
            raise timing
        return replace(outcome, timing=timing, memory=read_memory(worker))
    except WorkerError as failure:
        return Outcome("failed", str(failure), outcome.error)


def compare(workload: Workload, workers: Mapping[str, WorkerProcess], rounds: int, folder: Path) -> Row:
    """Check every library's answer, then time those that are right, each in a process that has done nothing else.

    Parameters
    ----------
    workload : what to do
    workers : a process for each library, `OURS` among them
    rounds : bursts of each library
    folder : a place for answers on their way from a worker
    """
    for worker in workers.values():
        worker.renew()
    problem = make_problem(workload)
    expected = truth(problem)
    outcomes = {name: _check_answer(worker, problem, expected, folder) for name, worker in workers.items()}
    right = {name: workers[name] for name, outcome in outcomes.items() if outcome.status == "timed"}
    meters = {name: PeakMeter(right[name], workload.dtype) for name in (OURS, ONE_THREAD) if name in right}

    def after_round() -> None:
        for meter in meters.values():
            meter.take()

    for name, timing in measure(right, rounds, after_round=after_round).items():
        outcomes[name] = finish(outcomes[name], timing, right[name])
    for name, meter in meters.items():
        if meter.failure:
            outcomes[name] = Outcome("failed", meter.failure, outcomes[name].error)
    return Row(workload, outcomes, {name: meter.peak for name, meter in meters.items() if meter.peak})
