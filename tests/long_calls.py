"""What each process of `test_interrupts.py` runs: ``python long_calls.py PROGRAM CALL THREADS``; it prints JSON.

A call is made as long as it has to be on the machine at hand, and a thread sends Ctrl-C to the process meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

import fusedrnn as fr
from fusedrnn import _core

SECONDS = 1.0  # what a call takes at least when nobody stops it
AFTER = 0.3  # seconds until the signal comes
TRIES = 3
SHORT = 4  # steps
# B, I, H, layers and directions of which the plan splits units, or rows since the units cannot be halved; which it
# runs side by side, or as a wavefront; of which it puts rows in lanes. Large, so that a second's work is not more
# memory than a few hundred megabytes.
SIZES = {
    "units": (1, 4, 512, 1, 1),
    "rows": (512, 4, 520, 1, 1),
    "directions": (1, 4, 256, 1, 2),
    "wave": (1, 4, 64, 2, 1),
    "lanes": (4096, 512, 4, 1, 1),
}
PLANS = {
    "wave": "layers as a wavefront",
    "units": "threads by units",
    "rows": "threads by rows",
    "directions": "directions side by side",
    "lanes": "rows in lanes",
}

Call = Callable[[], tuple[np.ndarray, ...]]


# ---- calls of any length ---------------------------------------------------------------------------------------------


def layer_call(backward: bool, kind: str, steps: int) -> Call:
    B, I, H, layers, directions = SIZES[kind]
    lstm = fr.LSTM(I, H, layers, seed=0, bidirectional=directions == 2)
    # Every row is the same: backward takes memory for dx, but this none.
    row = np.random.default_rng(0).standard_normal((steps if I < 10 else 1, 1, I), dtype=np.float32)
    x = np.broadcast_to(row, (steps, B, I))
    plan = lstm.explain(x.shape, training=backward)
    several_chunks = steps > 1000 or kind != "wave"
    if _core.num_threads() > 1 and several_chunks and plan.count(PLANS[kind]) != layers * (1 + backward):
        raise AssertionError(f"another plan was meant than that of: {plan}")
    if not backward:
        return lambda: (lstm(x)[0],)
    y, _, saved = lstm.forward(x)

    def run() -> tuple[np.ndarray, ...]:
        dx, _, grads = lstm.backward(saved, y, retain=True)
        return dx, *grads.values()

    return run


def matmul_call(terms: int) -> Call:
    rng = np.random.default_rng(0)
    row, column = rng.standard_normal((2, 400), dtype=np.float32)
    a, b = np.broadcast_to(column[:, None], (400, terms)), np.broadcast_to(row, (terms, 400))

    def run() -> tuple[np.ndarray, ...]:
        c = np.zeros((400, 400), np.float32)
        _core.matmul(a, b, None, c)
        return (c,)

    return run


def call_of(name: str, size: int) -> Call:
    if name == "matmul":
        return matmul_call(size * 400)
    direction, kind = name.split("-")
    return layer_call(direction == "backward", kind, size)


def long_call(name: str) -> Call:
    """One that takes `SECONDS` or more."""
    size = SHORT
    while True:
        call = call_of(name, size)
        begin = time.perf_counter()
        call()
        taken = time.perf_counter() - begin
        if taken >= SECONDS:
            return call
        size = int(size * min(20, max(1.5, 1.3 * SECONDS / taken)))


# ---- programs --------------------------------------------------------------------------------------------------------


class Sender(threading.Thread):
    """Sends one Ctrl-C, and knows when."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0.0
        self.start()

    def run(self) -> None:
        time.sleep(AFTER)
        self.sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)


def bits(arrays: tuple[np.ndarray, ...]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def denormals_live() -> bool:
    return bool(np.full(8, 1e-40, np.float32).sum() > 0)


def interrupted(name: str) -> dict[str, Any]:
    """How long after the signal each try ended, and whether short and long calls are afterwards what they were."""
    short, call = call_of(name, SHORT), long_call(name)
    before, whole, late = bits(short()), bits(call()), []
    for _ in range(TRIES):
        sender, ended = Sender(), False
        try:
            call()
            ended = True  # before the signal came, since the machine has become faster
            sender.join()
        except KeyboardInterrupt:
            if not ended:
                late.append(time.perf_counter() - sender.sent)
        sender.join()
    return {
        "late": late,
        "same": bits(short()) == before and bits(call()) == whole,
        "denormals": denormals_live(),
    }


def handled(name: str) -> dict[str, Any]:
    """A handler that raises nothing, and calls kernels itself, lets the call go on to the same bits."""
    short, call = call_of(name, SHORT), long_call(name)
    before, whole, seen = bits(short()), bits(call()), []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append((time.perf_counter(), bits(short()) == before and denormals_live()))

    signal.signal(signal.SIGINT, handler)
    sender = Sender()
    same = bits(call()) == whole
    end = time.perf_counter()
    sender.join()
    return {"late": [at - sender.sent for at, _ in seen], "within": [at < end - 0.2 for at, _ in seen]} | {
        "same": same and bits(short()) == before,
        "handler": [good for _, good in seen],
    }


def raised(name: str) -> dict[str, Any]:
    """Whatever a handler raises comes out of the call."""
    call = long_call(name)

    def handler(number: int, frame: FrameType | None) -> None:
        raise LookupError("from the handler")

    signal.signal(signal.SIGINT, handler)
    sender = Sender()
    try:
        call()
    except LookupError as error:
        return {"late": [time.perf_counter() - sender.sent], "text": str(error)}
    return {"late": []}


def beside(name: str) -> dict[str, Any]:
    """Calls of another thread of Python go on while the main thread is interrupted, in a call or waiting."""
    short, call = call_of(name, SHORT), long_call(name)
    before, whole = bits(short()), bits(call())
    done: list[bool] = []
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            done.append(bits(short()) == before)

    worker = threading.Thread(target=work)
    worker.start()
    sender, late = Sender(), []
    try:
        call()
    except KeyboardInterrupt:
        late.append(time.perf_counter() - sender.sent)
    count = len(done)
    ending.set()
    worker.join()

    results: list[list[bytes]] = []
    worker = threading.Thread(target=lambda: results.append(bits(call())))
    worker.start()
    sender = Sender()
    try:
        time.sleep(20 * SECONDS)
    except KeyboardInterrupt:
        late.append(time.perf_counter() - sender.sent)
    worker.join()
    return {"late": late, "count": count, "same": all(done) and results == [whole]}


PROGRAMS = {"interrupted": interrupted, "handled": handled, "raised": raised, "beside": beside}

if __name__ == "__main__":
    program, call_name, threads = sys.argv[1:]
    fr.set_num_threads(int(threads))
    print(json.dumps(PROGRAMS[program](call_name)))
