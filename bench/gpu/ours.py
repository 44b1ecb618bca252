"""This library on a GPU: fusedrnn.LSTM, GRU and RNN over CuPy arrays."""

from __future__ import annotations

import importlib
from typing import Any

from fusedrnn.bench.cases import Problem
from fusedrnn.bench.gpu.arrays import numpy_dtype
from fusedrnn.bench.peers import Prepared

import fusedrnn

LAYERS = {"lstm": fusedrnn.LSTM, "gru": fusedrnn.GRU, "rnn": fusedrnn.RNN}


def _plan(layer: Any, shape: tuple[int, ...], training: bool) -> str:
    """The line of the only layer, from the plan on; that of a call for inference without the word "forward"."""
    line: str = layer.explain(shape, training=training).splitlines()[1]
    plan = line.partition(f", {layer.dtype.name}, ")[2]
    return plan if training else plan.removeprefix("forward: ")


def prepare(problem: Problem) -> Prepared:
    """A layer with the problem's weights, its input on the GPU; nothing in the call waits for the GPU.

    The answer is of CuPy arrays.
    """
    cupy = importlib.import_module("cupy")
    workload, lengths = problem.workload, problem.lengths
    layer = LAYERS[workload.cell](
        workload.case.inputs,
        workload.case.hidden,
        dtype=numpy_dtype(workload.dtype),
        precision="tf32" if workload.dtype == "tf32" else "ieee",
        device="cuda",
    )
    layer.load_state_dict(problem.weights)
    x = cupy.asarray(problem.x)
    plan = _plan(layer, x.shape, workload.training)
    if not workload.training:
        return Prepared(lambda: layer(x, lengths=lengths), lambda result: {"y": result[0]}, plan)
    dy = cupy.asarray(problem.dy)

    def train() -> Any:
        layer._changed()  # weights change between training steps
        y, _, saved = layer.forward(x, lengths=lengths)
        dx, _, grads = layer.backward(saved, dy)
        return y, dx, grads

    return Prepared(train, lambda result: {"y": result[0], "dx": result[1], **result[2]}, plan)


def free_memory() -> None:
    """Give what CuPy keeps for later back to the GPU, where PyTorch may want it."""
    importlib.import_module("cupy").get_default_memory_pool().free_all_blocks()


def wait() -> None:
    """Until the GPU has done everything; raises where it is lost."""
    importlib.import_module("cupy").cuda.Stream.null.synchronize()
