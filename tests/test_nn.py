"""Layers around the recurrent ones, and what a forward pass saves for its backward pass."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fusedrnn import functional, initializers, nn
from fusedrnn.module import Module
from fusedrnn.saved import Saved, expect

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(21)


# ---- saved -------------------------------------------------------------------------------------------------------


def test_saved_holds_any_fields_and_serves_once() -> None:
    saved = Saved(x=1, name="two", owner="three")
    assert vars(saved.read("f")) == {"x": 1, "name": "two", "owner": "three"}
    assert saved.take("f", True).x == 1
    assert saved.take("f", retain=False).name == "two"
    for again in (saved.read, lambda where: saved.take(where, False), lambda where: saved.take(where, True)):
        with pytest.raises(RuntimeError, match=r"^f: saved must be unused, .* retain=True$"):
            again("f")


def test_saved_lets_go_of_its_values() -> None:
    class Value:
        alive = True

        def __del__(self) -> None:
            Value.alive = False

    saved = Saved(value=Value())
    saved.take("f", retain=False)
    assert not Value.alive


def test_saved_of_another_owner_is_refused_and_not_used_up() -> None:
    owner = object()
    saved = Saved(owner, x=1)
    for wrong in (None, object()):
        with pytest.raises(ValueError, match="^f: saved must come from the forward of the same layer"):
            saved.take("f", False, wrong)
    assert saved.take("f", False, owner).x == 1


def test_expect_refuses_what_is_not_saved() -> None:
    saved = Saved()
    assert expect("f", saved) is saved
    with pytest.raises(TypeError, match="^f: saved must be what forward returned, got tuple$"):
        expect("f", (1, 2))


# ---- forward and backward ----------------------------------------------------------------------------------------


def test_linear_is_its_functions(generator: np.random.Generator) -> None:
    linear = nn.Linear(4, 5, seed=1, dtype="float64")
    x, dout = generator.standard_normal((3, 2, 4)), generator.standard_normal((3, 2, 5))
    weight, bias = linear.parameters()["weight"], linear.parameters()["bias"]
    out, saved = linear.forward(x)
    assert (out == functional.linear_forward(x, weight, bias)).all()
    assert (linear(x) == out).all()
    dx, grads = linear.backward(saved, dout)
    assert dx is not None
    want_dx, want_dweight, want_dbias = functional.linear_backward(x, weight, dout)
    assert (dx == want_dx).all()
    assert (grads["weight"] == want_dweight).all()
    assert (grads["bias"] == want_dbias).all()
    nothing, same = linear.backward(linear.forward(x)[1], dout, need_dx=False)
    assert nothing is None
    assert all((same[name] == grads[name]).all() for name in grads)


def test_linear_without_bias_equals_a_zero_bias(generator: np.random.Generator) -> None:
    x = generator.standard_normal((3, 4)).astype("float32")
    bare, zero = nn.Linear(4, 5, bias=False, seed=1), nn.Linear(4, 5, seed=1)
    with zero.writable() as p:
        p["bias"][:] = 0
    assert list(bare.parameters()) == ["weight"]
    assert (bare.parameters()["weight"] == zero.parameters()["weight"]).all()
    assert (bare(x) == zero(x)).all()
    _, grads = bare.backward(bare.forward(x)[1], np.ones((3, 5), "float32"))
    assert list(grads) == ["weight"]


def test_a_composed_model_against_differences(generator: np.random.Generator) -> None:
    """Embedding, dropout, linear, loss: the derivative along a random direction of all parameters at once."""
    embedding = nn.Embedding(6, 4, seed=1, dtype="float64")
    dropout, loss = nn.Dropout(0.3, seed=2), nn.SoftmaxCrossEntropy()
    linear = nn.Linear(4, 5, seed=3, dtype="float64")
    ids, targets = generator.integers(0, 6, (3, 2)), generator.integers(0, 5, (3, 2))
    layers = (embedding, linear)

    def forward() -> tuple[float, list[Saved]]:
        x, saved_embedding = embedding.forward(ids)
        x, saved_dropout = dropout.forward(x, step=4)
        x, saved_linear = linear.forward(x)
        value, saved_loss = loss.forward(x, targets)
        return value, [saved_embedding, saved_dropout, saved_linear, saved_loss]

    def move(directions: list[dict[str, np.ndarray]], by: float) -> None:
        for layer, direction in zip(layers, directions, strict=True):
            with layer.writable() as p:
                for name, value in p.items():
                    value += by * direction[name]

    _, (saved_embedding, saved_dropout, saved_linear, saved_loss) = forward()
    dx, linear_grads = linear.backward(saved_linear, loss.backward(saved_loss))
    dx, _ = dropout.backward(saved_dropout, dx)
    _, embedding_grads = embedding.backward(saved_embedding, dx)
    directions = [
        {name: generator.standard_normal(value.shape) for name, value in layer.parameters().items()} for layer in layers
    ]
    slope = sum(
        float((grads[name] * direction[name]).sum())
        for grads, direction in zip((embedding_grads, linear_grads), directions, strict=True)
        for name in grads
    )
    step = 1e-5
    move(directions, step)
    above, _ = forward()
    move(directions, -2 * step)
    below, _ = forward()
    assert (above - below) / (2 * step) == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_layers_against_torch(generator: np.random.Generator, bias: bool, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    embedding, linear = nn.Embedding(9, 6, seed=1, dtype=dtype), nn.Linear(6, 7, bias=bias, seed=2, dtype=dtype)
    twins = [
        torch.nn.Embedding(9, 6, dtype=getattr(torch, dtype)),
        torch.nn.Linear(6, 7, bias=bias, dtype=getattr(torch, dtype)),
    ]
    for layer, twin in zip((embedding, linear), twins, strict=True):
        twin.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    ids, targets = generator.integers(0, 9, (5, 3)), generator.integers(0, 7, (5, 3))

    expected = torch.nn.functional.cross_entropy(
        twins[1](twins[0](torch.tensor(ids))).reshape(15, 7), torch.tensor(targets).reshape(15)
    )
    expected.backward()

    loss = nn.SoftmaxCrossEntropy()
    x, saved_embedding = embedding.forward(ids)
    logits, saved_linear = linear.forward(x)
    value, saved_loss = loss.forward(logits, targets)
    dx, linear_grads = linear.backward(saved_linear, loss.backward(saved_loss))
    _, embedding_grads = embedding.backward(saved_embedding, dx)

    assert value == pytest.approx(expected.item(), rel=TOLERANCE[dtype])
    for twin, grads in zip(twins, (embedding_grads, linear_grads), strict=True):
        assert list(grads) == [name for name, _ in twin.named_parameters()]
        for name, tensor in twin.named_parameters():
            assert grads[name].dtype == np.dtype(dtype)
            np.testing.assert_allclose(grads[name], tensor.grad.numpy(), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("reduction", functional.REDUCTIONS)
def test_cross_entropy_is_its_functions(generator: np.random.Generator, reduction: functional.Reduction) -> None:
    logits, targets = generator.standard_normal((4, 3, 5)), generator.integers(0, 5, (4, 3))
    weights = generator.random((4, 3))
    dloss = generator.standard_normal((4, 3)) if reduction == "none" else 1.5
    loss = nn.SoftmaxCrossEntropy(reduction)
    value, saved = loss.forward(logits, targets, weights)
    want, want_saved = functional.softmax_cross_entropy_forward(logits, targets, reduction=reduction, weights=weights)
    assert (np.asarray(value) == want).all()
    assert (np.asarray(loss(logits, targets, weights)) == want).all()
    assert (loss.backward(saved, dloss) == functional.softmax_cross_entropy_backward(want_saved, dloss)).all()


def test_dropout_in_training_and_out_of_it(generator: np.random.Generator) -> None:
    x, dout = generator.standard_normal((3, 4, 5)), generator.standard_normal((3, 4, 5))
    dropout = nn.Dropout(0.4, seed=9, site=3)
    out, saved = dropout.forward(x, step=6, row_offset=2)
    coordinates = {"seed": 9, "site": 3, "step": 6, "row_offset": 2}
    assert (out == functional.dropout_forward(x, 0.4, **coordinates)).all()
    din, grads = dropout.backward(saved, dout)
    assert (din == functional.dropout_backward(dout, 0.4, **coordinates)).all()
    assert grads == {}

    out, saved = dropout.forward(x, training=False)
    assert (out == x).all()
    assert (dropout.backward(saved, dout)[0] == dout).all()
    assert (dropout(x) == x).all()
    assert not np.shares_memory(dropout(x), x)
    assert dropout(x.T).flags.c_contiguous


def each_layer() -> dict[str, tuple[Module, Callable[[], Any], Callable[..., Any]]]:
    """Name to a layer, a call of its forward, and its backward with everything but `saved` and `retain` given."""
    linear, embedding = nn.Linear(3, 2, seed=1), nn.Embedding(4, 2, seed=1)
    dropout, loss = nn.Dropout(0.5, seed=1), nn.SoftmaxCrossEntropy()
    x, dout = np.ones((2, 2, 3), "float32"), np.ones((2, 2, 2), "float32")
    ids = np.array([[1, 0], [1, 1]])
    conv, nce = nn.Conv1d(3, 2, 1, seed=1), nn.NCE(5, 3, num_sampled=2, seed=1)
    pools = {"MeanPool": nn.MeanPool(), "MaxPool": nn.MaxPool(), "LastPool": nn.LastPool()}
    losses = {"MeanSquaredError": nn.MeanSquaredError(), "BinaryCrossEntropy": nn.BinaryCrossEntropy()}
    return {
        "Linear": (linear, lambda: linear.forward(x), lambda s, **o: linear.backward(s, dout, **o)),
        "Embedding": (embedding, lambda: embedding.forward(ids), lambda s, **o: embedding.backward(s, dout, **o)),
        "Dropout": (dropout, lambda: dropout.forward(x), lambda s, **o: dropout.backward(s, x, **o)),
        "SoftmaxCrossEntropy": (loss, lambda: loss.forward(x, ids), lambda s, **o: loss.backward(s, 1.0, **o)),
        "Conv1d": (conv, lambda: conv.forward(x), lambda s, **o: conv.backward(s, dout, **o)),
        "NCE": (nce, lambda: nce.forward(x, ids), lambda s, **o: nce.backward(s, **o)),
        **{
            name: (pool, lambda pool=pool: pool.forward(x), lambda s, pool=pool, **o: pool.backward(s, x[0], **o))
            for name, pool in pools.items()
        },
        **{
            name: (one, lambda one=one: one.forward(x, x), lambda s, one=one, **o: one.backward(s, **o))
            for name, one in losses.items()
        },
    }


LAYERS = tuple(each_layer())
OWN_NOTHING = ("SoftmaxCrossEntropy", "MeanPool", "MaxPool", "LastPool", "MeanSquaredError", "BinaryCrossEntropy")


def leaves(value: Any) -> list[np.ndarray]:
    """The arrays in what a backward returned."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        return list(value.values())
    return [] if value is None else [leaf for part in value for leaf in leaves(part)]


