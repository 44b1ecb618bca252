"""The table for readers and the JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fusedrnn.bench import details, lengths, scaling
from fusedrnn.bench.peers import ONE_THREAD, OURS
from fusedrnn.bench.results import Mean, Outcome, Row, groups, split_by_lengths, summarise_ratios
from fusedrnn.bench.table import align, number, percent

FORMAT = 2
TIMES_LEGEND = f"""\
Medians of single calls; spread is the distance between the quartiles over the median; ratio is the best peer's time
over that of {OURS}; error is the largest one relative to the largest entry of its array, against NumPy in float64,
our own and the peers' largest. share is what {OURS} reaches of the multiply-adds that the processor does in registers
on as many threads, measured in turn with the libraries. Only the multiply-adds of the input product and of the
recurrent one count as work, 2*T*B*G*H*(I+H) operations forward, three times that in training.

Geometric means of the ratios, and the lowest ratio to the best peer:"""


def _median(outcome: Outcome | None) -> str:
    """The median of a library that was timed, else a word that says why it was not."""
    if outcome is None or outcome.status == "unsupported":
        return "-"
    return number(outcome.timing.median_ms, 4) if outcome.timing else outcome.status


def _line(row: Row, libraries: Sequence[str]) -> list[str]:
    """One workload of the table of times."""
    workload, ours = row.workload, row.outcomes.get(OURS)
    best = row.best_peer
    errors = [row.outcomes[name].error for name in libraries if name in row.outcomes]
    known = [error for error in errors if error is not None]
    own_error = ours.error if ours else None
    return [
        workload.cell,
        workload.case.name,
        workload.case.sizes,
        workload.mode,
        _median(ours),
        f"{ours.timing.spread:.0%}" if ours and ours.timing else "-",
        number(row.gflops),
        percent(row.share),
        *(_median(row.outcomes.get(name)) for name in libraries),
        best or "-",
        number(row.ratio(best)),
        "-" if own_error is None else f"{own_error:.0e}",
        f"{max(known):.0e}" if known else "-",
    ]


def times_table(rows: Sequence[Row], libraries: Sequence[str]) -> str:
    """The table of times: one line a workload, one column a peer, median milliseconds of a call.

    Parameters
    ----------
    rows : what was found
    libraries : the peers, in the order of the columns
    """
    head = ["cell", "case", "T,B,I,H", "mode", f"{OURS} ms", "spread", "GFLOP/s", "share"]
    head += [f"{name} ms" for name in libraries] + ["best peer", "ratio", "error", "peers' error"]
    return align([head, *(_line(row, libraries) for row in rows)], left=4)


def means_table(rows: Sequence[Row], libraries: Sequence[str]) -> str:
    """The table of geometric means: one line for each cell and mode and one for all, one column a peer."""
    lines = [["cell", "mode", "cases", "best peer", *libraries, "lowest", "where"]]
    parts: dict[tuple[str, str], list[Row]] = groups(rows)
    if len(parts) > 1:
        parts[("all", "all")] = list(rows)
    for (cell, mode), part in parts.items():
        best = summarise_ratios(part)
        means = [best, *(summarise_ratios(part, name) for name in libraries)]
        lines.append(
            [
                cell,
                mode,
                str(best.count if best else 0),
                *(number(mean.mean if mean else None) for mean in means),
                number(best.lowest if best else None),
                best.lowest_label if best else "-",
            ]
        )
    return align(lines, left=2)


def notes(rows: Sequence[Row]) -> list[str]:
    """Why libraries were not timed: one line for each library and reason, with the first workload and their number."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for name, outcome in row.outcomes.items():
            if outcome.status != "timed":
                found.setdefault((name, outcome.status, outcome.note), []).append(row.workload.label)
    lines = []
    for (name, status, note), labels in found.items():
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        lines.append(f"{name}: {status} at {labels[0]}{more}: {note}")
    return lines


def text(rows: Sequence[Row], libraries: Sequence[str], machine: Mapping[str, Any], absent: Mapping[str, str]) -> str:
    """Everything that a run prints.

    Parameters
    ----------
    rows : what was found
    libraries : the peers that took part, in the order of the columns
    machine : from `machine.describe`
    absent : the peers that could not take part, and why
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    full, ragged = split_by_lengths(rows)
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, instruction set {machine['instruction_set']}",
        versions,
    ]
    if full:
        parts += ["", times_table(full, libraries), "", TIMES_LEGEND, "", means_table(full, libraries)]
    if ragged:
        parts += ["", lengths.table(ragged), "", lengths.LEGEND]
    if any(ONE_THREAD in row.outcomes for row in full):
        parts += ["", scaling.table(full), "", scaling.LEGEND]
    parts += ["", details.table(rows, libraries), "", details.legend(rows)]
    remarks = notes(rows) + [f"{name}: not measured: {why}" for name, why in absent.items()]
    return "\n".join(parts + (["", *remarks] if remarks else []))


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    return asdict(mean) if mean else None


def as_json(
    rows: Sequence[Row],
    libraries: Sequence[str],
    machine: Mapping[str, Any],
    absent: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that a run found, as JSON can hold it; the arguments are those of `text`, and the settings."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "settings": dict(settings),
        "absent": dict(absent),
        "rows": [
            {
                **row.workload.as_dict(),
                "flops": row.workload.flops,
                "gflops": row.gflops,
                "best_peer": row.best_peer,
                "ratio": row.ratio(row.best_peer),
                "share": row.share,
                "peaks": {name: peak.as_dict() for name, peak in row.peaks.items()},
                "libraries": {
                    name: {**outcome_json(outcome), "ratio": row.ratio(name) if name != OURS else None}
                    for name, outcome in row.outcomes.items()
                },
            }
            for row in rows
        ],
        "means": [
            {
                "cell": cell,
                "mode": mode,
                "best_peer": _mean(summarise_ratios(part)),
                "libraries": {name: _mean(summarise_ratios(part, name)) for name in libraries},
            }
            for (cell, mode), part in groups(split_by_lengths(rows)[0]).items()
        ],
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """What a library did, as JSON can hold it (an infinite error is a string)."""
    error = outcome.error
    return {
        "status": outcome.status,
        "note": outcome.note,
        "error": error if error is None or error < float("inf") else "infinite",
        "timing": outcome.timing.as_dict() if outcome.timing else None,
        "memory": asdict(outcome.memory) if outcome.memory else None,
        "plan": outcome.plan,
    }
