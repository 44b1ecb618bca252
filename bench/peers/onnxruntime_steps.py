"""ONNX Runtime one step at a time: the node of the bench with T = 1, which takes the state and gives the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import onnx
import onnxruntime
from fusedrnn.bench.cases import Problem
from fusedrnn.bench.peers.onnxruntime import build_model
from onnx import TensorProto, helper

Step = Callable[[np.ndarray], np.ndarray]  # x (1, I) to y (1, H)


def _session(problem: Problem, states: Sequence[str]) -> onnxruntime.InferenceSession:
    """The node of the bench, for one step, with states in and out."""
    case = problem.workload.case
    model = build_model(problem)
    [node] = model.graph.node
    shape = [1, 1, case.hidden]
    node.input.extend(["", *(f"{state}0" for state in states)])  # "": no lengths
    node.output[:] = ["", *states]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.input.extend(helper.make_tensor_value_info(f"{s}0", TensorProto.FLOAT, shape) for s in states)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(s, TensorProto.FLOAT, shape) for s in states)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _states(problem: Problem) -> list[str]:
    return ["h", "c"] if problem.workload.cell == "lstm" else ["h"]


def stepper(problem: Problem) -> Step:
    """ONNX Runtime with NumPy arrays in and out."""
    names = _states(problem)
    session = _session(problem, names)
    feed = {f"{name}0": np.zeros((1, 1, problem.workload.case.hidden), np.float32) for name in names}

    def step(x: np.ndarray) -> np.ndarray:
        feed["X"] = x[None]
        after = session.run(names, feed)
        for name, value in zip(names, after, strict=True):
            feed[f"{name}0"] = value
        return after[0][0]  # type: ignore[no-any-return]

    return step


def bound_stepper(problem: Problem) -> Step:
    """ONNX Runtime with bound memory: two sets of states take turns."""
    names = _states(problem)
    session = _session(problem, names)
    case = problem.workload.case
    x_inside = np.zeros((1, 1, case.inputs), np.float32)
    arrays = [{name: np.zeros((1, 1, case.hidden), np.float32) for name in names} for _ in range(2)]
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    x_value, values = value(x_inside), [{n: value(a) for n, a in part.items()} for part in arrays]
    turns = []
    for before, after in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_ortvalue_input("X", x_value)
        for name in names:
            binding.bind_ortvalue_input(f"{name}0", values[before][name])
            binding.bind_ortvalue_output(name, values[after][name])
        turns.append((binding, values[after]["h"]))
    order = cycle(turns)

    def step(x: np.ndarray) -> np.ndarray:
        binding, h = next(order)
        x_value.update_inplace(x[None])
        session.run_with_iobinding(binding)
        return h.numpy()[0]  # type: ignore[no-any-return]

    return step
