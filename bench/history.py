"""The history of runs: a file of JSON lines, one a run, which only ``fusedrnn bench --history FILE`` writes.

A line holds what ``--json`` writes: machine with date, versions and commit, options, all results. Runs of other
machines and of other versions may stand in the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusedrnn.bench.peers import OURS
from fusedrnn.bench.table import align, number


class HistoryError(ValueError):
    """A file that holds something else than runs."""


def append(path: Path, content: Mapping[str, Any]) -> None:
    """Add a run, in one line and one write, so that two runs that end at the same time do not mix."""
    line = json.dumps(content, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a file, in order.

    Raises
    ------
    HistoryError
        A line is not a run.
    """
    runs = []
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            run = json.loads(line)
        except json.JSONDecodeError:
            run = None
        if not isinstance(run, dict) or "machine" not in run or not ("rows" in run or "systems" in run):
            raise HistoryError(f"--show must name a file of --history, got {path} with something else in line {place}")
        runs.append(run)
    return runs


def _figures(run: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """What a run timed, and our median, share of the peak and ratio to the best peer of each."""
    for row in run.get("rows", ()):
        label = f"{row['cell']} {row['case']['name']} {row['mode']} {row['dtype']}"
        yield label, _figure(row, row["share"])
    for row in run.get("systems", ()):
        yield f"training {row['name']}", _figure(row, None)


def _figure(row: Mapping[str, Any], share: float | None) -> list[str]:
    timing = row["libraries"][OURS]["timing"]
    return [number(timing["median_ms"], 4) if timing else "-", number(share, 2), number(row["ratio"])]


def text(runs: Sequence[Mapping[str, Any]]) -> str:
    """One line for each workload and run: the runs of a workload one below the other, the oldest first.

    Examples
    --------
    >>> print(text([]))
    workload  date  commit  threads  fusedrnn ms  share  ratio  cpu
    ---------------------------------------------------------------
    """
    found: dict[str, list[list[str]]] = {}
    for run in runs:
        machine, threads = run["machine"], run["settings"].get("threads")
        commit = machine["commit"] or f"version {machine['versions'].get(OURS, '?')}"
        where = [machine["time"][:10], commit if "version" in commit else commit[:9] + commit[40:]]
        for label, figures in _figures(run):
            found.setdefault(label, []).append(
                [label, *where, str(threads or machine["cores"]), *figures, machine["cpu"]]
            )
    head = ["workload", "date", "commit", "threads", f"{OURS} ms", "share", "ratio", "cpu"]
    return align([head, *(line for lines in found.values() for line in lines)], left=3)
