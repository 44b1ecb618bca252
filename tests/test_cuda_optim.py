"""Optimisers on a GPU, or on the emulated one: the rules are those of the CPU, and so are their bits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr

pytestmark = pytest.mark.gpu

OPTIMISERS = {
    "sgd": (fr.optim.SGD, {"lr": 0.1}),
    "momentum": (fr.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (fr.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (fr.optim.Adam, {"lr": 0.1, "weight_decay": 0.01}),
    "adamw": (fr.optim.AdamW, {"lr": 0.1, "weight_decay": 0.01}),
    "adagrad": (fr.optim.Adagrad, {"lr": 0.1}),
    "rmsprop": (fr.optim.RMSprop, {"lr": 0.1}),
    "graves": (fr.optim.RMSprop, {"lr": 0.1, "momentum": 0.9, "centered": True, "eps_in_root": True}),
}


def draw(like: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(value.shape).astype(value.dtype) for name, value in like.items()}


def on(gpu: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: gpu.asarray(value) for name, value in arrays.items()}


def same(gpu: Any, here: dict[str, np.ndarray], there: dict[str, Any]) -> None:
    assert list(here) == list(there)
    for name, value in here.items():
        assert gpu.asnumpy(there[name]).tobytes() == value.tobytes(), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_has_the_bits_of_the_cpu(gpu: Any, name: str, dtype: str) -> None:
    """Sums, products, quotients and roots are rounded by themselves on both, in the same order."""
    kind, settings = OPTIMISERS[name]
    groups = [fr.optim.Group("bias", lr_scale=0.5, weight_decay=0.1)]
    here = fr.nn.Linear(40, 30, dtype=dtype, seed=0)
    there = fr.nn.Linear(40, 30, dtype=dtype, seed=0, device="cuda")
    optimizers = [kind(module, **settings, groups=groups) for module in (here, there)]
    for step in range(3):
        grads = draw(here.state_dict(), step)
        optimizers[0].step(grads)
        optimizers[1].step(on(gpu, grads))
    same(gpu, here.state_dict(), there.state_dict())
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert isinstance(states[1]["step"], np.ndarray)
    assert all(isinstance(value, gpu.ndarray) for key, value in states[1].items() if key != "step")
    same(gpu, states[0], states[1])


class Many(fr.nn.Linear):
    """More parameters than one table holds, of odd sizes, and one layer under two names."""

    def __init__(self, device: str) -> None:
        super().__init__(1, 1, dtype="float64", seed=0, device=device)
        for number in range(40):
            setattr(self, f"part{number}", fr.nn.Linear(3, number + 1, dtype="float64", seed=number, device=device))
        self.again = self.part7


def test_many_parameters_and_one_under_two_names(gpu: Any) -> None:
    here, there = Many("cpu"), Many("cuda")
    optimizers = [fr.optim.SGD(module, 0.1, momentum=0.5) for module in (here, there)]
    for step in range(2):
        grads = draw(here.state_dict(), step)
        optimizers[0].step(grads)
        optimizers[1].step(on(gpu, grads))
    same(gpu, here.state_dict(), there.state_dict())


def test_state_comes_back_from_host_and_device(gpu: Any) -> None:
    modules = [fr.nn.Linear(3, 2, seed=0, device="cuda") for _ in range(3)]
    optimizers = [fr.optim.Adam(module, 0.1) for module in modules]
    grads = on(gpu, draw(fr.nn.Linear(3, 2).state_dict(), 0))
    optimizers[0].step(grads)
    state = optimizers[0].state_dict()
    optimizers[1].load_state_dict(state)
    optimizers[2].load_state_dict({name: gpu.asnumpy(value) for name, value in state.items()})
    for module in modules[1:]:
        module.load_state_dict(modules[0].state_dict())
    for optimizer in optimizers:
        optimizer.step(grads)
    expected = {name: gpu.asnumpy(value) for name, value in modules[0].state_dict().items()}
    for module in modules[1:]:
        same(gpu, expected, module.state_dict())
    with pytest.raises(TypeError, match=r"first_moment.bias must be a numpy array of float32, got float64"):
        optimizers[0].load_state_dict(state | {"first_moment.bias": np.zeros(2)})


def test_copies_of_a_module_are_on_the_device_too(gpu: Any) -> None:
    linear = fr.nn.Linear(3, 2, seed=0, device="cuda")
    other = copy.deepcopy(linear)
    assert other.device == "cuda"
    assert isinstance(other.parameters()["weight"], gpu.ndarray)
    with linear.writable() as parameters:
        parameters["weight"][...] = 0
    assert float(abs(other.parameters()["weight"]).sum()) > 0


def test_gradients_in_host_memory_are_an_error(gpu: Any) -> None:
    linear = fr.nn.Linear(3, 2, seed=0, device="cuda")
    optimizer = fr.optim.SGD(linear, 0.1)
    grads = draw(fr.nn.Linear(3, 2).state_dict(), 0)
    message = r"SGD.step: grads\['weight'\] must be a cupy array of float32, got a float32 array .* in host memory"
    with pytest.raises(TypeError, match=message):
        optimizer.step(grads)
    with pytest.raises(
        TypeError, match=r"grads\['bias'\] must be a numpy array of float32, got a float32 array .* GPU"
    ):
        fr.optim.clip_by_global_norm(grads | {"bias": gpu.asarray(grads["bias"])}, 1.0)


# ---- clipping --------------------------------------------------------------------------------------------------------


def gradients() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = {"a": (300, 70), "b": (5,), "c": (0, 3), "d": ()}
    grads = {name: np.asarray(generator.standard_normal(size)).astype("float32") for name, size in sizes.items()}
    return grads | {"e": generator.standard_normal(2000), "f": generator.standard_normal((4, 5)).T}


@pytest.mark.parametrize("most", [1e-3, 20.0, 1e6, np.inf])
def test_clipping(gpu: Any, most: float) -> None:
    here = gradients()
    there = on(gpu, here)
    there["f"] = gpu.asarray(here["f"].T.copy()).T  # not C-contiguous
    again = {name: value.copy() for name, value in there.items()}
    norm = fr.optim.clip_by_global_norm(here, most)
    found = fr.optim.clip_by_global_norm(there, most)
    assert isinstance(found, gpu.ndarray)
    assert found.shape == ()
    assert float(found) == pytest.approx(norm, rel=1e-12)
    for name, value in here.items():
        np.testing.assert_allclose(gpu.asnumpy(there[name]), value, rtol=1e-6)
    repeated = fr.optim.clip_by_global_norm(again, most)
    assert gpu.asnumpy(repeated).tobytes() == gpu.asnumpy(found).tobytes()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("most", [1.0, np.inf])
def test_gradients_that_are_not_finite_become_zero_and_the_norm_says_so(gpu: Any, bad: float, most: float) -> None:
    grads = on(gpu, gradients())
    grads["a"][3, 4] = bad
    assert not np.isfinite(float(fr.optim.clip_by_global_norm(grads, most)))
    for value in grads.values():
        assert not gpu.asnumpy(value).any()


def test_l2_penalty(gpu: Any) -> None:
    here, there = (fr.nn.Linear(4, 3, dtype="float64", seed=0, device=device) for device in ("cpu", "cuda"))
    grads = draw(here.state_dict(), 0)
    loss, added = fr.optim.l2_penalty(here, grads, 0.5)
    found, found_grads = fr.optim.l2_penalty(there, on(gpu, grads), 0.5)
    assert float(found) == pytest.approx(loss, rel=1e-12)
    for name, value in added.items():
        np.testing.assert_allclose(gpu.asnumpy(found_grads[name]), value, rtol=1e-12)
