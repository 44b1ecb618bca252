"""What a step of an LSTM should take on an H200 at best: derived from costs of its parts, +-25 %, measured by nobody.

The costs: a barrier of the whole grid 1.1 us, a node of a graph 1.0 us, a launch 2.7 us, 263 cycles to the second-level
cache and 180 to the shared memory of a neighbour, `mma.sync` at 62 % of the peak rate, weights resident on chip.
"""

from __future__ import annotations

from typing import NamedTuple

from fusedrnn.bench.cases import Workload


class Floor(NamedTuple):
    """Microseconds a step, from and to."""

    low: float
    high: float

    @property
    def text(self) -> str:
        """As it stands in the table."""
        return f"{self.low:g}-{self.high:g}"


# Forward, by rows and hidden units; 16 bits cost the same in either format.
_HALF = {(1, 512): (0.6, 0.7), (32, 512): (0.65, 0.75), (16, 768): (0.9, 1.0), (64, 1024): (1.6, 1.9)}
_HALF |= {(16, 2048): (1.8, 2.2)}
_TF32 = {(1, 512): (0.8, 0.9), (32, 512): (1.0, 1.1), (64, 1024): (2.7, 3.2), (16, 2048): (4.0, 4.5)}
ONE_BLOCK_HIDDEN, ONE_BLOCK = 128, (0.25, 0.4)
# Of a backward pass over a forward one.
BACKWARD = (1.2, 1.5)


def floor_of(workload: Workload) -> Floor | None:
    """The floor of a workload, where there is one: for an LSTM in 16 bits or in TF32, without lengths.

    Forward and backward is the forward floor and 1.2 to 1.5 times that.

    Examples
    --------
    >>> from fusedrnn.bench.gpu.cases import make_case
    >>> floor_of(Workload(make_case(512, 32, 100), "lstm", "inference", "bfloat16")).text
    '0.65-0.75'
    >>> floor_of(Workload(make_case(512, 32, 100), "lstm", "training", "tf32")).text
    '2.2-2.75'
    >>> floor_of(Workload(make_case(512, 32, 100), "lstm", "inference", "float32")) is None
    True
    """
    case = workload.case
    half = workload.dtype in ("float16", "bfloat16")
    if workload.cell != "lstm" or case.ragged or not (half or workload.dtype == "tf32"):
        return None
    found = (_HALF if half else _TF32).get((case.rows, case.hidden))
    if half and case.hidden <= ONE_BLOCK_HIDDEN:
        found = ONE_BLOCK
    if found is None:
        return None
    low, high = found
    if workload.training:
        low, high = low * (1 + BACKWARD[0]), high * (1 + BACKWARD[1])
    return Floor(round(low, 3), round(high, 3))
