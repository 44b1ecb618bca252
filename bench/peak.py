"""What the processor can do at most, measured in the run whose figures are compared with it.

The peak is the rate at which the threads of our process do multiply-adds that wait for nothing: independent ones, in
registers, in the instruction set of the kernels. It is taken once a round, in turn with the bursts of the libraries, so
that a processor that slows down slows both, and in pieces as short as many calls are: where others want the same cores,
longer ones would be interrupted more, and shares of short calls would come out above 1. What counts as work of a layer
is said at `cases.Workload.flops`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fusedrnn.bench.process import WorkerError
from fusedrnn.bench.timing import PAUSE_S, Burstable

PIECES, WARM_UP_PIECES, PIECE_MS = 40, 5, 1.0


@dataclass(frozen=True)
class Peak:
    """The peak of all threads in GFLOP/s: the median of its bursts, and the median of each burst in order.

    Examples
    --------
    >>> Peak((500.0, 480.0, 510.0)).gflops
    500.0
    """

    bursts: tuple[float, ...]

    @property
    def gflops(self) -> float:
        """The median of the bursts, as times are medians."""
        return statistics.median(self.bursts)

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        return {"gflops": self.gflops, "burst_gflops": list(self.bursts)}


@dataclass
class PeakMeter:
    """Takes the peak of a worker of ours, a burst for each call; a worker that fails is asked no more.

    Attributes
    ----------
    worker : of this library, with a workload prepared, so that its threads are set
    dtype : type of number
    sleep : waits for so many seconds
    failure : why there is no more than what was found until then
    """

    worker: Burstable
    dtype: str
    sleep: Callable[[float], None] = time.sleep
    failure: str = ""
    _bursts: list[float] = field(default_factory=list)

    def take(self) -> None:
        """One burst, after a pause."""
        if self.failure:
            return
        self.sleep(PAUSE_S)
        try:
            pieces = WARM_UP_PIECES + PIECES
            reply = self.worker.request("peak", dtype=self.dtype, milliseconds=PIECE_MS, pieces=pieces)
        except WorkerError as failure:
            self.failure = str(failure)
            return
        self._bursts.append(statistics.median(reply["gflops"][WARM_UP_PIECES:]))

    @property
    def peak(self) -> Peak | None:
        """What was found, if anything."""
        return Peak(tuple(self._bursts)) if self._bursts else None
