"""``fusedrnn bench --device cuda``: this library beside PyTorch on a GPU."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from fusedrnn.bench import machine
from fusedrnn.bench.cases import Workload
from fusedrnn.bench.files import write_json
from fusedrnn.bench.gpu import gpu_tests, ours, report
from fusedrnn.bench.gpu.comparing import compare, free_memory
from fusedrnn.bench.gpu.facts import clocks, gpu_facts
from fusedrnn.bench.gpu.options import JSON, parse, settings_of, workloads_of
from fusedrnn.bench.gpu.results import GpuRow
from fusedrnn.bench.options import BadInputError

import fusedrnn
from fusedrnn.backends import of_device

TESTS_SHARE = 0.5  # of the budget, at most
END_S = 2.0  # of the budget, for tables and files
SLOW = 3e12  # operations a second with which even the check in float64 can be reckoned


def _peer(against: str | None, device: str) -> tuple[Any, str]:
    """PyTorch, or None and why it cannot take part; BadInputError where it was asked for."""
    why = ""
    if find_spec("torch") is None:
        why = "torch is not installed: pip install torch"
    elif device == "cuda" and not importlib.import_module("torch").cuda.is_available():
        why = "torch is installed without CUDA, or sees no GPU"
    if why and against:
        raise BadInputError(f"--against must name a library that can run, got {against}: {why}")
    return (None, why) if why else (importlib.import_module("fusedrnn.bench.gpu.pytorch").Torch(device), "")


def _need_gpu() -> None:
    """BadInputError with what is missing where the GPU, CuPy or the backend is."""
    try:
        of_device("--device", "cuda")
    except RuntimeError as missing:
        raise BadInputError(str(missing)) from None


class _Run:
    """A run: what there is to do until when, and what was found."""

    def __init__(self, options: argparse.Namespace, peer: Any, deadline: float) -> None:
        self.options, self.peer, self.deadline = options, peer, deadline
        self.rows: list[GpuRow] = []
        self.left_out: list[dict[str, str]] = []
        self.tested: gpu_tests.Tested | None = None
        here = machine.describe({})
        versions = here.pop("versions") | {"fusedrnn": fusedrnn.__version__}
        self.facts = {**gpu_facts(), **(peer.facts() if peer else {}), **versions, **here}

    def test(self) -> None:
        """Run the tests of the checkout."""
        left = (self.deadline - time.monotonic()) * TESTS_SHARE
        self.tested = gpu_tests.run_tests(gpu_tests.find_tests(), left)
        print(f"tests: {self.tested.summary}", file=sys.stderr, flush=True)
        self.write(complete=False)

    def leave_out(self, workloads: Sequence[Workload], why: str) -> None:
        """Name what is not timed."""
        self.left_out += [report.left_out(work, why) for work in workloads]

    def bench(self) -> None:
        """Take all cases through both libraries, as long as there is time."""
        groups = workloads_of(self.options)
        for number, group in enumerate(groups, 1):
            if time.monotonic() + sum(workload.flops for workload in group) / SLOW > self.deadline:
                self.leave_out(group, "no time left")
                continue
            print(f"[{number}/{len(groups)}] {group[0].case.name} {group[0].cell} {group[0].dtype}", file=sys.stderr)
            rows = compare(group, self.peer, self.deadline)
            self.rows += rows
            self.leave_out(group[len(rows) :], "no time left")
            if "clocks.sm" not in self.facts:
                self.facts |= clocks()  # while the GPU is still warm
            self.write(complete=False)
            if any(outcome.status == "failed" for row in rows for outcome in row.outcomes.values()) and _lost():
                for rest in groups[number:]:
                    self.leave_out(rest, "the GPU cannot be used after an error")
                break
            free_memory(self.peer)

    def write(self, complete: bool) -> None:
        """What is known so far, where a file was named."""
        if self.options.json:
            settings = settings_of(self.options)
            found = report.as_json(self.rows, self.facts, self.left_out, self.tests, settings, complete)
            write_json(self.options.json, found)

    @property
    def tests(self) -> dict[str, Any] | None:
        """What the tests came to, where they were run."""
        return None if self.tested is None else self.tested.as_dict()

    @property
    def good(self) -> bool:
        """Whether nothing of ours went wrong."""
        return all(row.good for row in self.rows) and (self.tested is None or self.tested.good)


def _lost() -> bool:
    """After some errors every later call fails too."""
    try:
        ours.wait()
    except Exception as error:
        print(f"fusedrnn bench: the GPU cannot be used any more: {error}", file=sys.stderr)
        return True
    return False


def _run(options: argparse.Namespace, device: str) -> int:
    """The command, once its options are parsed."""
    deadline = time.monotonic() + options.budget_s - END_S
    _need_gpu()
    peer, absent = _peer(options.against, device)
    run = _Run(options, peer, deadline)
    if absent:
        run.facts["absent"] = absent
    if options.with_tests:
        run.test()
    with warnings.catch_warnings():
        # PyTorch copies weights at every call in some types of number; the notes say so.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        run.bench()
    run.write(complete=True)
    print(report.text(run.rows, run.facts, run.left_out, run.tests))
    return 0 if run.good else 1


def main(argv: Sequence[str], peer_device: str = "cuda") -> int:
    """Run ``fusedrnn bench --device cuda`` with the arguments `argv`; returns the exit code.

    `peer_device` is where PyTorch computes, for tests where there is no GPU.

    Examples
    --------
    >>> main(["--cases", "huge"])
    2
    """
    try:
        return _run(parse(argv), peer_device)
    except (BadInputError, OSError) as problem:
        print(f"fusedrnn bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fusedrnn bench: stopped", file=sys.stderr)
        return 130


def run_all(argv: Sequence[str], peer_device: str = "cuda") -> int:
    """Run the tests on the GPU, then the bench; write one JSON of both, named by ``--json`` or fusedrnn-gpu.json.

    Examples
    --------
    >>> run_all(["--budget-s", "0"])
    2
    """
    return main(["--with-tests", f"--json={JSON}", *argv], peer_device)
