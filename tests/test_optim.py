"""Optimisers against PyTorch and by hand, groups, schedules, saved state, clipping and the L2 penalty."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fusedrnn import nn, optim
from fusedrnn.module import Module

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


class Net(Module):
    """Two layers, one of them with enough parameters for several threads."""

    def __init__(self, dtype: str = "float32", seed: int = 1) -> None:
        super().__init__()
        self.first = nn.Linear(7, 5, seed=seed, dtype=dtype)
        self.out = nn.Linear(2**12 + 1, 9, bias=False, seed=seed + 1, dtype=dtype)


NAMES = ["first.weight", "first.bias", "out.weight"]


def gradients(module: Module, step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([30, step])
    return {
        name: generator.standard_normal(value.shape).astype(value.dtype) for name, value in module.parameters().items()
    }


def train(optimizer: optim.Optimizer, module: Module, steps: range) -> None:
    for step in steps:
        optimizer.step(gradients(module, step))


def assert_same_bits(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    assert list(first) == list(second)
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert (value == second[name]).all(), name


# ---- against PyTorch ---------------------------------------------------------------------------------------------

SETTINGS: list[tuple[Callable[..., optim.Optimizer], str, dict[str, Any]]] = [
    (optim.SGD, "SGD", {}),
    (optim.SGD, "SGD", {"weight_decay": 0.1}),
    (optim.SGD, "SGD", {"momentum": 0.9}),
    (optim.SGD, "SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.SGD, "SGD", {"momentum": 0.8, "nesterov": True}),
    (optim.SGD, "SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (optim.Adam, "Adam", {}),
    (optim.Adam, "Adam", {"weight_decay": 0.1}),
    (optim.Adam, "Adam", {"betas": (0.5, 0.9), "eps": 1e-3}),
    (optim.AdamW, "AdamW", {}),
    (optim.AdamW, "AdamW", {"weight_decay": 0.3, "betas": (0.5, 0.9), "eps": 1e-3}),
    (optim.AdamW, "AdamW", {"weight_decay": 0.0}),
    (optim.Adagrad, "Adagrad", {}),
    (optim.Adagrad, "Adagrad", {"weight_decay": 0.1, "eps": 1e-3}),
    (optim.Adagrad, "Adagrad", {"initial_accumulator": 0.1, "eps": 0.0}),
    (optim.RMSprop, "RMSprop", {}),
    (optim.RMSprop, "RMSprop", {"weight_decay": 0.1, "alpha": 0.9, "eps": 1e-3}),
    (optim.RMSprop, "RMSprop", {"momentum": 0.9, "alpha": 0.9}),
    (optim.RMSprop, "RMSprop", {"centered": True, "alpha": 0.8}),
    (optim.RMSprop, "RMSprop", {"centered": True, "momentum": 0.8, "weight_decay": 0.1, "eps": 1e-2}),
]

# The names of settings that PyTorch calls otherwise.
THEIR_NAMES = {"initial_accumulator": "initial_accumulator_value"}

KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.RMSprop]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("make", "twin", "settings"), SETTINGS)
def test_twenty_steps_against_torch(
    make: Callable[..., optim.Optimizer], twin: str, settings: dict[str, Any], dtype: str
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    net = Net(dtype)
    tensors = {name: torch.tensor(value) for name, value in net.parameters().items()}
    theirs_settings = {THEIR_NAMES.get(name, name): value for name, value in settings.items()}
    ours, theirs = make(net, 0.01, **settings), getattr(torch.optim, twin)(tensors.values(), 0.01, **theirs_settings)
    for step in range(20):
        grads = gradients(net, step)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name])
        ours.step(grads)
        theirs.step()
    for name, value in net.parameters().items():
        np.testing.assert_allclose(value, tensors[name].numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)


def test_groups_against_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    net = Net("float64")
    tensors = {name: torch.tensor(value) for name, value in net.parameters().items()}
    groups = [optim.Group("*.bias", weight_decay=0.0), optim.Group(["out.*", "first.*"], lr_scale=0.5)]
    ours = optim.SGD(net, 0.1, momentum=0.9, weight_decay=0.2, groups=groups)
    theirs = torch.optim.SGD(
        [
            {"params": [tensors["first.bias"]], "weight_decay": 0.0},
            {"params": [tensors["out.weight"], tensors["first.weight"]], "lr": 0.05},
        ],
        0.1,
        momentum=0.9,
        weight_decay=0.2,
    )
    for step in range(20):
        grads = gradients(net, step)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name])
        ours.step(grads)
        theirs.step()
    for name, value in net.parameters().items():
        np.testing.assert_allclose(value, tensors[name].numpy(), rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", ["AdamW", "Adagrad", "RMSprop"])
def test_schedules_and_groups_against_torch(kind: str) -> None:
    """Decay, a frozen parameter, a rate of its own, and a rate that falls, all at once."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    net = Net("float64")
    tensors = {name: torch.tensor(value) for name, value in net.parameters().items()}
    schedule = optim.exponential(0.02, 0.5, 3)
    groups = [optim.Group("first.weight", frozen=True), optim.Group("*.bias", weight_decay=0.0, lr_scale=0.5)]
    ours = getattr(optim, kind)(net, schedule, weight_decay=0.2, groups=groups)
    theirs = getattr(torch.optim, kind)(
        [{"params": [tensors["first.bias"]], "weight_decay": 0.0}, {"params": [tensors["out.weight"]]}],
        0.02,
        weight_decay=0.2,
    )
    for step in range(10):
        grads = gradients(net, step)
        theirs.param_groups[0]["lr"], theirs.param_groups[1]["lr"] = 0.5 * schedule(step), schedule(step)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name])
        ours.step(grads)
        theirs.step()
    for name, value in net.parameters().items():
        np.testing.assert_allclose(value, tensors[name].numpy(), rtol=0, atol=1e-13, err_msg=name)


