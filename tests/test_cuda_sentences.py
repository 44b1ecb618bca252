"""Convolution, NCE and the classifiers of sentences on a GPU, or on the emulated one, against the CPU.

Sums and products are made in another order there, so that floats agree within the limits of `test_cuda_training`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_cuda_training import LIMITS, REDUCTIONS, agree, draw, leaves, weights_of

import fusedrnn as fr
from fusedrnn.examples import rcnn, textrnn
from fusedrnn.examples.sentences import Rows
from fusedrnn.train.batches import moved

F = fr.functional
pytestmark = pytest.mark.gpu

DTYPES = list(LIMITS)
V, T, B = 30, 6, 5
LENGTHS = np.array([6, 1, 3, 2, 5])  # shorter than some kernels too


@contextmanager
def nothing_waits(gpu: Any) -> Iterator[None]:
    """Whatever makes the host wait for the device, or looks at a value there, fails in this block."""
    if gpu.__version__ != "emulated":
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it may not see all of it
            quiet = cupyx.allow_synchronize(False)
            with quiet:
                yield
        return

    def refuse(*_: Any) -> None:
        raise RuntimeError("something waits for the device")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get", "__int__", "__float__", "__bool__"):
            patch.setattr(gpu.ndarray, name, refuse)
        yield


def test_what_waits_is_noticed(gpu: Any) -> None:
    x = gpu.asarray(draw("float64", 4))
    mask = x > 0
    with nothing_waits(gpu):
        for wait in (lambda: x[mask], lambda: float(x.sum()), lambda: bool(mask.any()), x.get, lambda: gpu.asnumpy(x)):
            with pytest.raises(RuntimeError):
                wait()
    assert x.get().shape == (4,)


# ---- convolution -----------------------------------------------------------------------------------------------------


def convolve(padding: Any, lengths: Any, need_dx: bool = True) -> Any:
    def run(x: Any, weight: Any, bias: Any, dout: Any) -> Any:
        out, saved = F.conv1d_forward(x, weight, bias, lengths, padding=padding)
        return out, F.conv1d_backward(saved, dout[: len(out)], need_dx=need_dx)

    return run


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolution(gpu: Any, padding: str, kernel_size: int, lengths: Any, bias: bool, dtype: str) -> None:
    weight, given = draw(dtype, 7, 5, kernel_size, seed=1), draw(dtype, 7, seed=2) if bias else None
    arrays = draw(dtype, 4, 3, 5), weight, given, draw(dtype, 4, 3, 7, seed=3)
    agree(gpu, convolve(padding, lengths), *arrays, dtype=dtype)
    agree(gpu, convolve(padding, lengths, need_dx=False), *arrays, dtype=dtype)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (1, 1), (0, 0)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolution_of_nothing(gpu: Any, padding: str, shape: tuple[int, int]) -> None:
    arrays = draw("float64", *shape, 5), draw("float64", 7, 5, 2), draw("float64", 7), draw("float64", *shape, 7)
    agree(gpu, convolve(padding, None), *arrays)


def test_convolution_does_not_read_what_lies_beyond_a_row(gpu: Any) -> None:
    x, lengths = draw("float64", 4, 2, 3), [4, 2]
    x[2:, 1] = np.nan
    for padding in ("valid", "same"):
        agree(gpu, convolve(padding, lengths), x, draw("float64", 2, 3, 2), None, draw("float64", 4, 2, 2))
        out, _ = F.conv1d_forward(gpu.asarray(x), gpu.asarray(draw("float64", 2, 3, 2)), None, lengths, padding=padding)
        assert np.isfinite(gpu.asnumpy(out)).all()


def test_convolution_takes_any_strides(gpu: Any) -> None:
    def run(x: Any, weight: Any, dout: Any) -> Any:
        out, saved = F.conv1d_forward(x.swapaxes(0, 1)[::2], weight.T[:, ::2], padding="same")
        return out, F.conv1d_backward(saved, dout.swapaxes(0, 1))

    agree(gpu, run, draw("float64", 2, 8, 3), draw("float64", 2, 6, 4), draw("float64", 2, 4, 4))


# ---- NCE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", ["none", "bool", "float"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("unique", "remove"), [(True, False), (True, True), (False, True)])
def test_nce(gpu: Any, dtype: str, reduction: Any, weights: str, unique: bool, remove: bool) -> None:
    x, targets = draw(dtype, 4, 3, 5), np.random.default_rng(1).integers(0, 9, (4, 3)).astype("int32")
    given = weights_of(weights, dtype, 4, 3)
    if given is not None:  # neither is read
        x[given == 0], targets[given == 0] = np.nan, 99

    def run(x: Any, weight: Any, bias: Any, targets: Any, given: Any, dloss: Any) -> Any:
        options: dict[str, Any] = {"num_sampled": 6, "seed": 2, "step": 4, "unique": unique}
        options |= {"remove_accidental_hits": remove, "reduction": reduction, "weights": given}
        loss, saved = F.nce_forward(x, weight, bias, targets, **options)
        return loss, F.nce_backward(saved, 3.0 if reduction != "none" else dloss)

    parameters = draw(dtype, 9, 5, seed=3), draw(dtype, 9, seed=4)
    agree(gpu, run, x, *parameters, targets, given, draw(dtype, 4, 3, seed=5), dtype=dtype)


@pytest.mark.parametrize(("size", "unique"), [(9, True), (9, False), (1, True)])
def test_expected_counts(gpu: Any, size: int, unique: bool) -> None:
    agree(gpu, lambda ids: F.log_uniform_expected_counts(ids, 5, size, unique=unique), np.arange(size))


def test_a_bad_class_makes_the_loss_nan_or_is_an_error_where_asked(gpu: Any) -> None:
    arrays = [gpu.asarray(value) for value in (draw("float64", 3, 2), draw("float64", 9, 2), draw("float64", 9))]
    targets = gpu.asarray(np.array([1, 9, 0]))
    assert np.isnan(float(F.nce_forward(*arrays, targets, num_sampled=3, seed=1)[0]))
    with pytest.raises(ValueError, match=r"targets must be in \[0, V\) = \[0, 9\), got 9 at position \(1,\)"):
        F.nce_forward(*arrays, targets, num_sampled=3, seed=1, check=True)


# ---- layers and the model --------------------------------------------------------------------------------------------

LAYERS: dict[str, Any] = {
    "Conv1d": lambda device: fr.nn.Conv1d(5, 7, 3, seed=1, device=device),
    "NCE": lambda device: fr.nn.NCE(9, 5, num_sampled=4, seed=1, device=device),
    "RCNN": lambda device: model(device, dtype="float32"),
}


def model(device: str, **more: Any) -> fr.models.RCNN:
    settings: dict[str, Any] = {"embed_size": 4, "hidden_size": 3, "filters": 2, "dropout": 0.3, "dtype": "float64"}
    return fr.models.RCNN(V, 2, **(settings | more), seed=1, device=device)


def on(device: str, gpu: Any, *arrays: np.ndarray) -> list[Any]:
    return [gpu.asarray(value) if device == "cuda" else value for value in arrays]


def ids_and_gradient() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, V, (T, B)), draw("float64", B, 2)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_start_from_the_values_of_the_cpu(gpu: Any, name: str) -> None:
    here, there = LAYERS[name]("cpu"), LAYERS[name]("cuda")
    assert (here.device, there.device) == ("cpu", "cuda")
    for key, value in here.state_dict().items():
        assert isinstance(there.state_dict()[key], gpu.ndarray)
        assert gpu.asnumpy(there.state_dict()[key]).tobytes() == value.tobytes()


def step_of(name: str, device: str, gpu: Any) -> Any:
    """Output and gradients of a layer."""
    layer = LAYERS[name](device)
    if name == "RCNN":
        ids, dout = on(device, gpu, ids_and_gradient()[0], draw("float32", B, 2))
        out, saved = layer.forward(ids, lengths=LENGTHS, step=3)
        return out, layer.backward(saved, dout)
    if name == "NCE":
        x, targets = on(device, gpu, draw("float32", 6, 5), np.arange(6))
        loss, saved = layer.forward(x, targets, step=2)
        return loss, layer.backward(saved, 2.0), layer.logits(x)
    x, dout = on(device, gpu, draw("float32", T, B, 5), draw("float32", T - 2, B, 7))
    out, saved = layer.forward(x, lengths=LENGTHS)
    return out, layer.backward(saved, dout), layer(x)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_what_the_cpu_gives_and_do_not_wait(gpu: Any, name: str) -> None:
    expected = leaves(step_of(name, "cpu", gpu))
    with nothing_waits(gpu):
        found, again = (leaves(step_of(name, "cuda", gpu)) for _ in range(2))
    for one, other, third in zip(expected, found, again, strict=True):
        assert isinstance(other, gpu.ndarray)
        assert gpu.asnumpy(other).tobytes() == gpu.asnumpy(third).tobytes()
        np.testing.assert_allclose(gpu.asnumpy(other), one, rtol=LIMITS["float32"], atol=LIMITS["float32"])


@pytest.mark.parametrize("more", [{}, {"one_bias": True, "kernel_sizes": (8, 2)}], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS.tolist(), None], ids=["array", "list", "none"])
def test_a_model_learns_as_on_the_cpu(gpu: Any, lengths: Any, more: dict[str, Any]) -> None:
    found = []
    for device in ("cpu", "cuda"):
        made = model(device, **more)
        ids, dout = on(device, gpu, *ids_and_gradient())
        optimizer = fr.optim.Adam(made, 0.02, groups=[fr.optim.Group(made.frozen, frozen=True)] if made.frozen else ())
        for step in range(3):
            out, saved = made.forward(ids, lengths=lengths, step=step)
            optimizer.step(made.backward(saved, dout))
        values = [out, made(ids, lengths=lengths), *made.state_dict().values()]
        found.append([gpu.asnumpy(value) if device == "cuda" else value for value in values])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


def test_arrays_of_two_devices_are_an_error(gpu: Any) -> None:
    here, there = np.zeros((3, 3)), gpu.asarray(np.zeros((3, 3)))
    ids = np.array([1, 2, 0])
    layer = fr.nn.Conv1d(3, 3, 1, dtype="float64", device="cuda")
    for call, name in (
        (lambda: F.conv1d_forward(here[None], there[:, :, None]), "x"),
        (lambda: F.conv1d_forward(there[None], there[:, :, None], np.zeros(3)), "bias"),
        (lambda: layer.backward(layer.forward(there[None])[1], here[None]), "dout"),
        (lambda: F.nce_forward(here, there, there[0], gpu.asarray(ids), num_sampled=2, seed=1), "x"),
        (lambda: F.nce_forward(there, there, here[0], gpu.asarray(ids), num_sampled=2, seed=1), "bias"),
        (lambda: F.nce_forward(there, there, there[0], ids, num_sampled=2, seed=1), "targets"),
        (lambda: model("cuda")(np.zeros((2, 2), int)), "ids"),
    ):
        with pytest.raises(TypeError, match=rf"{name} must be a cupy array of \w+, got .* in host memory; nothing is"):
            call()
    with pytest.raises(TypeError, match=r"lengths must be a list or an array of integers, got .* on a GPU"):
        layer(there[None], lengths=gpu.asarray(np.array([1, 1, 1])))


# ---- steps of the systems --------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"embed": 4, "hidden": 3, "l2": 1e-2, "rate": 0.02}
CLASSIFIERS: dict[str, Any] = {
    "textrnn last": (textrnn, textrnn.Settings(**SMALL), 3),
    "textrnn final nce": (textrnn, textrnn.Settings(**SMALL, pool="final", loss="nce"), 3),
    "textrnn mean": (textrnn, textrnn.Settings(**SMALL, pool="mean"), 3),
    "textrnn max nce": (textrnn, textrnn.Settings(**SMALL, pool="max", loss="nce", samples=2), 3),
    "rcnn": (rcnn, rcnn.Settings(**SMALL, filters=2), 2),
    "rcnn softmax": (rcnn, rcnn.Settings(**SMALL, filters=2, activation="softmax"), 2),
    "rcnn sigmoid": (rcnn, rcnn.Settings(**SMALL, filters=2, activation="sigmoid"), 3),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_of_a_system_is_the_cpus_and_waits_for_nothing(gpu: Any, name: str) -> None:
    system, settings, labels = CLASSIFIERS[name]
    rng = np.random.default_rng(1)
    rows = Rows(rng.integers(0, V, (B, T)).astype(np.int32), LENGTHS, rng.integers(0, labels, B))

    def train(device: str) -> tuple[list[Any], dict[str, Any]]:
        classifier = system.build(settings, V, labels, 3, device)
        optimizer, values = classifier.optimizer(settings), []
        for number in range(3):
            step = classifier.compute(moved(rows, fr.backends.of_device("test", device)), settings.l2, number)
            values += [step.loss, fr.optim.clip_by_global_norm(step.grads, 0.5)]
            optimizer.step(step.grads)
        return values, classifier.model.state_dict()

    expected = train("cpu")
    with nothing_waits(gpu):
        found, again = train("cuda"), train("cuda")
    assert [float(value) for value in found[0]] == [float(value) for value in again[0]]
    np.testing.assert_allclose([float(value) for value in found[0]], expected[0], rtol=1e-4)
    for key, value in expected[1].items():
        assert gpu.asnumpy(found[1][key]).tobytes() == gpu.asnumpy(again[1][key]).tobytes()
        np.testing.assert_allclose(gpu.asnumpy(found[1][key]), value, rtol=1e-3, atol=1e-4)


def test_lengths_of_a_batch_stay_in_host_memory(gpu: Any) -> None:
    rows = Rows(np.zeros((B, T), np.int32), LENGTHS, np.zeros(B, np.int64))
    for batch in (rows, SimpleNamespace(**rows._asdict(), row_offset=0)):
        there = moved(batch, fr.backends.of_device("test", "cuda"))
        assert isinstance(there.ids, gpu.ndarray)
        assert isinstance(there.labels, gpu.ndarray)
        assert there.lengths is LENGTHS
