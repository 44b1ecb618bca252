"""PyTorch on a GPU: nn.LSTM, GRU and RNN in the type of number of the workload, and the truth in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from fusedrnn.bench.cases import Problem, Workload
from fusedrnn.bench.gpu.cases import make_case
from fusedrnn.bench.peers import Prepared
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
PLAIN, WITHOUT_CUDNN = "torch", "torch_without_cudnn"
# The one case that is also timed without cuDNN.
REFERENCE = ("lstm", make_case(128, 32, 100), "float32")


def ways(workload: Workload) -> tuple[str, ...]:
    """The ways in which PyTorch runs a workload."""
    reference = (workload.cell, workload.case, workload.dtype) == REFERENCE
    return (PLAIN, WITHOUT_CUDNN) if reference else (PLAIN,)


class Switches:
    """PyTorch's global switches for the length of a with block: cuDNN at all, TF32 in it and in PyTorch's own products.

    At its end they are put back as they were when this was made: to read them takes longer than to set them, and most
    blocks are timed. Newer switches, one for each kind of layer, make PyTorch refuse to read these; these set them all.
    """

    def __init__(self, workload: Workload, way: str) -> None:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        self._found = cudnn.enabled, cudnn.allow_tf32, matmul.allow_tf32
        tf32 = workload.dtype == "tf32"
        self._wanted = way != WITHOUT_CUDNN, tf32, tf32

    def __enter__(self) -> None:
        self._set(*self._wanted)

    def __exit__(self, *error: object) -> None:
        self._set(*self._found)

    @staticmethod
    def _set(enabled: bool, cudnn_tf32: bool, matmul_tf32: bool) -> None:
        torch.backends.cudnn.enabled = enabled
        torch.backends.cudnn.allow_tf32 = cudnn_tf32
        torch.backends.cuda.matmul.allow_tf32 = matmul_tf32


def algorithm(workload: Workload, forward: bool, capability: tuple[int, int], multiprocessors: int) -> str:
    """What PyTorch asks cuDNN for; it leaves no choice (`get_algo` in aten/src/ATen/native/cudnn/RNN.cpp).

    "persistent" keeps the weights on chip, "small_h" does so for few units, "standard" runs step by step.
    """
    case, cell = workload.case, workload.cell
    if case.ragged or workload.dtype == "float64":
        return "standard"
    most = {True: (192, 384), False: (128, 256)}[forward][cell == "rnn"]
    if case.hidden <= most:
        return "small_h"
    fits = workload.dtype == "float16" and case.hidden <= 1024 and case.hidden % 128 == 0 and case.inputs % 128 == 0
    large = capability[0] >= 8 and capability[1] != 6 and multiprocessors >= 98
    rows = case.rows % 8 == 0 and case.rows <= 128
    kind = cell == "lstm" or (cell == "rnn" and (case.rows < 96 or case.hidden < 896))
    return "persistent" if fits and large and rows and kind else "standard"


def _calls_cudnn(y: torch.Tensor) -> bool:
    """Whether one of the last nodes of the recorded graph is cuDNN's."""
    nodes = [y.grad_fn]
    for _ in range(6):
        if any("cudnn" in node.name().lower() for node in nodes if node is not None):
            return True
        nodes = [after for node in nodes if node is not None for after, _ in node.next_functions]
    return False


