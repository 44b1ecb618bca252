"""The table for readers and the JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedrnn.bench.cases import Workload
from fusedrnn.bench.gpu.floors import floor_of
from fusedrnn.bench.gpu.results import GpuRow, means, peers_of
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.results import Outcome
from fusedrnn.bench.table import align, number

FORMAT = 2
LEGEND = f"""\
Microseconds a step: medians of whole calls by events of the GPU, over T; training is forward and backward. x is the
library's time over that of {OURS}, above 1 where {OURS} is faster. All compute in the type of number of the table;
tf32 is float32 with the factors of products rounded to 10 bits, as many as float16 has, and float32 is without that.
error is the largest one relative to the largest entry of its array, against float64. floor is what an H200 should
allow, derived, +-25 %. cuDNN is the algorithm that PyTorch asks it for; the JSON has all plans."""


def _time(row: GpuRow, library: str) -> str:
    """Microseconds a step of a library that was timed, else a word that says why it was not."""
    outcome = row.outcomes.get(library)
    if outcome is None or outcome.status == "unsupported":
        return "-"
    return number(row.us_per_step(library)) if outcome.timing else outcome.status


def _error(outcome: Outcome | None) -> str:
    return "-" if outcome is None or outcome.error is None else f"{outcome.error:.0e}"


def _algorithm(row: GpuRow) -> str:
    """What cuDNN does forward in the first of the peers."""
    plans = [row.outcomes[peer].plan for peer in peers_of([row])]
    return plans[0].split(",")[0].removeprefix("cuDNN ") if plans and plans[0] else "-"


def _line(row: GpuRow, peers: Sequence[str]) -> list[str]:
    """What, how, our time and error, the floor, what cuDNN does; then time, ratio and error of each peer."""
    workload, floor = row.workload, floor_of(row.workload)
    plan = row.outcomes[OURS].plan.split(",")[0].removeprefix("forward: ")
    line = [workload.cell, workload.case.name, workload.mode, plan or "-"]
    line += [_time(row, OURS), _error(row.outcomes[OURS]), floor.text if floor else "-", _algorithm(row)]
    for peer in peers:
        ratio = row.ratio(peer)
        line += [_time(row, peer), number(ratio), _error(row.outcomes.get(peer))]
    return line


def times_table(rows: Sequence[GpuRow]) -> str:
    """The table of one type of number: a line a workload, its peers side by side."""
    peers = peers_of(rows)
    head = ["cell", "case", "mode", "plan", OURS, "error", "floor", "cuDNN"]
    head += [word for peer in peers for word in (peer, "x", "error")]
    return align([head, *(_line(row, peers) for row in rows)], left=4)


def means_table(rows: Sequence[GpuRow]) -> str:
    """Geometric means of the ratios, and the lowest; "" where nothing could be compared."""
    found = means(rows)
    if not found:
        return ""
    lines = [
        [*key, number(mean.mean), number(mean.lowest), mean.lowest_label, str(mean.count)]
        for key, mean in sorted(found.items())
    ]
    return align([["cell", "mode", "numbers", "beside", "mean x", "lowest", "of", "cases"], *lines], left=4)


def notes(rows: Sequence[GpuRow]) -> str:
    """Why something was not timed, one a line."""
    return "\n".join(
        f"{row.workload.label} {row.workload.dtype} {name}: {outcome.note}"
        for row in rows
        for name, outcome in row.outcomes.items()
        if outcome.note
    )


def left_out(workload: Workload, why: str) -> dict[str, str]:
    """A workload that was not begun or not timed, as JSON can hold it."""
    return {"kind": f"{workload.cell} {workload.mode} {workload.dtype}", "case": workload.case.name, "why": why}


def _left_out_text(entries: Sequence[Mapping[str, str]]) -> str:
    """A line for each kind, with all its cases."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        kinds.setdefault((entry["kind"], entry["why"]), []).append(entry["case"])
    return "\n".join(f"left out, {why}: {kind}: {' '.join(names)}" for (kind, why), names in kinds.items())


def heading(facts: Mapping[str, Any]) -> str:
    """On what the run was made."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def text(
    rows: Sequence[GpuRow],
    facts: Mapping[str, Any],
    missing: Sequence[Mapping[str, str]],
    tested: Mapping[str, Any] | None = None,
) -> str:
    """Everything for readers.

    Parameters
    ----------
    rows : what was found
    facts : of the GPU and the libraries
    missing : what was left out, each as `left_out` makes it
    tested : what the tests came to, where they were run
    """
    parts = [heading(facts)]
    if tested is not None:
        parts.append("\n".join([f"tests: {tested['summary']}", *(f"failed: {name}" for name in tested["failed"])]))
    for dtype in dict.fromkeys(row.workload.dtype for row in rows):
        parts.append(f"{dtype}\n\n" + times_table([row for row in rows if row.workload.dtype == dtype]))
    if rows:
        parts += [LEGEND, notes(rows)]
    parts.append(_left_out_text(missing))
    parts.append(means_table(rows))  # last, where the end is all that one gets to see
    return "\n\n".join(part for part in parts if part)


def as_json(
    rows: Sequence[GpuRow],
    facts: Mapping[str, Any],
    missing: Sequence[Mapping[str, str]],
    tested: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    complete: bool,
) -> dict[str, Any]:
    """Everything for programs; `complete` is false in what is written while the run goes on."""
    return {
        "format": FORMAT,
        "complete": complete,
        "facts": dict(facts),
        "settings": dict(settings),
        "tests": None if tested is None else dict(tested),
        "rows": [row.as_dict() for row in rows],
        "means": [
            {"cell": cell, "mode": mode, "dtype": dtype, "peer": peer, **mean.__dict__}
            for (cell, mode, dtype, peer), mean in means(rows).items()
        ],
        "left_out": list(missing),
    }
