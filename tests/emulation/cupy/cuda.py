"""Streams, events and devices of the emulation: there is one stream and one device."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any


class Device:
    """The emulated GPU."""

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class Stream:
    """All work is done when the call that asked for it returns."""

    null: Stream
    ptr = 0

    def synchronize(self) -> None:
        """There is nothing to wait for."""


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


cublas = SimpleNamespace()
nvrtc = SimpleNamespace(getVersion=lambda: (0, 0))
runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 1,
    getDevice=lambda: 0,
    getDeviceProperties=lambda _: {
        "name": b"emulated GPU",
        "major": 9,
        "minor": 0,
        "multiProcessorCount": 1,
        "totalGlobalMem": 2**30,
    },
    driverGetVersion=lambda: 0,
    runtimeGetVersion=lambda: 0,
)
