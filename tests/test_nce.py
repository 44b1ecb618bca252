"""Noise contrastive estimation: its sampler against what it is expected to draw, its loss against the formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numeric import DIFFERENCE_TOLERANCE, TOLERANCE, assert_close, differences

from fusedrnn import functional as F
from fusedrnn import initializers, nn, random
from fusedrnn.data import vocabulary

DTYPES = ("float32", "float64")


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(33)


# ---- the sampler -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 10**6])
def test_probabilities_are_log_uniform(size: int) -> None:
    classes = np.arange(size)
    p = F.log_uniform_expected_counts(classes, 1, size, unique=False)
    np.testing.assert_allclose(p, (np.log(classes + 2) - np.log(classes + 1)) / np.log(size + 1), rtol=0, atol=1e-15)
    assert p.sum() == pytest.approx(1, rel=1e-12)
    # In one draw, a class comes as often whether it may come again or not.
    np.testing.assert_allclose(F.log_uniform_expected_counts(classes, 1, size), p, rtol=1e-12)


@pytest.mark.parametrize(("tries", "size"), [(1, 5), (7, 5), (40, 1000)])
def test_expected_counts_are_the_formulas(tries: int, size: int) -> None:
    classes = np.arange(size)
    p = np.log((classes + 2) / (classes + 1)) / np.log(size + 1)
    np.testing.assert_allclose(F.log_uniform_expected_counts(classes, tries, size, unique=False), tries * p, rtol=1e-12)
    np.testing.assert_allclose(F.log_uniform_expected_counts(classes, tries, size), 1 - (1 - p) ** tries, rtol=1e-11)


def counted(size: int, num_sampled: int, unique: bool, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean counts of the classes among the candidates of many steps, and the mean of what was expected."""
    found, expected = np.zeros(size), np.zeros(size)
    for step in range(steps):
        ids, tries = F.log_uniform_sample(num_sampled, size, unique=unique, seed=4, step=step)
        found += np.bincount(ids, minlength=size)
        expected += F.log_uniform_expected_counts(np.arange(size), tries, size, unique=unique)
    return found / steps, expected / steps


def test_counts_with_replacement_agree_with_what_is_expected() -> None:
    steps, num_sampled = 2000, 30
    found, expected = counted(50, num_sampled, False, steps)
    # The number of draws of a class is binomial; 4.5 standard deviations, for 50 classes at once.
    deviation = np.sqrt(expected * (1 - expected / num_sampled) / steps)
    assert (np.abs(found - expected) < 4.5 * deviation).all()


@pytest.mark.parametrize(("size", "num_sampled"), [(200, 8), (200, 40), (1000, 100)])
def test_counts_of_unique_candidates_agree_with_what_is_expected(size: int, num_sampled: int) -> None:
    steps = 2000
    found, expected = counted(size, num_sampled, True, steps)
    assert found.sum() == pytest.approx(num_sampled, rel=1e-12)
    # The formula takes the number of tries as given. It is not, which shifts the expectation by little.
    deviation = np.sqrt(expected * (1 - expected) / steps)
    assert (np.abs(found - expected) < 4.5 * deviation + 0.02 * expected).all()
    assert expected.sum() == pytest.approx(num_sampled, rel=0.01)


@pytest.mark.parametrize(("num_sampled", "size"), [(1, 1), (1, 9), (9, 9), (64, 64), (50, 10**6), (999, 1000)])
def test_unique_candidates_differ_and_tries_are_counted(num_sampled: int, size: int) -> None:
    at = {"seed": 2**64 - 1, "site": 255, "step": 2**32 - 1}
    ids, tries = F.log_uniform_sample(num_sampled, size, **at)
    assert ids.dtype == np.intp
    assert ids.shape == (num_sampled,)
    assert len(np.unique(ids)) == num_sampled
    assert 0 <= ids.min() <= ids.max() < size
    # They are the draws with replacement without what came before; the last try brought the last candidate.
    draws, _ = F.log_uniform_sample(tries, size, unique=False, **at)
    assert list(dict.fromkeys(draws.tolist())) == ids.tolist()
    assert ids[-1] not in draws[:-1]


@pytest.mark.parametrize("unique", [True, False])
def test_candidates_are_a_function_of_their_coordinates(unique: bool) -> None:
    def draw(**at: int) -> list[int]:
        return F.log_uniform_sample(20, 10**6, unique=unique, **({"seed": 1, "site": 2, "step": 3} | at))[0].tolist()

    first = draw()
    for other in (draw(seed=2), draw(seed=1 + 2**32), draw(site=3), draw(step=4)):
        assert len(set(first) & set(other)) < 20
    assert draw() == first


