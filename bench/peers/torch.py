"""PyTorch: torch.nn.LSTM, GRU and RNN; inference mode for inference, autograd for training; twins of the systems."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.peers import Prepared, Train
from fusedrnn.bench.training import Assignment
from fusedrnn.bench.twins import module_of
from fusedrnn.bench.twins.base import as_tensors
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def versions() -> dict[str, str]:
    """PyTorch's version."""
    return {"torch": torch.__version__}


def prepare(problem: Problem, threads: int | None) -> Prepared:
    """A layer with the problem's weights."""
    if threads is not None:
        torch.set_num_threads(threads)
    workload = problem.workload
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    layer = LAYERS[workload.cell](workload.case.inputs, workload.case.hidden, dtype=x.dtype)
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in problem.weights.items()})
    run = _with_lengths(layer, problem) if problem.lengths is not None else lambda x: layer(x)[0]
    if not workload.training:
        layer.eval()

        def infer() -> Any:
            with torch.inference_mode():
                return run(x)

        return Prepared(infer, lambda y: {"y": y.numpy()})

    x.requires_grad_()
    parameters = dict(layer.named_parameters())
    leaves = [x, *parameters.values()]

    def train() -> Any:
        y = run(x)
        return y, torch.autograd.grad(y, leaves, dy)

    def answer(result: Any) -> dict[str, Any]:
        y, gradients = result
        named = dict(zip(["dx", *parameters], gradients, strict=True))
        return {"y": y.detach().numpy()} | {name: value.numpy() for name, value in named.items()}

    return Prepared(train, answer)


def _with_lengths(layer: torch.nn.RNNBase, problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    """A layer over rows with lengths in any order: packed, run, and laid out as (T, B, H) again."""
    lengths, steps = torch.from_numpy(problem.lengths), len(problem.x)

    def run(x: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y: torch.Tensor = pad_packed_sequence(layer(packed)[0], total_length=steps)[0]
        return y

    return run


def trainer(assignment: Assignment, threads: int | None) -> Train:
    """The loop of PyTorch's tutorials over a twin; batches are tensors before it begins."""
    if threads is not None:
        torch.set_num_threads(threads)
    task = assignment.task()
    twin = import_module(module_of(assignment.name)).make(task.settings, task.model)
    batches, carries_state = [as_tensors(batch) for batch in task.batches], task.carries_state
    del task  # our model would count as PyTorch's memory

    def train(steps: int) -> tuple[list[float], list[int]]:
        losses, nanoseconds, state = [], [], None
        for number in range(steps):
            start = time.perf_counter_ns()
            place = number % len(batches)
            loss, state = twin.step(batches[place], state if place and carries_state else None)
            losses.append(loss)
            nanoseconds.append(time.perf_counter_ns() - start)
        return losses, nanoseconds

    return train
