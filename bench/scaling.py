"""The table of what more threads bring: all of them against one, beside what the processor itself does more."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn.bench.peers import ONE_THREAD, OURS
from fusedrnn.bench.results import Row
from fusedrnn.bench.table import align, number

LEGEND = """\
times is how much faster all threads are than one; peak is how many more multiply-adds they do in registers, which is
less than their number where they share a core or its power."""


def peak_scaling(row: Row) -> float | None:
    """The peak of all threads over that of one."""
    if OURS not in row.peaks or ONE_THREAD not in row.peaks:
        return None
    return row.peaks[OURS].gflops / row.peaks[ONE_THREAD].gflops


def table(rows: Sequence[Row]) -> str:
    """One line a workload."""
    lines = [["cell", "case", "T,B,I,H", "mode", "all threads ms", "one thread ms", "times", "peak"]]
    for row in rows:
        workload = row.workload
        lines.append(
            [
                workload.cell,
                workload.case.name,
                workload.case.sizes,
                workload.mode,
                number(row.median_ms(OURS), 4),
                number(row.median_ms(ONE_THREAD), 4),
                number(row.ratio(ONE_THREAD)),
                number(peak_scaling(row)),
            ]
        )
    return align(lines, left=4)
