"""What a run on a GPU found, one row a workload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fusedrnn.bench.gpu.floors import floor_of
from fusedrnn.bench.peers import OURS
from fusedrnn.bench.results import Mean, Row, summarise_ratios


@dataclass(frozen=True)
class GpuRow(Row):
    """One workload.

    Attributes
    ----------
    checked_by : whose answer in float64 the others were compared with
    checked_steps : how many of the T steps that was
    """

    checked_by: str = ""
    checked_steps: int = 0

    def us_per_step(self, library: str) -> float | None:
        """The median time of a library over the steps, in microseconds."""
        median = self.median_ms(library)
        return None if median is None else 1e3 * median / self.workload.case.steps

    @property
    def good(self) -> bool:
        """Whether nothing of ours went wrong: right and timed, or too large for the GPU."""
        return self.outcomes[OURS].status in ("timed", "unsupported")

    def as_dict(self) -> dict[str, Any]:
        """All that is known, as JSON can hold it."""
        floor = floor_of(self.workload)
        return {
            "workload": self.workload.as_dict(),
            "name": self.workload.case.name,
            "checked_by": self.checked_by,
            "checked_steps": self.checked_steps,
            "floor_us_per_step": floor._asdict() if floor else None,
            "libraries": {name: self._outcome(name) for name in self.outcomes},
        }

    def _outcome(self, library: str) -> dict[str, Any]:
        outcome = self.outcomes[library]
        return {
            "status": outcome.status,
            "note": outcome.note,
            "plan": outcome.plan,
            # JSON has no infinity.
            "error": outcome.error if outcome.error is None or outcome.error < float("inf") else "inf",
            "us_per_step": self.us_per_step(library),
            "ratio": None if library == OURS else self.ratio(library),
            "timing": outcome.timing.as_dict() if outcome.timing else None,
        }


def peers_of(rows: Iterable[GpuRow]) -> list[str]:
    """All others, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row.outcomes if name != OURS))


def means(rows: Iterable[GpuRow]) -> dict[tuple[str, str, str, str], Mean]:
    """The geometric mean of the ratios for each cell, mode, type of number and peer, where there is one."""
    groups: dict[tuple[str, str, str], list[GpuRow]] = {}
    for row in rows:
        groups.setdefault((row.workload.cell, row.workload.mode, row.workload.dtype), []).append(row)
    found = {
        (*group, peer): summarise_ratios(those, peer) for group, those in groups.items() for peer in peers_of(those)
    }
    return {key: mean for key, mean in found.items() if mean is not None}