def test_draws_are_made_of_the_words_of_row_zero() -> None:
    """The words of the mask's columns 2·i and 2·i + 1, as `fusedrnn.random` lays them out."""
    seed, site, step, size = 5 + (7 << 32), 3, 11, 5000
    counter = np.zeros((6, 4), np.uint64)
    counter[:, 0] = (site << 24) + np.arange(6)
    counter[:, 3] = step
    words = random.philox4x32(counter, (5, 7)).reshape(-1, 2).tolist()
    u = [((high >> 5) * 2**26 + (low >> 6)) / 2**53 for high, low in words]
    expected = [int((size + 1) ** value) - 1 for value in u]
    for count in (1, 2, 11, 12):
        ids, _ = F.log_uniform_sample(count, size, unique=False, seed=seed, site=site, step=step)
        assert ids.tolist() == expected[:count]


# ---- the loss ----------------------------------------------------------------------------------------------------

V, D = 30, 4
OPTIONS: dict[str, Any] = {"num_sampled": 6, "seed": 2, "step": 9}


def draw(generator: np.random.Generator, front: tuple[int, ...] = (3, 2), dtype: str = "float64") -> list[np.ndarray]:
    """x, weight, bias, targets; small classes, so that some of them are candidates."""
    arrays = [generator.standard_normal(shape).astype(dtype) for shape in ((*front, D), (V, D), (V,))]
    return [*arrays, np.array(generator.integers(0, 5, front))]


def plain(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, targets: np.ndarray, *, remove: bool, unique: bool
) -> np.ndarray:
    """Losses by equations (1) to (3), one question at a time, in float64."""
    ids, tries = F.log_uniform_sample(6, V, unique=unique, seed=2, step=9)
    log_q = np.log(F.log_uniform_expected_counts(np.arange(V), tries, V, unique=unique))
    losses = np.zeros(targets.shape)
    for at in np.ndindex(targets.shape):
        logits = weight.astype("f8") @ x[at].astype("f8") + bias - log_q
        losses[at] = np.log(1 + np.exp(-logits[targets[at]]))
        for candidate in ids:
            if not (remove and candidate == targets[at]):
                losses[at] += np.log(1 + np.exp(logits[candidate]))
    return losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("front", [(), (1,), (3, 2), (70,)], ids=str)
def test_forward_is_the_formula(
    generator: np.random.Generator, front: tuple[int, ...], unique: bool, remove: bool, dtype: str
) -> None:
    arrays = draw(generator, front, dtype)
    expected = plain(*arrays, remove=remove, unique=unique)
    options = OPTIONS | {"unique": unique, "remove_accidental_hits": remove}
    assert_close(F.nce_forward(*arrays, reduction="none", **options)[0], expected, dtype)
    mean, total = (F.nce_forward(*arrays, reduction=reduction, **options)[0] for reduction in ("mean", "sum"))
    assert type(mean) is type(total) is float
    assert total == pytest.approx(expected.sum(), rel=TOLERANCE[dtype])
    assert mean == pytest.approx(expected.mean(), rel=TOLERANCE[dtype])