# ---- by hand -----------------------------------------------------------------------------------------------------


def by_hand(kind: str, w: np.ndarray, grads: list[np.ndarray], lr: float) -> np.ndarray:
    """The documented equations, as they stand, in float64."""
    v, m = np.zeros_like(w), np.zeros_like(w)
    for n, g in enumerate(grads, start=1):
        d = g + 0.1 * w
        if kind == "SGD":
            v = 0.9 * v + d
            w = w - lr * v
        elif kind == "nesterov":
            v = 0.9 * v + d
            w = w - lr * (d + 0.9 * v)
        else:
            m = 0.9 * m + 0.1 * d
            v = 0.999 * v + 0.001 * d**2
            w = w - lr / (1 - 0.9**n) * m / (np.sqrt(v) / math.sqrt(1 - 0.999**n) + 1e-8)
    return w


@pytest.mark.parametrize("kind", ["SGD", "nesterov", "Adam"])
def test_steps_are_the_documented_equations(kind: str) -> None:
    net = Net("float64")
    start, grads = net.state_dict(), [gradients(net, step) for step in range(20)]
    optimizer = (
        optim.Adam(net, 0.01, weight_decay=0.1)
        if kind == "Adam"
        else optim.SGD(net, 0.01, momentum=0.9, nesterov=kind == "nesterov", weight_decay=0.1)
    )
    train(optimizer, net, range(20))
    for name, value in net.parameters().items():
        expected = by_hand(kind, start[name], [g[name] for g in grads], 0.01)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-13, err_msg=name)


def tensorflow_1(kind: str, w: np.ndarray, grads: list[np.ndarray], lr: float) -> np.ndarray:
    """What the kernels ApplyAdagrad, ApplyRMSProp and ApplyCenteredRMSProp compute, from the slots' first values."""
    accumulator, square, mean, momentum = np.full_like(w, 0.1), np.ones_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        if kind == "Adagrad":
            accumulator = accumulator + g**2
            w = w - g * lr / np.sqrt(accumulator)
            continue
        square = square + (g**2 - square) * (1 - 0.9)
        if kind == "centered":
            mean = mean + (g - mean) * (1 - 0.9)
        momentum = 0.5 * momentum + g * lr / np.sqrt(square - mean**2 + 1e-2)
        w = w - momentum
    return w


@pytest.mark.parametrize("kind", ["Adagrad", "RMSprop", "centered"])
def test_the_forms_of_tensorflow_1(kind: str) -> None:
    net = Net("float64")
    start, grads = net.state_dict(), [gradients(net, step) for step in range(20)]
    rms = {"alpha": 0.9, "eps": 1e-2, "momentum": 0.5, "eps_in_root": True, "initial_square": 1.0}
    optimizer = (
        optim.Adagrad(net, 0.1, initial_accumulator=0.1, eps=0.0)
        if kind == "Adagrad"
        else optim.RMSprop(net, 0.1, centered=kind == "centered", **rms)
    )
    train(optimizer, net, range(20))
    for name, value in net.parameters().items():
        expected = tensorflow_1(kind, start[name], [g[name] for g in grads], 0.1)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-13, err_msg=name)


def test_adagrad_without_eps_leaves_what_has_no_gradient() -> None:
    net = Net()
    start = net.state_dict()
    optim.Adagrad(net, 0.1, initial_accumulator=0.1, eps=0.0).step({n: np.zeros_like(v) for n, v in start.items()})
    assert_same_bits(net.state_dict(), start)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_variance_that_rounds_below_zero_counts_as_zero(dtype: str) -> None:
    """Equal gradients have no variance; in PyTorch the root of its rounding error is NaN."""
    net = Net(dtype)
    optimizer = optim.RMSprop(net, 0.1, alpha=0.5, centered=True, eps=1.0)
    grads = gradients(net, 0)
    for _ in range(100):
        before = net.state_dict()
        optimizer.step(grads)
    state = optimizer.state_dict()
    assert any((state[f"mean_square.{n}"] < state[f"mean.{n}"] ** 2).any() for n in NAMES)
    for name, value in net.parameters().items():
        step = before[name] - value
        # The root of a rounding error beside ε = 1.
        np.testing.assert_allclose(step, 0.1 * grads[name], rtol=0, atol=3 * float(np.finfo(dtype).eps) ** 0.5)


@pytest.mark.parametrize("make", KINDS)
def test_gradients_are_only_read_and_may_have_any_strides(make: Callable[..., optim.Optimizer]) -> None:
    net, twin = Net(), Net()
    ours, theirs = make(net, 0.1, weight_decay=0.1), make(twin, 0.1, weight_decay=0.1)
    for step in range(3):
        grads = gradients(net, step)
        turned = {name: np.asfortranarray(value)[..., ::-1][..., ::-1] for name, value in grads.items()}
        for value in (*grads.values(), *turned.values()):
            value.flags.writeable = False  # writing would raise
        ours.step(grads)
        theirs.step(turned)
    assert_same_bits(net.state_dict(), twin.state_dict())


