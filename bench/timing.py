"""Timing in alternating bursts.

Libraries disturb each other: threads of one that has just returned keep spinning for milliseconds. So every library
sits in a process of its own, they take turns in short bursts of calls, there is a pause before each burst, and each
burst begins with calls that are not counted. The order turns round after each round, so that nobody always follows the
same neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from fusedrnn.bench.process import WorkerError

PAUSE_S = 0.05
BURST_S = 0.1
MAXIMUM_CALLS = 2000
CALIBRATION_CALLS = 3


class Burstable(Protocol):
    """What can be timed; `process.WorkerProcess` is one."""

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        """Answer the request ``burst`` with the time of each call in nanoseconds."""


@dataclass(frozen=True)
class Timing:
    """The times of all counted calls.

    Attributes
    ----------
    median_ms, low_quartile_ms, high_quartile_ms, minimum_ms : of single calls, over all bursts
    calls : how many there were
    burst_medians_ms : the median of each burst, in order
    """

    median_ms: float
    low_quartile_ms: float
    high_quartile_ms: float
    minimum_ms: float
    calls: int
    burst_medians_ms: tuple[float, ...]

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a share of the median."""
        return (self.high_quartile_ms - self.low_quartile_ms) / self.median_ms

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        return {**asdict(self), "spread": self.spread}


def summarise(bursts: Sequence[Sequence[int]]) -> Timing:
    """Summarise the times of calls, in nanoseconds, one sequence a burst.

    Examples
    --------
    >>> timing = summarise([[1_000_000, 3_000_000], [2_000_000, 2_000_000]])
    >>> timing.median_ms, timing.spread, timing.calls
    (2.0, 0.25, 4)
    """
    times_ms = np.concatenate([np.asarray(burst, dtype=np.float64) for burst in bursts]) / 1e6
    low, median, high = (float(value) for value in np.quantile(times_ms, [0.25, 0.5, 0.75]))
    medians = tuple(float(np.median(burst)) / 1e6 for burst in bursts)
    return Timing(median, low, high, float(times_ms.min()), len(times_ms), medians)


def calls_per_burst(call_s: float) -> tuple[int, int]:
    """How many calls a burst counts, and how many it makes before, for a call that takes `call_s` seconds.

    Examples
    --------
    >>> calls_per_burst(1e-3), calls_per_burst(1.0), calls_per_burst(1e-6)
    ((100, 10), (1, 1), (2000, 200))
    """
    calls = min(max(round(BURST_S / call_s), 1), MAXIMUM_CALLS)
    return calls, max(calls // 10, 1)


def measure(
    workers: Mapping[str, Burstable],
    rounds: int,
    sleep: Callable[[float], None] = time.sleep,
    calls: int | None = None,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, Timing | WorkerError]:
    """Time what the workers have prepared, in `rounds` bursts each; a worker that fails is left out from then on.

    A burst counts `calls` calls; None: as many as `calls_per_burst` says, by a first burst that tells how long one is.
    `after_round` is called after each round, for what else takes its turn.
    """
    plans: dict[str, tuple[int, int]] = {}
    failures: dict[str, WorkerError] = {}

    def burst(name: str, calls: int, warm_up: int) -> list[int]:
        sleep(PAUSE_S)
        try:
            return list(workers[name].request("burst", calls=calls, warm_up=warm_up)["nanoseconds"])
        except WorkerError as failure:
            failures[name] = failure
            return []

    if calls is not None:
        plans = dict.fromkeys(workers, (calls, max(calls // 10, 1)))
    for name in workers if calls is None else ():
        times = burst(name, CALIBRATION_CALLS, 1)
        if times:
            plans[name] = calls_per_burst(float(np.median(times)) / 1e9)
    bursts: dict[str, list[list[int]]] = {name: [] for name in plans}
    order = list(plans)
    for _ in range(rounds):
        for name in order:
            if name not in failures:
                bursts[name].append(burst(name, *plans[name]))
        after_round()
        order.reverse()
    return {name: failures[name] if name in failures else summarise(bursts[name]) for name in workers}