class Torch:
    """PyTorch on one device: "cuda", or in tests "cpu"."""

    ways = staticmethod(ways)

    def __init__(self, device: str = "cuda") -> None:
        self.device = torch.device(device)

    def facts(self) -> dict[str, Any]:
        """Its versions."""
        return {"torch": torch.__version__, "torch_cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}

    def tensor(self, value: Any) -> torch.Tensor:
        """A NumPy or CuPy array on the device; a CuPy array is not copied."""
        name = value.dtype.name
        if value.dtype.itemsize == 2:
            value = value.view(np.int16)  # PyTorch does not know NumPy's bfloat16
        if self.device.type == "cpu" and not isinstance(value, np.ndarray):
            value = value.get()
        return torch.as_tensor(value, device=self.device).view(getattr(torch, name))

    def prepare(self, problem: Problem, way: str) -> Prepared:
        """A layer with the problem's weights, in one of the `ways`; the answer is of tensors."""
        layer = self._layer(problem, lambda value: value)
        run = _with_lengths(layer, problem) if problem.lengths is not None else lambda x: layer(x)[0]
        switches = Switches(problem.workload, way)
        with switches:
            plan = self._plan(problem.workload, layer)
        x, training = self.tensor(problem.x), problem.workload.training
        if not training:

            def infer() -> Any:
                with switches, torch.inference_mode():
                    return run(x)

            return Prepared(infer, lambda y: {"y": y}, plan)
        dy, leaves = self.tensor(problem.dy), _leaves(layer, x)

        def train() -> Any:
            with switches:
                y = run(x)
                return y.detach(), torch.autograd.grad(y, list(leaves.values()), dy)

        return Prepared(train, lambda found: {"y": found[0], **dict(zip(leaves, found[1], strict=True))}, plan)

    def judge(self, problem: Problem) -> InFloat64:
        """The truth, computed on the device."""
        return InFloat64(self, problem)

    def free_memory(self) -> None:
        """Give what PyTorch keeps for later back to the GPU, where CuPy may want it."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _layer(self, problem: Problem, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        case = problem.workload.case
        weights = {name: change(self.tensor(value)) for name, value in problem.weights.items()}
        dtype = weights["weight_hh_l0"].dtype
        layer = LAYERS[problem.workload.cell](case.inputs, case.hidden, dtype=dtype, device=self.device)
        layer.load_state_dict(weights)
        return layer

    def _plan(self, workload: Workload, layer: Any) -> str:
        """What runs: cuDNN and which of its algorithms, or PyTorch's own kernels; seen in a run of one step."""
        one = torch.zeros(
            (1, workload.case.rows, workload.case.inputs), device=self.device, dtype=layer.bias_ih_l0.dtype
        )
        if not _calls_cudnn(layer(one)[0]):
            return "without cuDNN"
        properties = torch.cuda.get_device_properties(self.device)
        device = (properties.major, properties.minor), properties.multi_processor_count
        forward, backward = (algorithm(workload, way, *device) for way in (True, False))
        plan = f"cuDNN {forward}"
        if workload.training and forward != backward:
            plan += f", backward {backward}"
        apart = len({weight.untyped_storage().data_ptr() for weight in layer.parameters()}) > 1
        return f"{plan}, weights copied at every call" if apart else plan


def _leaves(layer: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What gradients are taken of, by the names of the answer."""
    return {"dx": x.requires_grad_(), **dict(layer.named_parameters())}


def _with_lengths(layer: Any, problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    """A layer over rows with lengths in any order: packed, run, and laid out as (T, B, H) again."""
    lengths, steps = torch.from_numpy(problem.lengths), len(problem.x)

    def run(x: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y: torch.Tensor = pad_packed_sequence(layer(packed)[0], total_length=steps)[0]
        return y

    return run


class InFloat64:
    """The judge where there is PyTorch: its layer in float64, over all steps, on the same device."""

    name = "torch in float64"

    def __init__(self, peer: Torch, problem: Problem) -> None:
        self.problem, self._peer = problem, peer
        layer = peer._layer(problem, torch.Tensor.double)
        run = _with_lengths(layer, problem) if problem.lengths is not None else lambda x: layer(x)[0]
        x = peer.tensor(problem.x).double()
        if problem.workload.training:
            leaves = _leaves(layer, x)
            y = run(x)
            grads = torch.autograd.grad(y, list(leaves.values()), peer.tensor(problem.dy).double())
            self._expected = {"y": y.detach(), **dict(zip(leaves, grads, strict=True))}
        else:
            with torch.inference_mode():
                self._expected = {"y": run(x)}

    def error(self, answer: Mapping[str, Any]) -> tuple[float, str]:
        """See `Judge`: also takes an answer of tensors."""
        worst, where = 0.0, "y"
        for name in self._expected if "dx" in answer else ("y",):
            error = self._error_of(answer.get(name), self._expected[name])
            if error > worst:
                worst, where = error, name
        return worst, where

    def _error_of(self, value: Any, expected: torch.Tensor) -> float:
        found = value if value is None or isinstance(value, torch.Tensor) else self._peer.tensor(value)
        if found is None or found.shape != expected.shape or not bool(torch.isfinite(found).all()):
            return math.inf
        error = float((found.double() - expected).abs().max() / expected.abs().max())
        return error if math.isfinite(error) else math.inf