def test_parameters_stay_read_only_and_layers_are_told() -> None:
    told = []

    class Told(nn.Linear):
        def _changed(self) -> None:
            told.append(True)

    layer = Told(2, 2)
    optim.SGD(layer, 0.1).step(gradients(layer, 0))
    assert told == [True, True]  # before and after the writing
    assert not any(value.flags.writeable for value in layer.parameters().values())


# ---- groups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS)
def test_frozen_parameters_stay_and_need_no_gradient(make: Callable[..., optim.Optimizer]) -> None:
    net = Net()
    start = net.state_dict()
    optimizer = make(net, 0.1, weight_decay=0.1, groups=[optim.Group("first.*", frozen=True)])
    train(optimizer, net, range(2))
    optimizer.step({"out.weight": gradients(net, 2)["out.weight"]})
    end = net.state_dict()
    assert (start["first.weight"] == end["first.weight"]).all()
    assert (start["first.bias"] == end["first.bias"]).all()
    assert (start["out.weight"] != end["out.weight"]).any()
    assert not any(".first." in name for name in optimizer.state_dict())


def test_the_first_group_that_matches_rules() -> None:
    net, groups = Net("float64"), [optim.Group("*.weight", lr_scale=2.0), optim.Group(("*",), frozen=True)]
    start = net.state_dict()
    grads = gradients(net, 0)
    optim.SGD(net, 0.5, groups=groups).step(grads)
    end = net.state_dict()
    assert (end["first.bias"] == start["first.bias"]).all()
    assert (end["out.weight"] == start["out.weight"] - grads["out.weight"]).all()


def test_a_group_may_decay_where_the_optimiser_does_not() -> None:
    net = Net("float64")
    start = net.state_dict()
    zeros = {name: np.zeros_like(value) for name, value in start.items()}
    optim.SGD(net, 1.0, groups=[optim.Group("out.*", weight_decay=0.5)]).step(zeros)
    end = net.state_dict()
    assert (end["out.weight"] == start["out.weight"] / 2).all()
    assert (end["first.weight"] == start["first.weight"]).all()


# ---- learning rate -----------------------------------------------------------------------------------------------

TABLES: list[tuple[optim.Schedule, dict[int, float]]] = [
    (optim.constant(0.3), {0: 0.3, 1: 0.3, 10**9: 0.3}),
    (optim.step_decay(1.0, [3, 5], factor=0.1), {0: 1.0, 2: 1.0, 3: 0.1, 4: 0.1, 5: 0.01, 100: 0.01}),
    (optim.step_decay(2.0, []), {0: 2.0, 9: 2.0}),
    (optim.exponential(0.01, 0.9, 1000), {0: 0.01, 999: 0.01, 1000: 0.009, 1999: 0.009, 2000: 0.0081}),
    (optim.exponential(8.0, 0.25, 4, staircase=False), {0: 8.0, 2: 4.0, 4: 2.0, 6: 1.0}),
    # Halved each epoch from the fifth on, three steps an epoch.
    (optim.halve_from(1.0, 4, 3), {0: 1.0, 11: 1.0, 12: 0.5, 14: 0.5, 15: 0.25, 36: 0.5**9}),
    (optim.halve_from(1.0, 0, 1), {0: 0.5, 1: 0.25}),
    (optim.halve_from(1.0, 6, 10, factor=0.8), {0: 1.0, 59: 1.0, 60: 0.8, 70: 0.64}),
    (optim.linear_warmup(0.8, 4), {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 0.8, 99: 0.8}),
    (optim.linear_warmup(optim.step_decay(1.0, [2], factor=0.5), 4), {0: 0.25, 1: 0.5, 2: 0.375, 3: 0.5, 4: 0.5}),
    (optim.cosine(1.0, 4), {0: 1.0, 1: (2 + math.sqrt(2)) / 4, 2: 0.5, 3: (2 - math.sqrt(2)) / 4, 4: 0.0, 5: 0.0}),
    (optim.cosine(1.0, 2, final=0.2), {0: 1.0, 1: 0.6, 2: 0.2, 1000: 0.2}),
]


@pytest.mark.parametrize(("schedule", "table"), TABLES)
def test_schedules_against_tables(schedule: optim.Schedule, table: dict[int, float]) -> None:
    for twin in (schedule, pickle.loads(pickle.dumps(schedule))):
        got = {step: twin(step) for step in table}
        assert got == pytest.approx(table, rel=1e-14, abs=1e-16)


def test_a_schedule_is_asked_for_each_step() -> None:
    net, asked = Net("float64"), []

    def schedule(step: int) -> float:
        asked.append(step)
        return 1.0 / (step + 1)

    optimizer = optim.SGD(net, schedule)
    twin = Net("float64")
    other = optim.SGD(twin, 0.0)
    assert optimizer.lr == 1.0
    for step in range(3):
        optimizer.step(gradients(net, step))
        other.step(gradients(net, step), lr=1.0 / (step + 1))
    assert asked == [0, 0, 1, 2]
    assert optimizer.steps == other.steps == 3
    assert optimizer.lr == 0.25
    assert_same_bits(net.state_dict(), twin.state_dict())


