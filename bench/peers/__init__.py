"""The libraries that are timed, one module each; a module is imported only in the process of its own library.

Every module has two functions (`PeerModule`): `versions`, and `prepare`, which turns a problem into a call without
arguments, which is what is timed, and a way to read the answer from what the call returned.
The modules of this library and of PyTorch have a third one, `trainer` (`TrainingModule`), and ours a fourth, `peak`.
The call includes all work of one inference or of one forward and backward pass, and waits until it is done. Turning
NumPy arrays into the library's own, compiling, and laying out weights for inference happen before.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, cast

import numpy as np
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.training import Assignment

OURS = "fusedrnn"
# Ourselves in other ways: without the lengths that a workload has, and on one thread.
PADDED, ONE_THREAD = "fusedrnn_padded", "fusedrnn_one_thread"
OURSELVES = (OURS, PADDED, ONE_THREAD)
# Who is asked for workloads with lengths.
WITH_LENGTHS = (OURS, PADDED, "torch")


class UnsupportedError(Exception):
    """A library cannot do what a workload asks for; the message says what."""


@dataclass(frozen=True)
class Prepared:
    """A workload, ready to be timed.

    Attributes
    ----------
    call : does the work once
    answer : names the arrays in what `call` returned: y, and in training dx and the gradients by weight name
    plan : how the library goes about it, in its own words, where it says so
    """

    call: Callable[[], Any]
    answer: Callable[[Any], dict[str, np.ndarray]]
    plan: str = ""


class PeerModule(Protocol):
    """What a module of this package offers."""

    def versions(self) -> dict[str, str]:
        """Names and versions of what is timed."""

    def prepare(self, problem: Problem, threads: int | None) -> Prepared:
        """Make everything ready for the problem's workload on `threads` threads (None: the library's own choice).

        Raises
        ------
        UnsupportedError
            The library cannot do what the workload asks for.
        """


Train = Callable[[int], tuple[list[float], list[int]]]
"""Trains so many steps; returns the loss of each, before the weights move, and its time in nanoseconds."""


class TrainingModule(PeerModule, Protocol):
    """What a module offers whose library trains systems too."""

    def trainer(self, assignment: Assignment, threads: int | None) -> Train:
        """Make a system ready, with its initial weights."""


class OurModule(TrainingModule, Protocol):
    """What our own module offers besides."""

    def peak(self, dtype: str, milliseconds: float) -> float:
        """GFLOP/s of independent multiply-adds on the threads of the last workload."""


@dataclass(frozen=True)
class Peer:
    """A library by name: the modules that it needs, and what to install when they are missing."""

    name: str
    needs: tuple[str, ...]
    install: str

    @property
    def missing(self) -> list[str]:
        """The needed modules that are not installed."""
        return [module for module in self.needs if find_spec(module) is None]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torch", ("torch",), "pip install torch"),
        Peer("jax", ("jax", "jaxlib"), "pip install jax"),
        Peer("onnxruntime", ("onnxruntime", "onnx"), "pip install onnxruntime onnx"),
        Peer("numpy", ("numpy",), "pip install numpy"),
    )
}


def load(name: str) -> PeerModule:
    """Import the module of a library: fusedrnn itself, without lengths if it is `PADDED`, or one of `PEERS`."""
    return cast(PeerModule, importlib.import_module(f"fusedrnn.bench.peers.{name}"))
