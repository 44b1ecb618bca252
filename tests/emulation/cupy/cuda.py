"""Streams and devices of the emulation: there is one of each."""

from __future__ import annotations

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


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of the runtime."""


def get_current_stream() -> SimpleNamespace:
    """The null stream."""
    return SimpleNamespace(ptr=0)


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 1,
    getDevice=lambda: 0,
    getDeviceProperties=lambda _: {"name": b"emulated GPU", "major": 9, "minor": 0},
)