def test_the_learning_rate_can_be_set() -> None:
    net = Net()
    optimizer = optim.SGD(net, 0.1)
    optimizer.lr = 0.0
    start = net.state_dict()
    train(optimizer, net, range(1))
    assert_same_bits(start, net.state_dict())
    optimizer.lr = optim.exponential(1.0, 0.5, 1)
    assert optimizer.lr == 0.5
    with pytest.raises(ValueError, match="SGD: lr must be"):
        optimizer.lr = -1.0


# ---- saved state -------------------------------------------------------------------------------------------------

MAKERS = [
    lambda net: optim.SGD(net, 0.1),
    lambda net: optim.SGD(net, optim.halve_from(0.1, 1, 2), momentum=0.9, nesterov=True),
    lambda net: optim.Adam(net, optim.cosine(0.1, 8), weight_decay=0.1, groups=[optim.Group("*.bias", frozen=True)]),
    lambda net: optim.AdamW(net, optim.cosine(0.1, 8), groups=[optim.Group("*.bias", weight_decay=0.0)]),
    lambda net: optim.Adagrad(net, 0.1, initial_accumulator=0.1, eps=0.0, groups=[optim.Group("*.bias", frozen=True)]),
    lambda net: optim.RMSprop(net, optim.exponential(0.1, 0.5, 2), momentum=0.9, centered=True, eps_in_root=True),
    lambda net: optim.RMSprop(net, 0.1, initial_square=1.0, weight_decay=0.1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", MAKERS)
def test_loaded_state_goes_on_to_the_same_bits(make: Callable[[Module], optim.Optimizer], dtype: str) -> None:
    whole = Net(dtype)
    train(make(whole), whole, range(6))

    first = Net(dtype)
    optimizer = make(first)
    train(optimizer, first, range(3))
    weights, state = first.state_dict(), optimizer.state_dict()
    train(optimizer, first, range(3, 4))  # what was given out does not move with it

    second = Net(dtype, seed=9)
    second.load_state_dict(weights)
    resumed = make(second)
    resumed.load_state_dict(state)
    assert resumed.steps == 3
    assert_same_bits(resumed.state_dict(), state)
    train(resumed, second, range(3, 6))
    assert_same_bits(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_to_the_same_bits(make: Callable[[Module], optim.Optimizer], twin: Callable[[Any], Any]) -> None:
    net = Net()
    optimizer = make(net)
    train(optimizer, net, range(2))
    other_net, other = twin((net, optimizer))
    train(optimizer, net, range(2, 4))
    train(other, other_net, range(2, 4))
    assert_same_bits(net.state_dict(), other_net.state_dict())


def test_names_of_the_saved_state() -> None:
    net = Net()
    assert list(optim.SGD(net, 0.1).state_dict()) == ["step"]
    assert list(optim.SGD(net, 0.1, momentum=0.5).state_dict()) == ["step", *(f"momentum.{n}" for n in NAMES)]
    assert list(optim.Adam(net).state_dict()) == [
        "step",
        *(f"first_moment.{n}" for n in NAMES),
        *(f"second_moment.{n}" for n in NAMES),
    ]
    assert list(optim.AdamW(net).state_dict()) == list(optim.Adam(net).state_dict())
    assert list(optim.Adagrad(net).state_dict()) == ["step", *(f"accumulator.{n}" for n in NAMES)]
    assert list(optim.RMSprop(net).state_dict()) == ["step", *(f"mean_square.{n}" for n in NAMES)]
    assert list(optim.RMSprop(net, momentum=0.5, centered=True).state_dict()) == [
        "step",
        *(f"{slot}.{n}" for slot in ("mean_square", "mean", "momentum") for n in NAMES),
    ]


def test_arrays_start_from_the_values_asked_for() -> None:
    net = Net()
    for start, optimizer in ((0.25, optim.Adagrad(net, initial_accumulator=0.25)), (0.0, optim.Adagrad(net))):
        assert all((optimizer.state_dict()[f"accumulator.{n}"] == np.float32(start)).all() for n in NAMES)
    state = optim.RMSprop(net, initial_square=0.5, centered=True, momentum=0.5).state_dict()
    for slot, start in (("mean_square", 0.5), ("mean", 0.0), ("momentum", 0.0)):
        assert all((state[f"{slot}.{n}"] == np.float32(start)).all() for n in NAMES)


def test_saved_state_goes_through_safetensors() -> None:
    numpy_format = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    net = Net()
    optimizer = optim.Adam(net)
    train(optimizer, net, range(2))
    state = numpy_format.load(numpy_format.save(optimizer.state_dict()))
    other = optim.Adam(net)
    other.load_state_dict(state)
    assert_same_bits(other.state_dict(), optimizer.state_dict())


# ---- clipping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [0.01, 5.0, 1e6])
def test_clip_against_torch(dtype: str, max_norm: float) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    grads = gradients(Net(dtype), 0)
    start = {name: value.copy() for name, value in grads.items()}
    tensors = [torch.zeros(value.shape, dtype=getattr(torch, dtype)) for value in grads.values()]
    for tensor, value in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(value)
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm).item()
    norm = optim.clip_by_global_norm(grads, max_norm)
    assert norm == pytest.approx(expected, rel=TOLERANCE[dtype])
    # PyTorch divides by norm + 1e-6: its result is smaller by that share.
    for tensor, (name, value) in zip(tensors, grads.items(), strict=True):
        theirs = tensor.grad.numpy() * ((norm + 1e-6) / norm if norm > max_norm else 1.0)
        np.testing.assert_allclose(value, theirs, rtol=3 * float(np.finfo(dtype).eps), atol=0)
        assert (value == start[name]).all() == (norm <= max_norm)


def test_clip_is_the_formula_to_the_bit() -> None:
    grads = {"a": np.array([[3.0], [0.0]]), "b": np.array([-4.0]), "empty": np.zeros((0, 2)), "c": np.array(12.0)}
    assert optim.clip_by_global_norm(grads, 6.5) == 13.0
    assert grads["a"].tolist() == [[1.5], [0.0]]
    assert grads["b"].tolist() == [-2.0]
    assert grads["c"].tolist() == 6.0
    assert optim.clip_by_global_norm(grads, 6.5) == 6.5
    assert grads["b"].tolist() == [-2.0]


def test_clip_leaves_what_is_small_enough() -> None:
    grads = {"a": np.array([3.0, 4.0], "float32"), "zero": np.zeros(3)}
    assert optim.clip_by_global_norm(grads, 5.0) == 5.0
    assert optim.clip_by_global_norm(grads, math.inf) == 5.0
    assert grads["a"].tolist() == [3.0, 4.0]
    assert optim.clip_by_global_norm({"zero": np.zeros(3)}, 1.0) == 0.0
    assert optim.clip_by_global_norm({}, 1.0) == 0.0


def test_clip_sums_in_float64_and_survives_extremes() -> None:
    many = np.full(1_000_001, 1e-3, "float32")
    assert optim.clip_by_global_norm({"a": many}, math.inf) == pytest.approx(
        float(np.float32(1e-3)) * math.sqrt(1_000_001), rel=1e-12
    )
    large = np.full(4, 1e30, "float32")  # its squares are no float32
    assert optim.clip_by_global_norm({"a": large}, math.inf) == pytest.approx(2e30, rel=1e-7)


def test_clip_of_strided_gradients_writes_them_in_place() -> None:
    backing = np.arange(24, dtype="float64").reshape(4, 6)
    view = backing[::2, ::-3]
    expected, outside = view.copy(), backing[1].copy()
    norm = optim.clip_by_global_norm({"a": view}, 1.0)
    assert norm == pytest.approx(float(np.sqrt((expected**2).sum())), rel=1e-15)
    np.testing.assert_allclose(backing[::2, ::-3], expected / norm, rtol=1e-15)
    assert (backing[1] == outside).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_names_the_first_gradient_that_is_not_finite_and_changes_nothing(bad: float) -> None:
    grads = {"fine": np.full(3, 100.0), "bad": np.ones((3, 2), "float32"), "worse": np.full(2, bad)}
    grads["bad"][2, 1] = bad
    with pytest.raises(ValueError, match=rf"clip_by_global_norm: grads\['bad'\] must be finite, got {bad} at .*2, 1"):
        optim.clip_by_global_norm(grads, 1.0)
    assert (grads["fine"] == 100).all()


# ---- the L2 penalty ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("match", "chosen"),
    [
        (None, ["first.weight", "out.weight"]),
        ("first.*", ["first.weight", "first.bias"]),
        (["*.bias", "out.*"], ["first.bias", "out.weight"]),
    ],
)
def test_l2_against_torch(dtype: str, match: str | list[str] | None, chosen: list[str]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    net = Net(dtype)
    tensors = {name: torch.tensor(value).double().requires_grad_() for name, value in net.parameters().items()}
    penalty = 0.3 * sum((tensors[name] ** 2).sum() / 2 for name in chosen)
    penalty.backward()
    grads = gradients(net, 0)
    loss, added = optim.l2_penalty(net, grads, 0.3, match)
    assert loss == pytest.approx(penalty.item(), rel=1e-12)
    assert list(added) == list(grads)
    for name, value in added.items():
        assert value.dtype == dtype
        assert (value is grads[name]) == (name not in chosen)
        expected = grads[name] + (tensors[name].grad.numpy() if name in chosen else 0.0)
        np.testing.assert_allclose(value, expected, rtol=0, atol=TOLERANCE[dtype], err_msg=name)


def test_l2_changes_neither_parameters_nor_gradients() -> None:
    net = Net()
    weights, grads = net.state_dict(), gradients(net, 0)
    grads["out.weight"] = np.asfortranarray(grads["out.weight"])
    for value in grads.values():
        value.flags.writeable = False  # writing would raise
    start = dict(grads)
    _, added = optim.l2_penalty(net, grads, 0.3)
    assert grads.keys() == start.keys()
    assert all(grads[name] is start[name] for name in start)
    assert_same_bits(net.state_dict(), weights)
    for name in ("first.weight", "out.weight"):
        assert not any(np.shares_memory(added[name], other) for other in (grads[name], net.parameters()[name]))


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.Adagrad, optim.RMSprop])
def test_l2_and_weight_decay_make_the_same_steps(make: Callable[..., optim.Optimizer]) -> None:
    net, twin = Net(), Net()
    ours = make(net, 0.1)
    theirs = make(twin, 0.1, weight_decay=0.3, groups=[optim.Group("*.bias", weight_decay=0.0)])
    for step in range(3):
        ours.step(optim.l2_penalty(net, gradients(net, step), 0.3)[1])
        theirs.step(gradients(twin, step))
    assert_same_bits(net.state_dict(), twin.state_dict())


