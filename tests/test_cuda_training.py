"""Functions, losses and layers around the recurrence on a GPU, or on the emulated one, against the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr

F = fr.functional
pytestmark = pytest.mark.gpu

LIMITS = {"float64": 1e-12, "float32": 2e-5}
REDUCTIONS = ["mean", "sum", "none"]


def over(value: Any, move: Callable[[Any], Any], kind: type) -> Any:
    """A value with each of its arrays of a kind moved."""
    if isinstance(value, kind):
        return move(value)
    if isinstance(value, tuple):
        parts = [over(part, move, kind) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, dict):
        return {key: over(part, move, kind) for key, part in value.items()}
    return value


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else [value]


def agree(gpu: Any, function: Callable[..., Any], *arguments: Any, dtype: str = "float64") -> None:
    """`function` gives the same on both devices, and gives arrays of the device that it is called for."""
    expected = leaves(function(*arguments))
    found = leaves(function(*over(arguments, gpu.asarray, np.ndarray)))
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        if one is None:
            assert other is None
            continue
        assert isinstance(other, gpu.ndarray)
        other = gpu.asnumpy(other)
        assert other.shape == np.shape(one)
        assert other.dtype == np.asarray(one).dtype
        np.testing.assert_allclose(other, one, rtol=LIMITS[dtype], atol=LIMITS[dtype])


@pytest.fixture(params=list(LIMITS))
def dtype(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def draw(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---- maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5), (7, 5), (5,), (0, 5)])
def test_linear(gpu: Any, dtype: str, shape: tuple[int, ...], bias: bool) -> None:
    x, weight, dout = draw(dtype, *shape), draw(dtype, 6, 5, seed=1), draw(dtype, *shape[:-1], 6, seed=2)
    agree(gpu, F.linear_forward, x, weight, draw(dtype, 6, seed=3) if bias else None, dtype=dtype)
    agree(gpu, F.linear_backward, x, weight, dout, dtype=dtype)
    agree(gpu, lambda *given: F.linear_backward(*given, need_dx=False), x, weight, dout, dtype=dtype)


def test_linear_takes_any_strides(gpu: Any) -> None:
    x, weight = draw("float64", 5, 3, 4), draw("float64", 6, 5, seed=1)
    agree(gpu, lambda x, w: F.linear_forward(x.T, w), x, weight)
    agree(gpu, lambda x, w: F.linear_forward(x, w[::2, ::2].T[:, :3]), draw("float64", 2, 3), weight)


@pytest.mark.parametrize("ids_dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(4, 3), (9,), (), (0, 2)])
def test_embedding(gpu: Any, dtype: str, shape: tuple[int, ...], ids_dtype: str) -> None:
    ids = np.random.default_rng(0).integers(0, 5, shape).astype(ids_dtype)
    agree(gpu, F.embedding_forward, ids, draw(dtype, 5, 3), dtype=dtype)
    agree(gpu, lambda *given: F.embedding_backward(*given, 5), ids, draw(dtype, *shape, 3), dtype=dtype)


def test_a_gradient_of_a_table_repeats_to_the_bit(gpu: Any) -> None:
    ids = gpu.asarray(np.random.default_rng(0).integers(0, 3, 500))
    dout = gpu.asarray(draw("float32", 500, 4))
    first, again = (gpu.asnumpy(F.embedding_backward(ids, dout, 3)) for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_dropout_keeps_the_same_entries_on_both_devices(gpu: Any, dtype: str, p: float) -> None:
    x, dout = draw(dtype, 3, 4, 7), draw(dtype, 3, 4, 7, seed=1)

    def run(x: Any, dout: Any) -> Any:
        dropout = fr.nn.Dropout(p, seed=5, site=2)
        out, saved = dropout.forward(x, step=3, row_offset=8)
        return out, dropout.backward(saved, dout), dropout(x)

    here, there = leaves(run(x, dout)), leaves(run(gpu.asarray(x), gpu.asarray(dout)))
    for one, other in zip(here, there, strict=True):
        assert one.tobytes() == gpu.asnumpy(other).tobytes()


@pytest.mark.parametrize("pool", ["LastPool", "MeanPool", "MaxPool"])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_pooling(gpu: Any, dtype: str, pool: str, lengths: Any) -> None:
    def run(x: Any, dout: Any) -> Any:
        layer = getattr(fr.nn, pool)()
        out, saved = layer.forward(x, lengths=lengths)
        return out, layer.backward(saved, dout)

    agree(gpu, run, draw(dtype, 4, 3, 5), draw(dtype, 3, 5, seed=1), dtype=dtype)


# ---- losses ----------------------------------------------------------------------------------------------------------


def weights_of(kind: str, dtype: str, *shape: int) -> np.ndarray | None:
    if kind == "none":
        return None
    drawn = np.random.default_rng(7).random(shape)
    return drawn < 0.6 if kind == "bool" else np.where(drawn < 0.3, 0, drawn).astype(dtype)


@pytest.mark.parametrize("weights", ["none", "bool", "float"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mean_squared_error", "binary_cross_entropy", "softmax_cross_entropy"])
def test_losses(gpu: Any, dtype: str, name: str, reduction: str, weights: str) -> None:
    x = draw(dtype, 4, 3, 5)
    shape = x.shape[:-1] if name == "softmax_cross_entropy" else x.shape
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, shape) if name == "softmax_cross_entropy" else rng.random(shape).astype(dtype)

    def run(x: Any, targets: Any, given: Any, dloss: Any) -> Any:
        forward, backward = getattr(F, f"{name}_forward"), getattr(F, f"{name}_backward")
        loss, saved = forward(x, targets, reduction=reduction, weights=given)
        again = 3.0 if reduction != "none" else dloss
        return loss, backward(saved, retain=True) if reduction != "none" else None, backward(saved, again)

    given = weights_of(weights, dtype, *(shape if reduction == "none" else x.shape[:-1]))
    agree(gpu, run, x, targets, given, draw(dtype, *shape, seed=2), dtype=dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", ["none", "bool"])
@pytest.mark.parametrize("rows", [(4, 3), (0,), (1,)])
def test_linear_cross_entropy(
    gpu: Any, dtype: str, rows: tuple[int, ...], weights: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fr.backends.cuda.CudaBackend, "logits_bytes", 200)  # several parts
    reduction = "mean" if rows != (0,) and weights == "none" else "sum"

    def run(x: Any, weight: Any, bias: Any, targets: Any, given: Any) -> Any:
        loss, saved = F.linear_cross_entropy_forward(
            x, weight, bias, targets, reduction=reduction, weights=given, scale=2.0, training=training
        )
        return loss, F.linear_cross_entropy_backward(saved, retain=True), F.linear_cross_entropy_backward(saved, 0.5)

    x, weight = draw(dtype, *rows, 5), draw(dtype, 150, 5, seed=1)
    targets = np.random.default_rng(2).integers(0, 150, rows).astype("int32")
    for bias in (draw(dtype, 150, seed=3), None):
        agree(gpu, run, x, weight, bias, targets, weights_of(weights, dtype, *rows), dtype=dtype)


def test_large_logits_do_not_overflow(gpu: Any) -> None:
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    agree(gpu, lambda x, y: F.softmax_cross_entropy_forward(x, y)[0], logits, np.array([1, 2]))
    agree(gpu, lambda x, y: F.binary_cross_entropy_forward(x, y)[0], logits, logits > 0)


def test_a_loss_without_weight_is_not_read(gpu: Any) -> None:
    x = np.array([[1.0, 2.0], [np.nan, np.inf]])
    weights = np.array([True, False])

    def run(x: Any, targets: Any, weights: Any) -> Any:
        loss, saved = F.softmax_cross_entropy_forward(x, targets, weights=weights)
        return loss, F.softmax_cross_entropy_backward(saved)

    agree(gpu, run, x, np.array([1, 99]), weights)


# ---- what does not fit -----------------------------------------------------------------------------------------------


def test_bad_ids_give_nan(gpu: Any) -> None:
    bad = gpu.asarray(np.array([1, -1, 3, 0]))
    out = gpu.asnumpy(F.embedding_forward(bad, gpu.asarray(draw("float32", 3, 2))))
    assert np.isnan(out).all(axis=1).tolist() == [False, True, True, False]
    x, weight = gpu.asarray(draw("float32", 4, 2)), gpu.asarray(draw("float32", 3, 2))
    loss, saved = F.softmax_cross_entropy_forward(gpu.asarray(draw("float32", 4, 3)), bad)
    assert np.isnan(float(loss))
    gradient = gpu.asnumpy(F.softmax_cross_entropy_backward(saved))
    assert np.isnan(gradient).any(axis=1).tolist() == [False, True, True, False]
    assert np.isnan(float(F.linear_cross_entropy_forward(x, weight, None, bad)[0]))
    y, _ = fr.RNN(3, 2, device="cuda", seed=0)(fr.OneHot(bad[:, None], 3))
    assert np.isnan(gpu.asnumpy(y)[1:]).all()


def test_targets_of_questions_are_looked_at_in_host_memory_alone(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = np.zeros(3), np.array([0.0, 2.0, 1.0])
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\], got 2.0 at position \(1,\)"):
        F.binary_cross_entropy_forward(logits, targets)
    if gpu.__version__ == "emulated":  # nothing is compared there
        monkeypatch.setattr(gpu.ndarray, "__le__", None)
    loss, _ = F.binary_cross_entropy_forward(gpu.asarray(logits), gpu.asarray(targets))
    assert float(loss) == pytest.approx(np.log(2))


def test_ids_are_looked_at_where_asked(gpu: Any) -> None:
    bad, table = gpu.asarray(np.array([1, 3])), gpu.asarray(np.zeros((3, 3)))
    message = r"must be in \[0, \w+\) = \[0, 3\), got 3 at"
    for call in (
        lambda: F.embedding_forward(bad, table, check=True),
        lambda: fr.nn.Embedding(3, 2, device="cuda")(bad, check=True),
        lambda: F.softmax_cross_entropy_forward(table[:2], bad, check=True),
        lambda: F.linear_cross_entropy_forward(table[:2], table, None, bad, check=True),
        lambda: fr.OneHot(bad, 3, check=True),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_arrays_of_two_devices_are_an_error_that_says_which_is_where(gpu: Any) -> None:
    here, there = np.zeros((3, 3)), gpu.asarray(np.zeros((3, 3)))
    ids = np.array([1, 2, 0])
    cupy_needed = r"must be a cupy array of \w+, got a \w+ array of shape \(.*\) in host memory; nothing is moved"
    numpy_needed = r"must be a numpy array of [\w ]+, got a \w+ array of shape \(.*\) on a GPU"
    for call, message in (
        (lambda: F.linear_forward(here, there), f"x {cupy_needed}"),
        (lambda: F.linear_forward(there, here), f"x {numpy_needed}"),
        (lambda: F.linear_forward(there, there, np.zeros(3)), f"bias {cupy_needed}"),
        (lambda: F.embedding_forward(ids, there), f"ids {cupy_needed}"),
        (lambda: F.embedding_forward(gpu.asarray(ids), here), f"ids {numpy_needed}"),
        (lambda: F.softmax_cross_entropy_forward(there, ids), f"targets {cupy_needed}"),
        (lambda: F.mean_squared_error_forward(there, here), f"targets {cupy_needed}"),
        (lambda: F.mean_squared_error_forward(here, there), f"targets {numpy_needed}"),
        (lambda: F.mean_squared_error_forward(there, there, weights=here), f"weights {cupy_needed}"),
        (lambda: F.binary_cross_entropy_forward(there, here > 0), f"targets {cupy_needed}"),
        (lambda: fr.nn.Linear(3, 2, dtype="float64", device="cuda")(here), f"x {cupy_needed}"),
        (lambda: fr.nn.Linear(3, 2, dtype="float64")(there), f"x {numpy_needed}"),
        (lambda: F.conv1d_forward(there[None], here[None]), f"x {numpy_needed}"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_shapes_and_dtypes_are_checked(gpu: Any) -> None:
    x, weight = gpu.asarray(draw("float64", 4, 3)), gpu.asarray(draw("float64", 2, 3))
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., K\) = \(\.\.\., 3\), got \(3, 4\)"):
        F.linear_forward(x.T, weight)
    with pytest.raises(TypeError, match="x must be a cupy array of float64, got float32; nothing is cast"):
        F.linear_forward(x.astype("float32"), weight)
    with pytest.raises(ValueError, match=r"targets must have shape \(\.\.\.\) = \(4,\), got \(3,\)"):
        F.softmax_cross_entropy_forward(x, gpu.asarray(np.array([0, 1, 2])))
    with pytest.raises(TypeError, match="targets must be a cupy array of integers"):
        F.softmax_cross_entropy_forward(x, gpu.asarray(np.zeros(4)))


@pytest.mark.parametrize("layer", ["linear", "embedding"])
def test_layers_start_from_the_values_of_the_cpu(gpu: Any, layer: str) -> None:
    def make(device: str) -> Any:
        if layer == "linear":
            return fr.nn.Linear(3, 4, seed=1, device=device)
        return fr.nn.Embedding(5, 4, seed=1, device=device)

    here, there = make("cpu"), make("cuda")
    assert there.device == "cuda"
    for name, value in here.state_dict().items():
        assert isinstance(there.state_dict()[name], gpu.ndarray)
        assert gpu.asnumpy(there.state_dict()[name]).tobytes() == value.tobytes()
    x = draw("float32", 2, 3) if layer == "linear" else np.array([[0, 4], [2, 2]])

    def run(layer: Any, x: Any, dout: Any) -> Any:
        out, saved = layer.forward(x)
        return out, layer.backward(saved, dout)

    dout = draw("float32", *x.shape[: 1 if layer == "linear" else 2], 4)
    expected = leaves(run(here, x, dout))
    for one, other in zip(expected, leaves(run(there, gpu.asarray(x), gpu.asarray(dout))), strict=True):
        if one is not None:
            np.testing.assert_allclose(gpu.asnumpy(other), one, rtol=1e-6, atol=1e-6)
