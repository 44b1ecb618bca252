"""Timing by events of the GPU, in turns.

On a GPU the work of two libraries does not overlap and leaves no threads that spin, so they share a process and a
queue: both put their kernels into the default stream. In every round each library is called a few times without waiting
in between, as a program would; an event before and after each call says when the GPU came by. Where the host cannot
keep the queue filled the time of a call is that of the host, which is what a program would see.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from fusedrnn.bench.timing import Timing, summarise

ROUNDS = 5
CASE_S = 0.2  # for all libraries in one mode
MAXIMUM_CALLS = 20  # of a library in a round
Call = Callable[[], Any]


class OutOfTimeError(Exception):
    """What is left of the budget does not suffice; the message says what would have been needed."""


def event_times(call: Call, count: int) -> list[int]:
    """The nanoseconds of each of `count` calls between two events; waits for the last."""
    cuda = importlib.import_module("cupy").cuda
    starts, ends = [cuda.Event() for _ in range(count)], [cuda.Event() for _ in range(count)]
    for start, end in zip(starts, ends, strict=True):
        start.record(cuda.Stream.null)
        call()
        end.record(cuda.Stream.null)
    ends[-1].synchronize()
    pairs = zip(starts, ends, strict=True)
    return [round(cuda.get_elapsed_time(start, end) * 1e6) for start, end in pairs]


def calls_a_round(call_s: float, libraries: int) -> int:
    """How often a library is called in a round, where one call takes `call_s` seconds.

    Examples
    --------
    >>> calls_a_round(1e-3, 2), calls_a_round(10.0, 2), calls_a_round(1e-6, 2)
    (20, 1, 20)
    """
    return min(max(int(CASE_S / (libraries * ROUNDS * call_s)), 1), MAXIMUM_CALLS)


def measure(
    calls: Mapping[str, Call],
    deadline: float = float("inf"),
    times: Callable[[Call, int], list[int]] = event_times,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Timing]:
    """Time the calls of several libraries in `ROUNDS` rounds, after a warm-up of each.

    Parameters
    ----------
    calls : by library
    deadline : when all must be done, by `clock`
    times : makes so many calls and says how many nanoseconds each took
    clock : seconds

    Raises
    ------
    OutOfTimeError
        The rounds would end after the deadline.

    Examples
    --------
    >>> found = measure({"a": lambda: None}, times=lambda call, count: [1_000_000] * count)
    >>> found["a"].median_ms, found["a"].calls
    (1.0, 100)
    """
    seconds = {}
    for name, call in calls.items():
        times(call, 1)  # loads kernels, takes memory
        seconds[name] = max(min(times(call, 2)) / 1e9, 1e-7)
    counts = {name: calls_a_round(call_s, len(calls)) for name, call_s in seconds.items()}
    needed = ROUNDS * sum(counts[name] * call_s for name, call_s in seconds.items())
    if clock() + needed > deadline:
        raise OutOfTimeError(f"{needed:.1f} s of timing do not fit into what is left")
    bursts: dict[str, list[list[int]]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(ROUNDS):
        for name in order:
            bursts[name].append(times(calls[name], counts[name]))
        order.reverse()
    return {name: summarise(bursts[name]) for name in calls}
