"""Arrays on a GPU, or on the emulated one, that are of another library than CuPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from problems import Case, make_layer

import fusedrnn as fr
from fusedrnn.settings import parameter_dtype

pytestmark = pytest.mark.gpu


class Interface:
    """An array that has the CUDA array interface and nothing else."""

    def __init__(self, array: Any) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self._array = array


class Exchanged:
    """An array like a tensor of PyTorch, which has both ways and whose interface may refuse."""

    def __init__(self, array: Any, refusal: str = "") -> None:
        self._array, self._refusal = array, refusal
        self.dtype, self.shape = f"torch.{array.dtype}", array.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError(f"the interface was asked for: {self._refusal}")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **settings: Any) -> Any:
        if self._refusal:
            raise BufferError(self._refusal)
        return self._array.__dlpack__(**settings)


class OnHost:
    """An array like a tensor of PyTorch in host memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise AssertionError("asked for what is in host memory")

    def __repr__(self) -> str:
        return "a tensor"


KINDS = [Interface, Exchanged]
F = fr.functional


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def same(gpu: Any, call: Callable[[Callable[[Any], Any]], Any], kind: type) -> None:
    """`call` is given a way to put an array on the device, and gives arrays; they are the same for every library."""
    found = [call(give) for give in (gpu.asarray, lambda value: kind(gpu.asarray(value)))]
    for one, other in zip(*found, strict=True):
        assert gpu.asnumpy(one).tobytes() == gpu.asnumpy(other).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_reads_them_in_place(gpu: Any, kind: type) -> None:
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    assert np.array_equal(gpu.asnumpy(layer(kind(x))[0]), gpu.asnumpy(layer(x)[0]))


def test_bfloat16_comes_by_dlpack_alone(gpu: Any) -> None:
    pytest.importorskip("ml_dtypes")
    dtype = parameter_dtype("test", "bfloat16", ["bfloat16"])
    layer, x = make_layer(Case(), dtype, device="cuda"), gpu.asarray(np.ones((5, 3, 4), dtype))
    y = layer(Exchanged(x))[0]
    assert gpu.asnumpy(y).tobytes() == gpu.asnumpy(layer(x)[0]).tobytes()
    message = "x must be a cupy array of bfloat16, got one whose interface does not tell the dtype; give it with"
    with pytest.raises(TypeError, match=message):
        layer(Interface(x))


def test_what_cannot_be_taken_says_why(gpu: Any) -> None:
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    with pytest.raises(TypeError, match="x must be a cupy array of float64, got a tensor; nothing is moved"):
        layer(OnHost())
    with pytest.raises(TypeError, match="x must be an array that may be shared, got one that says: it needs detach"):
        layer(Exchanged(x, "it needs detach"))
    on_cpu = make_layer(Case())
    with pytest.raises(
        TypeError, match=r"x must be a numpy array of float64, got a float64 array of shape \(5, 3, 4\)"
    ):
        on_cpu(Exchanged(x))
    with pytest.raises(TypeError, match="x must be a numpy array of float64, got an array of Interface on a GPU"):
        on_cpu(Interface(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mean_squared_error", "binary_cross_entropy", "softmax_cross_entropy"])
@pytest.mark.parametrize("of_weights", ["bool", "float64"])
def test_losses_read_them(gpu: Any, kind: type, name: str, of_weights: str) -> None:
    targets = np.array([2, 0, 1]) if name == "softmax_cross_entropy" else draw(3, 4, seed=1)
    weights = np.array([1, 0, 1]).astype(of_weights)

    def call(give: Callable[[Any], Any]) -> Any:
        forward, backward = getattr(F, f"{name}_forward"), getattr(F, f"{name}_backward")
        loss, saved = forward(give(draw(3, 4)), give(targets), weights=give(weights))
        each, saved_each = forward(give(draw(3, 4)), give(targets), reduction="none")
        return loss, backward(saved), backward(saved_each, give(np.ones(each.shape)))

    same(gpu, call, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_read_them(gpu: Any, kind: type) -> None:
    def linear(give: Callable[[Any], Any]) -> Any:
        x, weight = give(draw(3, 4)), give(draw(5, 4, seed=1))
        out = F.linear_forward(x, weight, give(draw(5)))
        return out, *F.linear_backward(x, weight, give(draw(3, 5)))

    def embedding(give: Callable[[Any], Any]) -> Any:
        layer, ids = fr.nn.Embedding(5, 2, dtype="float64", device="cuda", seed=0), give(np.array([[3, 0], [3, 1]]))
        out, saved = layer.forward(ids)
        return out, layer.backward(saved, give(draw(2, 2, 2)))[1]["weight"]

    def dropout(give: Callable[[Any], Any]) -> Any:
        layer = fr.nn.Dropout(0.5, seed=1)
        out, saved = layer.forward(give(draw(2, 3, 4)))
        return out, layer.backward(saved, give(draw(2, 3, 4)))[0], layer(give(draw(2, 3, 4)))

    for call in (linear, embedding, dropout):
        same(gpu, call, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["LastPool", "MeanPool", "MaxPool"])
def test_pooling_reads_them(gpu: Any, kind: type, pool: str) -> None:
    def call(give: Callable[[Any], Any]) -> Any:
        layer = getattr(fr.nn, pool)()
        out, saved = layer.forward(give(draw(3, 2, 4)), lengths=[3, 1])
        return out, layer.backward(saved, give(draw(2, 4, seed=1)))[0]

    same(gpu, call, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_optimisers_read_them(gpu: Any, kind: type) -> None:
    def call(give: Callable[[Any], Any]) -> Any:
        layer = fr.nn.Linear(3, 2, dtype="float64", device="cuda", seed=0)
        grads = {"weight": draw(2, 3), "bias": draw(2)}
        norm = fr.optim.clip_by_global_norm({name: give(value) for name, value in grads.items()}, 1.0)
        penalty, grads = fr.optim.l2_penalty(layer, {name: give(value) for name, value in grads.items()}, 0.1)
        fr.optim.SGD(layer, 0.1).step(grads)
        return norm, penalty, *layer.state_dict().values()

    same(gpu, call, kind)


def test_their_gradients_are_clipped_in_place(gpu: Any) -> None:
    gradient = gpu.asarray(np.array([3.0, 4.0]))
    fr.optim.clip_by_global_norm({"weight": Exchanged(gradient)}, 1.0)
    np.testing.assert_allclose(gpu.asnumpy(gradient), [0.6, 0.8])