def test_l2_by_hand_and_at_its_edges() -> None:
    net = Net("float64")
    with net.writable() as parameters:
        for value in parameters.values():
            value[...] = 2.0
    grads = gradients(net, 0)
    assert optim.l2_penalty(net, grads, 0.25, "first.*")[0] == 0.25 * (35 + 5) * 4 / 2
    loss, added = optim.l2_penalty(net, grads, 0.0)
    assert loss == 0.0
    assert_same_bits(added, grads)
    # Those not chosen may be missing, as frozen ones are.
    assert list(optim.l2_penalty(net, {"first.bias": grads["first.bias"]}, 1.0, "*.bias")[1]) == ["first.bias"]


# ---- errors ------------------------------------------------------------------------------------------------------

NET = Net()
GOOD = gradients(NET, 0)


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in GOOD.items() if key != name}


def sgd(**options: Any) -> optim.SGD:
    return optim.SGD(NET, 0.1, **options)


def adam_state(**changes: Any) -> dict[str, Any]:
    return optim.Adam(NET).state_dict() | changes


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: optim.SGD(NET, -0.1), ValueError, "SGD: lr must be in [0.0, inf], got -0.1"),
    (lambda: optim.SGD(NET, math.inf), ValueError, "SGD: lr must be finite, got inf"),
    (lambda: optim.SGD(NET, math.nan), ValueError, "SGD: lr must be in [0.0, inf], got nan"),
    (lambda: optim.SGD(NET, "0.1"), TypeError, "SGD: lr must be a number, got '0.1'"),
    (lambda: optim.SGD([], 0.1), TypeError, "SGD: module must be a Module, got []"),
    (lambda: sgd(momentum=-1), ValueError, "SGD: momentum must be in [0.0, inf], got -1.0"),
    (lambda: sgd(nesterov=True), ValueError, "SGD: momentum must be > 0 with nesterov=True, got 0.0"),
    (lambda: sgd(nesterov=1, momentum=0.9), TypeError, "SGD: nesterov must be True or False, got 1"),
    (lambda: sgd(weight_decay=-1), ValueError, "SGD: weight_decay must be in [0.0, inf], got -1.0"),
    (lambda: sgd(groups=["bias"]), TypeError, "SGD: groups must hold Group values, got 'bias'"),
    (
        lambda: sgd(groups=[optim.Group(["*.bias", "*.gamma"])]),
        ValueError,
        "SGD: every pattern in groups must match a parameter (first.weight, first.bias, out.weight), got '*.gamma'",
    ),
    (lambda: optim.Adam(NET, betas=(1.0, 0.9)), ValueError, "Adam: betas[0] must be in [0, 1), got 1.0"),
    (lambda: optim.Adam(NET, betas=(0.9, -0.1)), ValueError, "Adam: betas[1] must be in [0.0, inf], got -0.1"),
    (lambda: optim.Adam(NET, betas=0.9), TypeError, "Adam: betas must be a pair of numbers, got 0.9"),
    (lambda: optim.Adam(NET, eps=0.0), ValueError, "Adam: eps must be in (0.0, 1.0], got 0.0"),
    (lambda: optim.AdamW(NET, betas=(0.9, 1.0)), ValueError, "AdamW: betas[1] must be in [0, 1), got 1.0"),
    (lambda: optim.AdamW(NET, betas=[0.9]), TypeError, "AdamW: betas must be a pair of numbers, got [0.9]"),
    (lambda: optim.AdamW(NET, eps=2), ValueError, "AdamW: eps must be in (0.0, 1.0], got 2.0"),
    (lambda: optim.AdamW(NET, weight_decay=-1), ValueError, "AdamW: weight_decay must be in [0.0, inf], got -1.0"),
    (
        lambda: optim.Adagrad(NET, initial_accumulator=-1),
        ValueError,
        "Adagrad: initial_accumulator must be in [0.0, inf], got -1.0",
    ),
    (
        lambda: optim.Adagrad(NET, initial_accumulator=math.inf),
        ValueError,
        "Adagrad: initial_accumulator must be finite, got inf",
    ),
    (lambda: optim.Adagrad(NET, eps=-1e-9), ValueError, "Adagrad: eps must be in [0.0, 1.0], got -1e-09"),
    (lambda: optim.Adagrad(NET, eps=0), ValueError, "Adagrad: eps must be > 0 with initial_accumulator=0.0, got 0.0"),
    (lambda: optim.RMSprop(NET, alpha=1), ValueError, "RMSprop: alpha must be in [0, 1), got 1.0"),
    (lambda: optim.RMSprop(NET, alpha="0.9"), TypeError, "RMSprop: alpha must be a number, got '0.9'"),
    (lambda: optim.RMSprop(NET, eps=0), ValueError, "RMSprop: eps must be in (0.0, 1.0], got 0.0"),
    (lambda: optim.RMSprop(NET, momentum=-1), ValueError, "RMSprop: momentum must be in [0.0, inf], got -1.0"),
    (lambda: optim.RMSprop(NET, centered=1), TypeError, "RMSprop: centered must be True or False, got 1"),
    (lambda: optim.RMSprop(NET, eps_in_root=0), TypeError, "RMSprop: eps_in_root must be True or False, got 0"),
    (
        lambda: optim.RMSprop(NET, initial_square=-1),
        ValueError,
        "RMSprop: initial_square must be in [0.0, inf], got -1.0",
    ),
    (lambda: optim.Group(3), TypeError, "Group: match must be a pattern or a sequence of them, got 3"),
    (lambda: optim.Group([]), TypeError, "Group: match must be a pattern or a sequence of them, got []"),
    (lambda: optim.Group("*", lr_scale=-1), ValueError, "Group: lr_scale must be in [0.0, inf], got -1.0"),
    (lambda: optim.Group("*", weight_decay=-1), ValueError, "Group: weight_decay must be in [0.0, inf], got -1.0"),
    (lambda: optim.Group("*", frozen=0), TypeError, "Group: frozen must be True or False, got 0"),
    (
        lambda: sgd().step(without("out.weight")),
        ValueError,
        "SGD.step: the names must be first.weight, first.bias, out.weight; missing out.weight",
    ),
    (
        lambda: sgd().step(GOOD | {"extra": BAD}),
        ValueError,
        "SGD.step: the names must be first.weight, first.bias, out.weight; unknown extra",
    ),
    (
        lambda: sgd().step(GOOD | {"first.bias": BAD}),
        ValueError,
        "SGD.step: grads['first.bias'] must have shape of first.bias = (5,), got (2,)",
    ),
    (
        lambda: sgd().step(GOOD | {"first.bias": np.ones(5)}),
        TypeError,
        "SGD.step: grads['first.bias'] must be a numpy array of float32, got float64; nothing is cast",
    ),
    (
        lambda: sgd(groups=[optim.Group("first.bias", frozen=True)]).step(GOOD | {"first.bias": BAD}),
        ValueError,
        "SGD.step: grads['first.bias'] must have shape",
    ),
    (lambda: sgd().step(GOOD, lr=-1), ValueError, "SGD: lr must be in [0.0, inf], got -1.0"),
    (lambda: optim.SGD(NET, lambda step: -1.0).step(GOOD), ValueError, "SGD: lr must be in [0.0, inf], got -1.0"),
    (lambda: sgd().load_state_dict(adam_state()), ValueError, "SGD.load_state_dict: the names must be step; unknown"),
    (
        lambda: optim.Adam(NET).load_state_dict(adam_state(step=np.array(1.0))),
        TypeError,
        "Adam.load_state_dict: step must be a numpy array of int64, got float64",
    ),
    (
        lambda: optim.Adam(NET).load_state_dict(adam_state(step=np.array(-1))),
        ValueError,
        "Adam.load_state_dict: step must be >= 0, got -1",
    ),
    (
        lambda: optim.Adam(NET).load_state_dict(adam_state(**{"second_moment.first.bias": BAD})),
        ValueError,
        "Adam.load_state_dict: second_moment.first.bias must have shape of its parameter = (5,), got (2,)",
    ),
    (lambda: optim.constant(-1), ValueError, "constant: lr must be in [0.0, inf], got -1.0"),
    (lambda: optim.step_decay(1.0, [3, 3]), ValueError, "step_decay: milestones must rise, got [3, 3]"),
    (lambda: optim.step_decay(1.0, [-1]), ValueError, "step_decay: milestones must be >= 0, got -1"),
    (lambda: optim.exponential(1.0, -0.5, 1), ValueError, "exponential: decay must be in [0.0, inf], got -0.5"),
    (lambda: optim.exponential(1.0, 0.5, 0), ValueError, "exponential: every must be >= 1, got 0"),
    (lambda: optim.halve_from(1.0, -1, 1), ValueError, "halve_from: epoch must be >= 0, got -1"),
    (lambda: optim.halve_from(1.0, 1, 0), ValueError, "halve_from: steps_per_epoch must be >= 1, got 0"),
    (lambda: optim.linear_warmup(1.0, 0), ValueError, "linear_warmup: steps must be >= 1, got 0"),
    (lambda: optim.cosine(1.0, 4.5), TypeError, "cosine: steps must be an integer, got 4.5"),
    (
        lambda: optim.clip_by_global_norm(GOOD, 0.0),
        ValueError,
        "clip_by_global_norm: max_norm must be in (0.0, inf], got 0.0",
    ),
    (lambda: optim.clip_by_global_norm(GOOD, math.nan), ValueError, "max_norm must be in (0.0, inf], got nan"),
    (
        lambda: optim.clip_by_global_norm({"a": np.ones(2, int)}, 1.0),
        TypeError,
        "clip_by_global_norm: grads['a'] must be a numpy array of float32 or float64, got a int64 array of shape (2,)",
    ),
    (
        lambda: optim.clip_by_global_norm(NET.parameters(), 1.0),
        ValueError,
        "clip_by_global_norm: grads['first.weight'] must be writable, got a read-only array",
    ),
    (
        lambda: optim.clip_by_global_norm({"a": np.full(2, 1e200)}, 1.0),
        ValueError,
        "clip_by_global_norm: grads['a'] must be finite, got values up to 1e+200, whose norm overflows",
    ),
    (lambda: optim.l2_penalty([], GOOD, 0.1), TypeError, "l2_penalty: module must be a Module, got []"),
    (lambda: optim.l2_penalty(NET, GOOD, -1), ValueError, "l2_penalty: weight must be in [0.0, inf], got -1.0"),
    (
        lambda: optim.l2_penalty(NET, GOOD, 0.1, []),
        TypeError,
        "l2_penalty: match must be a pattern or a sequence of them, got []",
    ),
    (
        lambda: optim.l2_penalty(NET, GOOD, 0.1, ["*.weight", "gamma"]),
        ValueError,
        "l2_penalty: every pattern in match must match a parameter (first.weight, first.bias, out.weight), got 'gamma'",
    ),
    (
        lambda: optim.l2_penalty(NET, without("out.weight"), 0.1),
        ValueError,
        "l2_penalty: the names must be first.weight, first.bias, out.weight; missing out.weight",
    ),
    (
        lambda: optim.l2_penalty(NET, GOOD | {"extra": BAD}, 0.1),
        ValueError,
        "l2_penalty: the names must be first.weight, first.bias, out.weight; unknown extra",
    ),
    (
        lambda: optim.l2_penalty(NET, GOOD | {"first.bias": BAD}, 0.1),
        ValueError,
        "l2_penalty: grads['first.bias'] must have shape of first.bias = (5,), got (2,)",
    ),
    (
        lambda: optim.l2_penalty(NET, GOOD | {"first.bias": np.ones(5)}, 0.1),
        TypeError,
        "l2_penalty: grads['first.bias'] must be a numpy array of float32, got float64; nothing is cast",
    ),
]

