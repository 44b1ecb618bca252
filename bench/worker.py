"""The process of one library: ``python -m fusedrnn.bench.worker NAME [THREADS]``.

It reads requests as JSON objects, one a line, from standard input and writes one line back for each. Between requests
it waits in a blocking read, so that it takes nothing from the library that is being timed. It ends when its standard
input does.

==========  =========================================  ===========================================================
request     fields                                     reply
==========  =========================================  ===========================================================
hello                                                  versions: names and versions
prepare     workload                                   unsupported: a reason, or null; first_ms: time of the first
                                                       call; plan: how the library goes about it, or nothing
answer      path                                       the arrays of one call are in that .npz file
train       assignment                                 nothing; a system has its initial weights
losses      steps                                      losses: of so many steps from there on
burst       calls, warm_up                             nanoseconds: of each call or step after the warm-up
memory                                                 peak, growth, method: see `memory`, since what was made ready
peak        dtype, milliseconds, pieces                gflops: the processor's, of each piece; our own worker's alone
==========  =========================================  ===========================================================

A request that fails is answered with ``{"error": "..."}``; the traceback goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO, cast

import numpy as np
from fusedrnn.bench import peers
from fusedrnn.bench.cases import Workload, make_problem
from fusedrnn.bench.memory import Gauge
from fusedrnn.bench.training import Assignment


class Worker:
    """Answers requests for one library."""

    def __init__(self, name: str, threads: int | None) -> None:
        self._name, self._threads = name, threads
        self._library = peers.load(name)
        self._prepared: peers.Prepared | None = None
        self._train: peers.Train | None = None
        self._gauge = Gauge()

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request."""
        match request:
            case {"request": "hello"}:
                return {"versions": self._library.versions()}
            case {"request": "prepare", "workload": workload}:
                return self._prepare(Workload.from_dict(workload))
            case {"request": "answer", "path": path}:
                self._answer(path)
                return {}
            case {"request": "train", "assignment": assignment}:
                self._forget()
                self._train = cast(peers.TrainingModule, self._library).trainer(Assignment(**assignment), self._threads)
                self._gauge = Gauge()
                return {}
            case {"request": "losses", "steps": steps} if self._train is not None:
                return {"losses": self._train(steps)[0]}
            case {"request": "burst", "calls": calls, "warm_up": warm_up}:
                return {"nanoseconds": self._burst(calls, warm_up)}
            case {"request": "memory"} if self._prepared or self._train:
                return asdict(self._gauge.read())
            case {"request": "peak", "dtype": dtype, "milliseconds": each, "pieces": pieces} if (
                self._name == peers.OURS
            ):
                peak = cast(peers.OurModule, self._library).peak
                return {"gflops": [peak(dtype, each) for _ in range(pieces)]}
        raise ValueError(
            "worker: request must be hello, prepare, answer, train, losses after train, burst, memory of what was"
            f" made ready, or peak of {peers.OURS}, each with its fields, got {request}"
        )

    def _forget(self) -> None:
        """Let go of what was made ready."""
        self._prepared = self._train = None
        gc.collect()

    def _ready(self) -> peers.Prepared:
        if self._prepared is None:
            raise ValueError("worker: a workload must be prepared first")
        return self._prepared

    def _prepare(self, workload: Workload) -> dict[str, Any]:
        """Let go of the last workload and make the next one ready, including one call, which may compile."""
        self._forget()
        if workload.case.ragged and self._name not in peers.WITH_LENGTHS:
            return {"unsupported": "no lengths"}
        problem = make_problem(workload)
        self._gauge = Gauge()  # the arrays of the problem are everybody's
        try:
            prepared = self._library.prepare(problem, self._threads)
        except peers.UnsupportedError as reason:
            return {"unsupported": str(reason)}
        start = time.perf_counter_ns()
        prepared.call()
        first_ms = (time.perf_counter_ns() - start) / 1e6
        self._prepared = prepared
        return {"unsupported": None, "first_ms": first_ms, "plan": prepared.plan}

    def _answer(self, path: str) -> None:
        """Write the arrays of one call; what writing takes is no part of the library's memory."""
        prepared = self._ready()
        arrays: dict[str, Any] = {**prepared.answer(prepared.call())}
        self._gauge.read()
        np.savez(path, **arrays)
        self._gauge.leave_out()

    def _burst(self, calls: int, warm_up: int) -> list[int]:
        """Time each of `calls` calls after `warm_up` untimed ones, with the garbage collector held back."""
        train = self._train or partial(_train, self._ready().call)
        gc.disable()
        try:
            return train(warm_up + calls)[1][warm_up:]
        finally:
            gc.enable()


def _train(call: Callable[[], Any], steps: int) -> tuple[list[float], list[int]]:
    """Time a call that many times; it has no loss."""
    clock, nanoseconds = time.perf_counter_ns, []
    for _ in range(steps):
        start = clock()
        call()
        nanoseconds.append(clock() - start)
    return [], nanoseconds


def serve(worker: Worker, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        try:
            reply = worker.handle(json.loads(line))
        except Exception as problem:  # whatever a library raises is the answer to this request, not the end
            traceback.print_exc()
            reply = {"error": f"{type(problem).__name__}: {problem}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve standard input; a library's own prints go to standard error, out of the way of the replies."""
    name, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Worker(name, threads), sys.stdin, replies)


if __name__ == "__main__":
    main()
