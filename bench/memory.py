"""How much memory a process takes at most: its resident pages, as the system counts them.

Linux keeps the highest figure of a process as VmHWM in /proc/self/status, and forgets it when 5 is written to
/proc/self/clear_refs. Where that is not allowed there is only ru_maxrss, which never falls: then what was taken
before, at import say, hides what is taken later, and the figures are lower bounds.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 2**20


def _of_status(name: str) -> int | None:
    """A line of /proc/self/status in bytes, where there is one."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return sizes[0] if sizes else None


def _maximum() -> int:
    """ru_maxrss in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> bool:
    """Let the highest figure be that of now; False where the system does not allow it."""
    try:
        FORGET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return _of_status("VmHWM") is not None


@dataclass(frozen=True)
class Memory:
    """What a process took, in bytes.

    Attributes
    ----------
    peak : at most, with everything that it has: interpreter, libraries, data
    growth : at most above where the gauge began
    method : "VmHWM", or "ru_maxrss" where that cannot be set back
    """

    peak: int
    growth: int
    method: str


class Gauge:
    """The memory of this process from here on.

    Examples
    --------
    >>> gauge = Gauge()
    >>> block = np.ones(64 * MIB, dtype=np.uint8)
    >>> memory = gauge.read()
    >>> memory.growth >= 63 * MIB or memory.method == "ru_maxrss"
    True
    >>> memory.peak > memory.growth
    True
    """

    def __init__(self) -> None:
        self._method = "VmHWM" if forget_peak() else "ru_maxrss"
        now = _of_status("VmRSS") if self._method == "VmHWM" else None
        self._start = _maximum() if now is None else now
        self._highest = self._start

    def read(self) -> Memory:
        """The figures so far."""
        now = _of_status("VmHWM") if self._method == "VmHWM" else None
        self._highest = max(self._highest, _maximum() if now is None else now)
        return Memory(self._highest, self._highest - self._start, self._method)

    def leave_out(self) -> None:
        """Take no notice of what happened since the last `read`; impossible with ru_maxrss."""
        forget_peak()