def test_some_targets_are_accidental_hits(generator: np.random.Generator) -> None:
    *_, targets = draw(generator)
    ids, _ = F.log_uniform_sample(6, V, seed=2, step=9)
    assert 0 < np.isin(targets, ids).sum() < targets.size


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("reduction", F.REDUCTIONS)
def test_backward_against_differences(
    generator: np.random.Generator, reduction: F.Reduction, unique: bool, remove: bool, weighted: bool
) -> None:
    x, weight, bias, targets = draw(generator)
    x *= 0.5  # losses near 1, as the tolerance of differences is absolute
    weights = np.array([[0.5, 0.0], [2.0, 1.0], [0.0, 0.25]]) if weighted else None
    dloss = generator.standard_normal((3, 2)) if reduction == "none" else 0.25
    options = OPTIONS | {"unique": unique, "remove_accidental_hits": remove, "reduction": reduction}

    def loss(*arrays: np.ndarray) -> float:
        return float(np.sum(F.nce_forward(*arrays, targets, weights=weights, **options)[0] * dloss))

    _, saved = F.nce_forward(x, weight, bias, targets, weights=weights, **options)
    expected = [
        differences(lambda v: loss(v, weight, bias), x),
        differences(lambda v: loss(x, v, bias), weight),
        differences(lambda v: loss(x, weight, v), bias),
    ]
    for gradient, want in zip(F.nce_backward(saved, dloss), expected, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=0, atol=DIFFERENCE_TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("remove", [False, True])
def test_against_torch(generator: np.random.Generator, remove: bool, dtype: str) -> None:
    """PyTorch has no such loss, but the sigmoid cross entropy of the 1 + S logits, and their gradients."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    *arrays, targets = draw(generator, (40,), dtype)
    loss, saved = F.nce_forward(*arrays, targets, remove_accidental_hits=remove, **OPTIONS)
    ids, tries = F.log_uniform_sample(6, V, seed=2, step=9)
    tensors = [torch.tensor(value, requires_grad=True) for value in arrays]
    x, weight, bias = tensors
    log_q = torch.tensor(np.log(F.log_uniform_expected_counts(np.arange(V), tries, V)).astype(dtype))
    logits = torch.nn.functional.linear(x, weight, bias) - log_q
    chosen = torch.cat([logits.gather(1, torch.tensor(targets)[:, None]), logits[:, torch.tensor(ids)]], dim=1)
    answers = torch.zeros_like(chosen)
    answers[:, 0] = 1
    losses = torch.nn.functional.binary_cross_entropy_with_logits(chosen, answers, reduction="none")
    if remove:
        losses[:, 1:][torch.tensor(targets[:, None] == ids)] = 0
    expected = losses.sum(dim=1).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=TOLERANCE[dtype])
    for gradient, tensor in zip(F.nce_backward(saved), tensors, strict=True):
        assert_close(gradient, tensor.grad.numpy(), dtype)


@pytest.mark.parametrize("reduction", F.REDUCTIONS)
def test_rows_of_weight_zero_are_never_read(generator: np.random.Generator, reduction: F.Reduction) -> None:
    x, weight, bias, targets = draw(generator)
    mask = np.array([[True, False], [True, True], [False, True]])
    spoilt_x, spoilt_targets = np.where(mask[..., None], x, np.nan), np.where(mask, targets, -100)
    dloss = generator.standard_normal((3, 2)) if reduction == "none" else 2.0
    options = OPTIONS | {"reduction": reduction}
    loss, saved = F.nce_forward(spoilt_x, weight, bias, spoilt_targets, weights=mask, **options)
    dx, dweight, dbias = F.nce_backward(saved, dloss)
    kept, kept_saved = F.nce_forward(x[mask], weight, bias, targets[mask], **options)
    kept_dx, kept_dweight, kept_dbias = F.nce_backward(kept_saved, dloss[mask] if reduction == "none" else dloss)
    assert (np.asarray(loss)[mask] == kept).all() if reduction == "none" else loss == pytest.approx(kept, rel=1e-15)
    assert (dx[mask] == kept_dx).all()
    assert not dx[~mask].any()
    assert (dweight == kept_dweight).all()
    assert (dbias == kept_dbias).all()


def test_gradients_are_zero_for_classes_that_were_not_asked_about(generator: np.random.Generator) -> None:
    x, weight, bias, targets = draw(generator)
    _, saved = F.nce_forward(x, weight, bias, targets, **OPTIONS)
    _, dweight, dbias = F.nce_backward(saved)
    asked = np.union1d(targets, F.log_uniform_sample(6, V, seed=2, step=9)[0])
    assert np.flatnonzero(dbias).tolist() == np.flatnonzero(dweight.any(axis=1)).tolist() == asked.tolist()


def test_large_logits_do_not_overflow(generator: np.random.Generator) -> None:
    _, weight, _, targets = draw(generator, dtype="float32")
    loss, saved = F.nce_forward(np.full((3, 2, D), 1e20, "f4"), weight, np.zeros(V, "f4"), targets, **OPTIONS)
    assert np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in F.nce_backward(saved))


def test_no_rows_cost_nothing_in_a_sum_and_have_no_mean() -> None:
    arguments = (np.empty((0, D)), np.ones((V, D)), np.ones(V), np.empty(0, int))
    loss, saved = F.nce_forward(*arguments, reduction="sum", **OPTIONS)
    assert loss == 0.0
    dx, dweight, dbias = F.nce_backward(saved)
    assert dx.shape == (0, D)
    assert not dweight.any()
    assert not dbias.any()
    with pytest.raises(ValueError, match="positive sum"):
        F.nce_forward(*arguments, **OPTIONS)


def test_its_optimum_is_the_logarithm_of_the_frequencies() -> None:
    """What the method is for: trained on classes alone, the biases become their log probabilities, unnormalised."""
    size, generator = 8, np.random.default_rng(3)
    frequencies = np.array([0.3, 0.25, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02])
    nce = nn.NCE(size, 1, num_sampled=20, unique=False, init=initializers.zeros(), dtype="float64", seed=1)
    x = np.zeros((200, 1))
    average, steps = np.zeros(size), 1500
    for step in range(steps):
        targets = generator.choice(size, 200, p=frequencies)
        _, saved = nce.forward(x, targets, step=step)
        _, grads = nce.backward(saved)
        with nce.writable() as p:
            p["bias"] -= 1.0 * grads["bias"]
            average += p["bias"] * (step >= steps // 2) / (steps - steps // 2)
    np.testing.assert_allclose(average, np.log(frequencies), atol=0.05)


# ---- the layer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", F.REDUCTIONS)
def test_the_layer_is_its_functions(generator: np.random.Generator, reduction: F.Reduction) -> None:
    x, _, _, targets = draw(generator)
    weights, dloss = generator.random((3, 2)), generator.standard_normal((3, 2)) if reduction == "none" else -0.5
    more: dict[str, Any] = {"unique": False, "remove_accidental_hits": True, "reduction": reduction}
    nce = nn.NCE(V, D, num_sampled=6, site=3, dtype="float64", seed=2, **more)
    parameters = nce.parameters()
    assert {name: value.shape for name, value in parameters.items()} == {"weight": (V, D), "bias": (V,)}
    want, want_saved = F.nce_forward(
        x, *parameters.values(), targets, num_sampled=6, seed=2, site=3, step=9, weights=weights, **more
    )
    loss, saved = nce.forward(x, targets, weights, step=9)
    assert (np.asarray(loss) == want).all()
    assert (np.asarray(nce(x, targets, weights, step=9)) == want).all()
    assert (np.asarray(nce(x, targets, weights, step=8)) != want).all()
    dx, grads = nce.backward(saved, dloss)
    want_dx, want_dweight, want_dbias = F.nce_backward(want_saved, dloss)
    assert (dx == want_dx).all()
    assert (grads["weight"] == want_dweight).all()
    assert (grads["bias"] == want_dbias).all()
    assert (nce.logits(x) == F.linear_forward(x, *parameters.values())).all()


def test_saved_serves_one_backward_unless_retained(generator: np.random.Generator) -> None:
    _, saved = F.nce_forward(*draw(generator), **OPTIONS)
    with pytest.raises(TypeError, match="^nce_backward: dloss must be a number"):
        F.nce_backward(saved, "1")  # type: ignore[arg-type]
    first, second = F.nce_backward(saved, retain=True), F.nce_backward(saved)
    for one, other in zip(first, second, strict=True):
        assert (one == other).all()
        assert not np.shares_memory(one, other)
    with pytest.raises(RuntimeError, match="^nce_backward: saved must be unused"):
        F.nce_backward(saved)


def test_vocabularies_number_the_most_frequent_class_first() -> None:
    """The sampler relies on it."""
    assert vocabulary.Vocabulary.from_text("abbccc").tokens[0] == "c"


# ---- errors ------------------------------------------------------------------------------------------------------

X, W, BIAS, TARGETS = np.ones((5, D)), np.ones((V, D)), np.ones(V), np.arange(5)


def loss(x: Any = X, weight: Any = W, bias: Any = BIAS, targets: Any = TARGETS, **options: Any) -> Any:
    return F.nce_forward(x, weight, bias, targets, **(OPTIONS | options))


def layer(**options: Any) -> nn.NCE:
    return nn.NCE(**({"num_classes": V, "dim": D, "num_sampled": 6, "seed": 2} | options))


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: loss(X[:, :2]), ValueError, "nce_forward: x must have shape (..., D) = (..., 4), got (5, 2)"),
    (lambda: loss(X.astype("f4")), TypeError, "nce_forward: x must be a numpy array of float64, got float32"),
    (lambda: loss(weight=W[0]), ValueError, "nce_forward: weight must have shape (V, D) with V >= 1, got (4,)"),
    (lambda: loss(weight=W[:0]), ValueError, "weight must have shape (V, D) with V >= 1, got (0, 4)"),
    (lambda: loss(weight=W.astype("f2")), TypeError, "weight must be a numpy array of float32 or float64"),
    (lambda: loss(bias=BIAS[:3]), ValueError, "nce_forward: bias must have shape (V,) = (30,), got (3,)"),
    (lambda: loss(bias=None), TypeError, "nce_forward: bias must be a numpy array of float64, got None"),
    (lambda: loss(targets=TARGETS[:3]), ValueError, "nce_forward: targets must have shape (...) = (5,), got (3,)"),
    (lambda: loss(targets=TARGETS * 1.0), TypeError, "nce_forward: targets must be a numpy array of integers"),
    (
        lambda: loss(targets=TARGETS + 26),
        ValueError,
        "nce_forward: targets must be in [0, V) = [0, 30), got 30 at position (4,)",
    ),
    (lambda: loss(num_sampled=0), ValueError, "nce_forward: num_sampled must be in [1, 30], got 0"),
    (lambda: loss(num_sampled=31), ValueError, "nce_forward: num_sampled must be in [1, 30], got 31"),
    (lambda: loss(num_sampled=0, unique=False), ValueError, "nce_forward: num_sampled must be >= 1, got 0"),
    (lambda: loss(num_sampled=6.0), TypeError, "nce_forward: num_sampled must be an integer, got 6.0"),
    (lambda: loss(unique=1), TypeError, "nce_forward: unique must be True or False, got 1"),
    (lambda: loss(remove_accidental_hits=0), TypeError, "remove_accidental_hits must be True or False, got 0"),
    (lambda: loss(seed=-1), ValueError, "nce_forward: seed must be in [0, 18446744073709551615], got -1"),
    (lambda: loss(site=256), ValueError, "nce_forward: site must be in [0, 255], got 256"),
    (lambda: loss(step=2**32), ValueError, "nce_forward: step must be in [0, 4294967295], got 4294967296"),
    (lambda: loss(reduction="max"), ValueError, "nce_forward: reduction must be one of 'mean', 'sum', 'none'"),
    (lambda: loss(weights=np.ones(4)), ValueError, "nce_forward: weights must have shape (...) = (5,), got (4,)"),
    (lambda: loss(weights=np.ones(5, "f4")), TypeError, "nce_forward: weights must be a numpy array of float64"),
    (lambda: loss(weights=np.zeros(5)), ValueError, "weights must have a positive sum with reduction='mean', got 0"),
    (lambda: F.nce_backward(X), TypeError, "nce_backward: saved must be what forward returned, got ndarray"),  # type: ignore[arg-type]
    (lambda: F.nce_backward(loss()[1], X), TypeError, "nce_backward: dloss must be a number"),
    (
        lambda: F.nce_backward(loss(reduction="none")[1], X),
        ValueError,
        "dloss must have shape (...) = (5,), got (5, 4)",
    ),
    (
        lambda: F.log_uniform_sample(5, 4, seed=1),
        ValueError,
        "log_uniform_sample: num_sampled must be in [1, 4], got 5",
    ),
    (lambda: F.log_uniform_sample(5, 0, seed=1), ValueError, "log_uniform_sample: vocabulary_size must be >= 1, got 0"),
    (
        lambda: F.log_uniform_expected_counts(np.array([4]), 1, 4),
        ValueError,
        "log_uniform_expected_counts: ids must be in [0, V) = [0, 4), got 4 at position (0,)",
    ),
    (lambda: F.log_uniform_expected_counts(TARGETS, 0, 9), ValueError, "num_tries must be >= 1, got 0"),
    (lambda: layer(num_classes=0), ValueError, "NCE: num_classes must be >= 1, got 0"),
    (lambda: layer(dim=0), ValueError, "NCE: dim must be >= 1, got 0"),
    (lambda: layer(num_sampled=31), ValueError, "NCE: num_sampled must be in [1, 30], got 31"),
    (lambda: layer(unique=None), TypeError, "NCE: unique must be True or False, got None"),
    (lambda: layer(remove_accidental_hits=1), TypeError, "NCE: remove_accidental_hits must be True or False, got 1"),
    (lambda: layer(reduction="max"), ValueError, "NCE: reduction must be one of 'mean', 'sum', 'none', got 'max'"),
    (lambda: layer(seed=None), TypeError, "NCE: seed must be an integer, got None"),
    (lambda: layer(site=256), ValueError, "NCE: site must be in [0, 255], got 256"),
    (lambda: layer(dtype="f2"), ValueError, "NCE: dtype must be 'float32' or 'float64', got 'f2'"),
    (lambda: layer(device="tpu"), ValueError, "NCE: device must be one of 'cpu', 'cuda', got 'tpu'"),
    (lambda: layer(init="unit"), ValueError, "NCE: init must be 'torch' or 'keras' or a callable, got 'unit'"),
    (lambda: layer().forward(X, TARGETS), TypeError, "NCE.forward: x must be a numpy array of float32, got float64"),
    (lambda: layer()(X, TARGETS), TypeError, "NCE: x must be a numpy array of float32, got float64"),
    (lambda: layer().logits(X), TypeError, "NCE.logits: x must be a numpy array of float32, got float64"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