BAD = np.ones(2, "float32")


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors_change_nothing(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    weights, grads = NET.state_dict(), {name: value.copy() for name, value in GOOD.items()}
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert_same_bits(NET.state_dict(), weights)
    assert_same_bits(GOOD, grads)


@pytest.mark.parametrize("make", KINDS)
def test_a_step_that_raises_changes_nothing(make: Callable[..., optim.Optimizer]) -> None:
    net = Net()
    optimizer = make(net, 0.1)
    train(optimizer, net, range(2))
    weights, state = net.state_dict(), optimizer.state_dict()
    # The last array is the one that does not fit: the others would have been written by then.
    for bad in (without("out.weight"), GOOD | {"out.weight": BAD}, GOOD | {"out.weight": GOOD["out.weight"].tolist()}):
        with pytest.raises((TypeError, ValueError), match=f"{make.__name__}.step: "):
            optimizer.step(bad)
    with pytest.raises(ValueError, match=f"{make.__name__}: lr must be"):
        optimizer.step(GOOD, lr=-1.0)
    assert_same_bits(net.state_dict(), weights)
    assert_same_bits(optimizer.state_dict(), state)


def test_a_failed_load_changes_nothing() -> None:
    optimizer = optim.Adam(NET)
    state = adam_state(step=np.array(7), **{"second_moment.out.weight": BAD})
    state["first_moment.first.bias"] = np.ones(5, "float32")
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="second_moment"):
        optimizer.load_state_dict(state)
    assert_same_bits(optimizer.state_dict(), before)


