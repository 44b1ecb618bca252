"""The table of what a workload takes besides time: the memory of each library, and our plan."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn.bench.memory import MIB
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.results import Outcome, Row
from fusedrnn.bench.table import align, number


def _growth(outcome: Outcome | None) -> str:
    return number(outcome.memory.growth / MIB) if outcome and outcome.memory else "-"


def table(rows: Sequence[Row], libraries: Sequence[str]) -> str:
    """One line a workload: our plan, MiB by which the process of each library grew."""
    lines = []
    for row in rows:
        workload, ours = row.workload, row.outcomes.get(OURS)
        growths = [_growth(row.outcomes.get(name)) for name in (OURS, *libraries)]
        plan = ours.plan if ours else ""
        lines.append([workload.cell, workload.case.name, workload.mode, plan or "-", *growths])
    head = ["cell", "case", "mode", f"plan of {OURS}", *(f"{name} MiB" for name in (OURS, *libraries))]
    return align([head, *lines], left=4)


def legend(rows: Sequence[Row]) -> str:
    """What the figures are, and how they were measured here."""
    methods = {out.memory.method for row in rows for out in row.outcomes.values() if out.memory}
    how = "VmHWM, set back before" if methods <= {"VmHWM"} else "ru_maxrss, which cannot be set back: a lower bound"
    return (
        "MiB are those by which the process of a library grew at most, from the arrays of the problem on, in a\n"
        f"process that does nothing else ({how})."
    )