@pytest.mark.parametrize("name", LAYERS)
def test_saved_serves_one_backward_unless_retained(name: str) -> None:
    _, forward, backward = each_layer()[name]
    _, saved = forward()
    with pytest.raises(TypeError, match=f"^{name}.backward: retain must be True or False, got 1$"):
        backward(saved, retain=1)
    results = [leaves(backward(saved, retain=True)), leaves(backward(saved, retain=True)), leaves(backward(saved))]
    for first, second, third in zip(*results, strict=True):
        assert (first == second).all()
        assert (first == third).all()
        assert not np.shares_memory(first, second)
    with pytest.raises(RuntimeError, match=f"^{name}.backward: saved must be unused"):
        backward(saved)


@pytest.mark.parametrize("name", LAYERS)
def test_saved_of_another_layer_is_refused(name: str) -> None:
    _, _, backward = each_layer()[name]
    for other in LAYERS:
        if other != name or name not in OWN_NOTHING:  # those serve for another of their kind
            _, forward, _ = each_layer()[other]
            with pytest.raises(ValueError, match=f"^{name}.backward: saved must come from the forward of the same"):
                backward(forward()[1])
    with pytest.raises(TypeError, match=f"^{name}.backward: saved must be what forward returned, got NoneType$"):
        backward(None)


