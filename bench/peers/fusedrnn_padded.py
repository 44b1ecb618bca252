"""This library without the lengths of a workload: every row has all T steps, as most programs run them."""

from __future__ import annotations

from dataclasses import replace

from fusedrnn.bench.cases import Problem
from fusedrnn.bench.peers import Prepared, fusedrnn
from fusedrnn.bench.peers.fusedrnn import versions

__all__ = ["prepare", "versions"]


def prepare(problem: Problem, threads: int | None) -> Prepared:
    """A layer with the problem's weights. Past the end of a row dy is zero, so the gradients are those with lengths."""
    return fusedrnn.prepare(replace(problem, lengths=None), threads)
