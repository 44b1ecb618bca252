"""What a run found, and the ratios that follow from it. A ratio above 1 means that fusedrnn was faster."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from fusedrnn.bench.cases import Workload
from fusedrnn.bench.memory import Memory
from fusedrnn.bench.peak import Peak
from fusedrnn.bench.peers import OURS, OURSELVES
from fusedrnn.bench.timing import Timing

Status = Literal["timed", "wrong", "unsupported", "failed"]


@dataclass(frozen=True)
class Outcome:
    """One library on one workload.

    Attributes
    ----------
    status : "timed"; "wrong" answers, "unsupported" workloads and what "failed" are not timed
    note : why it was not timed
    error : the largest relative error of the answer, where there was one
    memory : of the library's process, over this workload
    plan : how the library went about it, where it says so
    """

    status: Status
    note: str = ""
    error: float | None = None
    timing: Timing | None = None
    memory: Memory | None = None
    plan: str = ""


@dataclass(frozen=True)
class Row:
    """All libraries on one workload.

    Attributes
    ----------
    outcomes : by library
    peaks : what the processor could do meanwhile, on the threads of `OURS` and of `ONE_THREAD`
    """

    workload: Workload
    outcomes: dict[str, Outcome]
    peaks: dict[str, Peak] = field(default_factory=dict)

    def median_ms(self, library: str) -> float | None:
        """The median time of a library, where it was timed."""
        outcome = self.outcomes.get(library)
        return outcome.timing.median_ms if outcome and outcome.timing else None

    @property
    def gflops(self) -> float | None:
        """Our GFLOP/s."""
        ours = self.median_ms(OURS)
        return self.workload.flops / ours / 1e6 if ours else None

    @property
    def share(self) -> float | None:
        """Our GFLOP/s as a share of the peak: useful operations (`Workload.flops`) over time and peak."""
        peak, gflops = self.peaks.get(OURS), self.gflops
        return gflops / peak.gflops if peak and gflops else None

    @property
    def best_peer(self) -> str | None:
        """The fastest of the others."""
        medians = {name: self.median_ms(name) for name in self.outcomes if name not in OURSELVES}
        timed = {name: median for name, median in medians.items() if median is not None}
        return min(timed, key=timed.__getitem__) if timed else None

    def ratio(self, library: str | None) -> float | None:
        """The median time of a library over ours."""
        ours = self.median_ms(OURS)
        theirs = self.median_ms(library) if library else None
        return theirs / ours if ours and theirs else None


@dataclass(frozen=True)
class Mean:
    """The ratios of some workloads to one library: their geometric mean, the lowest of them, and whose it is."""

    mean: float
    lowest: float
    lowest_label: str
    count: int


def summarise_ratios(rows: Iterable[Row], library: str | None = None) -> Mean | None:
    """Summarise the ratios to a library, or to the best peer of each row; None where nothing could be compared."""
    ratios = {row.workload.label: row.ratio(library or row.best_peer) for row in rows}
    known = {label: ratio for label, ratio in ratios.items() if ratio is not None}
    if not known:
        return None
    lowest = min(known, key=known.__getitem__)
    mean = math.exp(math.fsum(map(math.log, known.values())) / len(known))
    return Mean(mean, known[lowest], lowest, len(known))


def groups(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each cell and mode, in the order in which they come."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.workload.cell, row.workload.mode), []).append(row)
    return found


def split_by_lengths(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows whose sequences all have T steps, and those with lengths."""
    full: list[Row] = []
    ragged: list[Row] = []
    for row in rows:
        (ragged if row.workload.case.ragged else full).append(row)
    return full, ragged
