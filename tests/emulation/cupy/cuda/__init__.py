"""Streams, events and devices of the emulation: there is one stream, and two devices that share their memory.

``FUSEDRNN_EMULATED_GPUS``, such as ``0,1``, says which devices a process sees, as ``CUDA_VISIBLE_DEVICES`` does.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any, ClassVar

from . import cublas as cublas


class Device:
    """The emulated GPU."""

    entered: ClassVar[list[int]] = [0]  # the last one is current

    def __init__(self, number: int | None = None) -> None:
        self.id = self.entered[-1] if number is None else number

    def __enter__(self) -> Device:
        self.entered.append(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        self.entered.pop()

    def use(self) -> None:
        """Make it the current one."""
        if not 0 <= self.id < len(_seen()):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.entered[-1] = self.id


class Stream:
    """All work is done when the call that asked for it returns."""

    null: Stream
    ptr = 0

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def is_capturing(self) -> bool:
        """No graph is made of what CuPy does."""
        return False


Stream.null = Stream()


class Event:
    """The time of the host's clock when it was recorded."""

    def record(self, _: Any = None) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """There is nothing to wait for."""


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds between two events."""
    return 1e3 * (end.seconds - start.seconds)


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of the runtime."""


def get_current_stream() -> Stream:
    """The null stream."""
    return Stream.null


def _seen() -> list[str]:
    return os.environ.get("FUSEDRNN_EMULATED_GPUS", "0,1").split(",")


device = SimpleNamespace(get_cublas_handle=lambda: 0)
nvrtc = SimpleNamespace(getVersion=lambda: (0, 0))
runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: len(_seen()),
    deviceGetPCIBusId=lambda number: f"0000:0{_seen()[number]}:00.0",
    getDevice=lambda: Device.entered[-1],
    getDeviceProperties=lambda _: {
        "name": b"emulated GPU",
        "major": 9,
        "minor": 0,
        "multiProcessorCount": 1,
        "totalGlobalMem": 2**30,
    },
    driverGetVersion=lambda: 0,
    runtimeGetVersion=lambda: 13000,
)
