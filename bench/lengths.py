"""The table of workloads with lengths: beside our own run of all T steps of every row, and beside PyTorch's packing."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn.bench.peers import OURS, PADDED
from fusedrnn.bench.results import Row
from fusedrnn.bench.table import align, number, percent

PEER = "torch"
LEGEND = f"""\
Rows with lengths of their own, drawn evenly from [T/10, T], in any order. steps is the share of the T*B steps that lie
within them; padded is {OURS} over all T steps of every row; {PEER} packs (pack_padded_sequence with
enforce_sorted=False), runs, and pads again. Answers are compared within the lengths. share counts the work within the
lengths alone."""


def of_padded(row: Row) -> float | None:
    """Our time over that of our own padded run."""
    inverse = row.ratio(PADDED)
    return 1 / inverse if inverse else None


def _line(row: Row) -> list[str]:
    workload = row.workload
    lengths, steps = workload.lengths, workload.case.steps
    return [
        workload.cell,
        workload.case.name,
        workload.case.sizes,
        workload.mode,
        percent(None if lengths is None else float(lengths.mean()) / steps),
        number(row.median_ms(OURS), 4),
        number(row.median_ms(PADDED), 4),
        number(row.median_ms(PEER), 4),
        number(of_padded(row)),
        number(row.ratio(PEER)),
        percent(row.share),
    ]


def table(rows: Sequence[Row]) -> str:
    """One line a workload: times, our time over that of our padded run, the time of PyTorch over ours."""
    head = ["cell", "case", "T,B,I,H", "mode", "steps", f"{OURS} ms", "padded ms", f"{PEER} ms"]
    return align([[*head, "of padded", f"{PEER} ratio", "share"], *map(_line, rows)], left=4)
