"""This library: fusedrnn.LSTM, GRU and RNN; systems are trained by fusedrnn.train.fit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.peers import Prepared, Train
from fusedrnn.bench.training import Assignment

import fusedrnn
from fusedrnn import _core

LAYERS = {"lstm": fusedrnn.LSTM, "gru": fusedrnn.GRU, "rnn": fusedrnn.RNN}


def versions() -> dict[str, str]:
    """This library's version."""
    return {"fusedrnn": fusedrnn.__version__}


def prepare(problem: Problem, threads: int | None) -> Prepared:
    """A layer with the problem's weights."""
    if threads is not None:
        fusedrnn.set_num_threads(threads)
    workload = problem.workload
    layer = LAYERS[workload.cell](workload.case.inputs, workload.case.hidden, dtype=workload.dtype)
    layer.load_state_dict(problem.weights)
    x, dy, lengths = problem.x, problem.dy, problem.lengths
    # The line of the only layer: cell, type of number, plan.
    plan = layer.explain(x.shape, training=workload.training).splitlines()[1].partition(f"{workload.dtype}, ")[2]

    def train() -> Any:
        # Weights change between training steps, so copies of them packed by the last call may not be used again.
        layer._changed()
        y, _, saved = layer.forward(x, lengths=lengths)
        dx, _, grads = layer.backward(saved, dy)
        return y, dx, grads

    if workload.training:
        return Prepared(train, lambda result: {"y": result[0], "dx": result[1], **result[2]}, plan)
    return Prepared(lambda: layer(x, lengths=lengths), lambda result: {"y": result[0]}, plan)


def peak(dtype: str, milliseconds: float) -> float:
    """GFLOP/s of independent multiply-adds on the threads of the last workload."""
    return _core.peak(np.dtype(dtype), milliseconds)


def trainer(assignment: Assignment, threads: int | None) -> Train:
    """The loop of ``fusedrnn run``; a step ends where the next one begins, so its time has all that the loop does."""
    if threads is not None:
        fusedrnn.set_num_threads(threads)
    task = assignment.task()

    def train(steps: int) -> tuple[list[float], list[int]]:
        stamps, losses = [], []

        def compute(batch: Any, state: Any, number: int) -> fusedrnn.train.Step:
            stamps.append(time.perf_counter_ns())
            step = task.compute(batch, state, number)
            losses.append(step.loss)
            return step

        fusedrnn.train.fit(
            task.model, task.optimizer, task.sampler, compute, total_steps=steps, clip_norm=task.clip_norm
        )
        stamps.append(time.perf_counter_ns())
        return losses, np.diff(stamps).tolist()

    return train
