"""One case in both libraries: answers first, then times in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fusedrnn.bench.cases import Problem, Workload
from fusedrnn.bench.gpu import ours
from fusedrnn.bench.gpu.arrays import make_problem
from fusedrnn.bench.gpu.checking import TOLERANCES, Judge, OnCpu
from fusedrnn.bench.gpu.results import GpuRow
from fusedrnn.bench.gpu.timing import OutOfTimeError, measure
from fusedrnn.bench.peers import OURS, Prepared
from fusedrnn.bench.results import Outcome


def failure(error: Exception) -> Outcome:
    """What an exception says; both libraries call a GPU without room an OutOfMemoryError."""
    lines = str(error).strip().splitlines() or [""]
    note = f"{type(error).__name__}: {lines[0][:300]}"
    return Outcome("unsupported" if type(error).__name__ == "OutOfMemoryError" else "failed", note)


def _verdict(error: float, where: str, dtype: str, plan: str) -> Outcome:
    """Right, status "timed", or wrong."""
    tolerance = TOLERANCES[dtype]
    if error > tolerance:
        note = f"relative error of {where} must be <= {tolerance:g}, got {error:.1e}"
        return Outcome("wrong", note, error, plan=plan)
    return Outcome("timed", error=error, plan=plan)


class _Contest:
    """One workload: who has been prepared, and what is known of whom."""

    def __init__(self, problem: Problem, peer: Any) -> None:
        self.problem, self.peer = problem, peer
        self.prepared: dict[str, Prepared] = {}
        self.outcomes: dict[str, Outcome] = {}

    def check(self, judge: Judge) -> None:
        """Prepare every library and look at its answer."""
        for name in (OURS, *(self.peer.ways(self.problem.workload) if self.peer else ())):
            self._enter(name, judge)

    def _prepare(self, name: str, problem: Problem) -> Prepared:
        return ours.prepare(problem) if name == OURS else self.peer.prepare(problem, name)

    def _enter(self, name: str, judge: Judge) -> None:
        try:
            prepared = self._prepare(name, self.problem)
            asked = prepared
            if len(judge.problem.x) < len(self.problem.x):
                workload = replace(judge.problem.workload, mode=self.problem.workload.mode)
                asked = self._prepare(name, replace(judge.problem, workload=workload))
            error, where = judge.error(asked.answer(asked.call()))
        except Exception as problem:  # one library must not end the run
            self.outcomes[name] = failure(problem)
            return
        self.outcomes[name] = _verdict(error, where, self.problem.workload.dtype, prepared.plan)
        if self.outcomes[name].status == "timed":
            self.prepared[name] = prepared

    @property
    def failed(self) -> bool:
        """Whether somebody did; the GPU may then be lost."""
        return any(outcome.status == "failed" for outcome in self.outcomes.values())

    def time(self, deadline: float) -> bool:
        """Time those who are right; false where that would take until after the deadline."""
        try:
            found = measure({name: prepared.call for name, prepared in self.prepared.items()}, deadline)
        except OutOfTimeError:
            return False
        except Exception as problem:  # as above; which of them it was is not known
            self.outcomes |= dict.fromkeys(self.prepared, failure(problem))
            return True
        for name, timing in found.items():
            self.outcomes[name] = replace(self.outcomes[name], timing=timing)
        return True


def free_memory(peer: Any) -> None:
    """Let neither library keep memory that the other may need."""
    ours.free_memory()
    if peer:
        peer.free_memory()


def _judge(problem: Problem, peer: Any) -> Judge:
    judge: Judge = peer.judge(problem) if peer else OnCpu(problem)
    return judge


def compare(workloads: Sequence[Workload], peer: Any, deadline: float = float("inf")) -> list[GpuRow]:
    """Check and time the modes of one case; those that do not fit into what is left of the time have no row.

    Parameters
    ----------
    workloads : of one case, cell and type of number
    peer : a `pytorch.Torch`, or None
    deadline : of `time.monotonic`
    """
    # With gradients where any of the modes has them.
    problem = make_problem(max(workloads, key=lambda workload: workload.training))
    try:
        judge = _judge(problem, peer)
    except Exception as error:  # without the truth nothing can be timed
        unknown = failure(error)
        note = f"its answer could not be checked: {unknown.note}"
        return [GpuRow(workload, {OURS: replace(unknown, note=note)}) for workload in workloads]
    contests = [_Contest(replace(problem, workload=workload), peer) for workload in workloads]
    for contest in contests:
        contest.check(judge)
    by, steps = judge.name, len(judge.problem.x)
    del judge  # its arrays are the largest
    if not any(contest.failed for contest in contests):
        free_memory(peer)
    rows: list[GpuRow] = []
    for contest in contests:
        if not contest.time(deadline):
            break
        rows.append(GpuRow(contest.problem.workload, contest.outcomes, checked_by=by, checked_steps=steps))
    return rows