def test_a_module_whose_arrays_are_not_contiguous_is_refused() -> None:
    class Turned(Module):
        def __init__(self) -> None:
            super().__init__()
            self._add_parameter("weight", np.ones((3, 2)).T)

    with pytest.raises(ValueError, match="SGD: parameters must be C-contiguous, got weight with strides"):
        optim.SGD(Turned(), 0.1)


def test_parameters_that_are_no_floats_must_be_frozen() -> None:
    class Counted(Module):
        def __init__(self) -> None:
            super().__init__()
            self._add_parameter("weight", np.ones(2))
            self._add_parameter("count", np.ones(2, "int64"))

    with pytest.raises(
        TypeError, match="SGD: parameter count must be a numpy array of float32 or float64, got a int64"
    ):
        optim.SGD(Counted(), 0.1)
    module = Counted()
    optim.SGD(module, 0.5, groups=[optim.Group("count", frozen=True)]).step({"weight": np.ones(2)})
    assert module.parameters()["weight"].tolist() == [0.5, 0.5]


def test_the_first_fault_that_clipping_finds_is_named() -> None:
    fixed = np.ones(2)
    fixed.flags.writeable = False
    for names, message in (("ab", r"grads\['a'\] must be finite"), ("ba", r"grads\['b'\] must be writable")):
        grads = {"a": np.array([1.0, math.nan]), "b": fixed}
        with pytest.raises(ValueError, match=message):
            optim.clip_by_global_norm({name: grads[name] for name in names}, 1.0)


@pytest.mark.parametrize(
    ("maker", "options", "name"),
    [
        (optim.Adam, {"eps": 1e-40}, "eps"),
        (optim.AdamW, {"eps": 1e-40}, "eps"),
        (optim.RMSprop, {"eps": 1e-40}, "eps"),
        (optim.Adagrad, {"eps": 1e-40}, "eps"),
        (optim.Adagrad, {"initial_accumulator": 1e-40, "eps": 0.0}, "initial_accumulator"),
    ],
)
def test_denormal_settings_would_count_as_zero(maker, options, name):
    where = maker.__name__
    with pytest.raises(ValueError, match=rf"^{where}: {name} must be 0 or >= 1.18e-38, got 1e-40"):
        maker(nn.Linear(2, 1, seed=0), 0.1, **options)