@pytest.mark.parametrize("name", ["Linear", "Embedding", "Dropout", "Conv1d", "MeanPool", "MaxPool", "LastPool"])
def test_an_error_in_backward_uses_nothing_up(name: str) -> None:
    layer, forward, backward = each_layer()[name]
    _, saved = forward()
    with pytest.raises(ValueError, match=f"^{name}.backward: dout must have shape"):
        layer.backward(saved, np.ones((7, 2), "float32"))  # type: ignore[attr-defined]
    backward(saved)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_can_be_copied_and_pickled(name: str) -> None:
    layer, _, _ = each_layer()[name]
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert list(twin.parameters()) == list(layer.parameters())
        for key, value in layer.parameters().items():
            assert (twin.parameters()[key] == value).all()
            assert not np.shares_memory(twin.parameters()[key], value)
            assert not twin.parameters()[key].flags.writeable


# ---- construction ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.float64, np.dtype("float32")])
def test_dtype_of_parameters(dtype: Any) -> None:
    nce = nn.NCE(3, 2, num_sampled=1, dtype=dtype, seed=0)
    for layer in (nn.Linear(3, 2, dtype=dtype), nn.Embedding(3, 2, dtype=dtype), nn.Conv1d(3, 2, 4, dtype=dtype), nce):
        assert layer.dtype == np.dtype(dtype)
        assert all(value.dtype == np.dtype(dtype) for value in layer.parameters().values())
        assert all(value.flags.c_contiguous for value in layer.parameters().values())


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.Linear(50, 40, **o),
        lambda **o: nn.Embedding(50, 40, **o),
        lambda **o: nn.Conv1d(50, 8, 5, **o),
    ],
)
def test_seeds_decide_initial_values(make: Callable[..., Module]) -> None:
    first, same, other = (make(seed=seed).parameters() for seed in (5, 5, 6))
    drawn = [make(seed=None).parameters() for _ in range(2)]
    for name, value in first.items():
        assert (value == same[name]).all()
        assert (value != other[name]).any()
        assert (drawn[0][name] != drawn[1][name]).any()
    wide = make(seed=5, dtype="float64").parameters()
    assert all((wide[name].astype("float32") == value).all() for name, value in first.items())


