"""The table for readers and the JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedrnn.bench.gpu.floors import floor_of
from fusedrnn.bench.gpu.results import GpuRow, means, peers_of
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.results import Outcome
from fusedrnn.bench.table import align, number

FORMAT = 1
LEGEND = f"""\
Microseconds a step: medians of whole calls by events of the GPU, over T; training is forward and backward. x is the
library's time over that of {OURS}, above 1 where {OURS} is faster. torch runs the type of number of the table,
float32 without TF32; torch_tf32 rounds the products of float32 to 10 bits, as float16 does. error is the largest one
relative to the largest entry of its array, against float64. floor is what an H200 should allow, derived, +-25 %."""


def _time(row: GpuRow, library: str) -> str:
    """Microseconds a step of a library that was timed, else a word that says why it was not."""
    outcome = row.outcomes.get(library)
    if outcome is None or outcome.status == "unsupported":
        return "-"
    return number(row.us_per_step(library)) if outcome.timing else outcome.status


def _error(outcome: Outcome | None) -> str:
    return "-" if outcome is None or outcome.error is None else f"{outcome.error:.0e}"


def _line(row: GpuRow, peers: Sequence[str]) -> list[str]:
    """One workload: what, how, our time and error, the floor; then time, ratio and error of each peer."""
    workload, floor = row.workload, floor_of(row.workload)
    plan = row.outcomes[OURS].plan.split(",")[0].removeprefix("forward: ")
    line = [workload.cell, workload.case.name, workload.mode, plan or "-"]
    line += [_time(row, OURS), _error(row.outcomes[OURS]), floor.text if floor else "-"]
    for peer in peers:
        ratio = row.ratio(peer)
        line += [_time(row, peer), number(ratio), _error(row.outcomes.get(peer))]
    return line


def times_table(rows: Sequence[GpuRow]) -> str:
    """The table of one type of number: a line a workload, its peers side by side."""
    peers = peers_of(rows)
    head = ["cell", "case", "mode", "plan", OURS, "error", "floor"]
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
    """A line for every library and workload: what ran, or why it was not timed."""
    lines = []
    for row in rows:
        for name, outcome in row.outcomes.items():
            said = "; ".join(text for text in (outcome.plan, outcome.note) if text)
            lines.append(f"{row.workload.label} {row.workload.dtype} {name}: {said or '-'}")
    return "\n".join(lines)


def heading(facts: Mapping[str, Any]) -> str:
    """On what the run was made."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def text(
    rows: Sequence[GpuRow],
    facts: Mapping[str, Any],
    left_out: Sequence[Mapping[str, str]],
    tested: Mapping[str, Any] | None = None,
) -> str:
    """Everything for readers.

    Parameters
    ----------
    rows : what was found
    facts : of the GPU and the libraries
    left_out : "workload" and "why" of each that was not begun or not timed
    tested : what the tests came to, where they were run
    """
    parts = [heading(facts)]
    if tested is not None:
        parts.append("\n".join([f"tests: {tested['summary']}", *(f"failed: {name}" for name in tested["failed"])]))
    for dtype in dict.fromkeys(row.workload.dtype for row in rows):
        parts.append(f"{dtype}\n\n" + times_table([row for row in rows if row.workload.dtype == dtype]))
    if rows:
        parts += [LEGEND, means_table(rows), notes(rows)]
    if left_out:
        parts.append("\n".join(f"left out: {entry['workload']}: {entry['why']}" for entry in left_out))
    return "\n\n".join(part for part in parts if part)


def as_json(
    rows: Sequence[GpuRow],
    facts: Mapping[str, Any],
    left_out: Sequence[Mapping[str, str]],
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
        "left_out": list(left_out),
    }