def test_initial_values_of_the_named_schemes() -> None:
    linear = nn.Linear(100, 300, seed=1).parameters()
    for value in linear.values():
        assert 0.095 < np.abs(value).max() <= 0.1
    linear = nn.Linear(100, 300, init="keras", seed=1).parameters()
    assert not linear["bias"].any()
    assert 0.99 * math.sqrt(6 / 400) < np.abs(linear["weight"]).max() <= math.sqrt(6 / 400)
    embedding = nn.Embedding(300, 200, seed=1).parameters()["weight"]
    assert abs(embedding.mean()) < 0.02
    assert abs(embedding.std() - 1) < 0.02
    embedding = nn.Embedding(300, 200, init="keras", seed=1).parameters()["weight"]
    assert 0.0495 < np.abs(embedding).max() <= 0.05


def test_initializers_see_own_names_and_shapes_in_order() -> None:
    seen = []

    def init(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        seen.append((name, shape))
        return np.full(shape, len(seen))

    linear, embedding = nn.Linear(3, 2, init=init), nn.Embedding(5, 4, init=init)
    assert seen == [("weight", (2, 3)), ("bias", (2,)), ("weight", (5, 4))]
    assert linear.parameters()["bias"].tolist() == [2.0, 2.0]
    assert (embedding.parameters()["weight"] == 3).all()


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.Linear(0, 2), ValueError, "Linear: in_features must be >= 1, got 0"),
    (lambda: nn.Linear(2, -1), ValueError, "Linear: out_features must be >= 1, got -1"),
    (lambda: nn.Linear(2.0, 1), TypeError, "Linear: in_features must be an integer, got 2.0"),
    (lambda: nn.Linear(2, 1, bias=None), TypeError, "Linear: bias must be True or False, got None"),
    (lambda: nn.Embedding(0, 2), ValueError, "Embedding: num_embeddings must be >= 1, got 0"),
    (lambda: nn.Embedding(2, 0), ValueError, "Embedding: embedding_dim must be >= 1, got 0"),
    (
        lambda: nn.Linear(2, 1, dtype="float16"),
        ValueError,
        "Linear: dtype must be 'float32' or 'float64', got 'float16'",
    ),
    (lambda: nn.Linear(2, 1, dtype=None), ValueError, "dtype must be 'float32' or 'float64', got None"),
    (lambda: nn.Linear(2, 1, dtype=">f4"), ValueError, "dtype must be 'float32' or 'float64', got '>f4'"),
    (lambda: nn.Linear(2, 1, dtype="wide"), ValueError, "dtype must be 'float32' or 'float64', got 'wide'"),
    (lambda: nn.Conv1d(2, 1, 3, device="tpu"), ValueError, "Conv1d: device must be one of 'cpu', 'cuda', got 'tpu'"),
    (lambda: nn.Embedding(2, 1, device="tpu"), ValueError, "device must be one of 'cpu', 'cuda', got 'tpu'"),
    (
        lambda: nn.Linear(2, 1, init="xavier"),
        ValueError,
        "Linear: init must be 'torch' or 'keras' or a callable, got 'xavier'",
    ),
    (lambda: nn.Embedding(2, 1, init=0.1), TypeError, "Embedding: init must be a callable (name, shape, generator)"),
    (
        lambda: nn.Linear(2, 1, init=lambda name, shape, generator: np.zeros((3, 3))),
        ValueError,
        "Linear: init must return shape (1, 2) for weight, got (3, 3)",
    ),
    (lambda: nn.Linear(2, 1, seed=-1), ValueError, "seed must be in [0, 18446744073709551615], got -1"),
    (lambda: nn.Dropout(-0.1, seed=1), ValueError, "Dropout: p must be in [0.0, 1.0], got -0.1"),
    (lambda: nn.Dropout(0.1, seed=None), TypeError, "Dropout: seed must be an integer, got None"),
    (lambda: nn.Dropout(0.1, seed=1, site=256), ValueError, "Dropout: site must be in [0, 255], got 256"),
    (lambda: nn.SoftmaxCrossEntropy("max"), ValueError, "SoftmaxCrossEntropy: reduction must be one of 'mean'"),
    (
        lambda: nn.Linear(3, 2).forward(np.ones((5, 4), "f4")),
        ValueError,
        "Linear.forward: x must have shape (..., K) = (..., 3), got (5, 4)",
    ),
    (
        lambda: nn.Linear(3, 2)(np.ones((5, 3))),
        TypeError,
        "Linear: x must be a numpy array of float32, got float64; nothing is cast",
    ),
    (
        lambda: nn.Embedding(4, 2).forward(np.array([[0], [4]])),
        ValueError,
        "Embedding.forward: ids must be in [0, V) = [0, 4), got 4 at position (1, 0)",
    ),
    (lambda: nn.Embedding(4, 2)([1]), TypeError, "Embedding: ids must be a numpy array of integers, got [1]"),
    (
        lambda: nn.Dropout(0.5, seed=1).forward(np.ones((2, 3))),
        ValueError,
        "Dropout.forward: x must have shape (T, B, C), got (2, 3)",
    ),
    (
        lambda: nn.Dropout(0.5, seed=1).forward(np.ones((1, 2, 3)), training=0),
        TypeError,
        "Dropout.forward: training must be True or False, got 0",
    ),
    (
        lambda: nn.Dropout(0.5, seed=1).forward(np.ones((1, 2, 3)), step=2**32),
        ValueError,
        "Dropout.forward: step must be in [0, 4294967295], got 4294967296",
    ),
    (
        lambda: nn.SoftmaxCrossEntropy().forward(np.ones((2, 3)), np.array([0, 3])),
        ValueError,
        "SoftmaxCrossEntropy.forward: targets must be in [0, V) = [0, 3), got 3 at position (1,)",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_backward_checks_dtype_and_shape() -> None:
    embedding, dropout = nn.Embedding(4, 2), nn.Dropout(0.5, seed=1)
    _, saved = embedding.forward(np.array([0, 1]))
    with pytest.raises(TypeError, match="^Embedding.backward: dout must be a numpy array of float32, got float64"):
        embedding.backward(saved, np.ones((2, 2)))
    _, saved = dropout.forward(np.ones((1, 2, 3), "float32"))
    with pytest.raises(TypeError, match="^Dropout.backward: dout must be a numpy array of float32, got float64"):
        dropout.backward(saved, np.ones((1, 2, 3)))


def test_a_layer_takes_any_initializer() -> None:
    init = initializers.by_name({"bias": initializers.zeros()}, initializers.normal(0.0, mean=2.0))
    linear = nn.Linear(3, 2, init=init)
    assert linear(np.ones((1, 3), "float32")).tolist() == [[6.0, 6.0]]
