"""The loss over a linear map as one operation: equal to the two it is made of, for any number of rows at a time."""

from __future__ import annotations

import numpy as np
import pytest

import fusedrnn as fr
from fusedrnn.backends.cpu import CpuBackend

forward, backward = fr.functional.linear_cross_entropy_forward, fr.functional.linear_cross_entropy_backward

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def problem(rows, columns, classes, dtype="float64", seed=0):
    generator = np.random.default_rng(seed)
    draw = lambda *shape: generator.normal(size=shape).astype(dtype)  # noqa: E731
    targets = generator.integers(0, classes, rows, dtype="int32")
    return draw(*rows, columns), draw(classes, columns), draw(classes), targets


def of_two(x, weight, bias, targets, dloss=1.0, **options):
    """Loss and gradients by the map and the loss, one after the other."""
    logits = fr.functional.linear_forward(x, weight, bias)
    loss, saved = fr.functional.softmax_cross_entropy_forward(logits, targets, **options)
    dlogits = fr.functional.softmax_cross_entropy_backward(saved, dloss)
    return loss, *fr.functional.linear_backward(x, weight, dlogits)


def assert_close(actual, expected, dtype):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(other).max(initial=0)))


@pytest.fixture(params=[2**24, 1, 3000], ids=["at once", "row by row", "some rows"])
def portions(request, monkeypatch):
    """How many bytes of logits are made at a time."""
    monkeypatch.setattr(CpuBackend, "logits_bytes", request.param)
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "columns", "classes"),
    [((7,), 5, 9), ((4, 6), 33, 130), ((1,), 1, 1), ((), 3, 17), ((3, 0), 4, 5), ((0,), 4, 5), ((40,), 16, 1000)],
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_the_map_and_the_loss(rows, columns, classes, dtype, reduction, portions):
    if reduction == "mean" and 0 in rows:
        pytest.skip("there is no mean of nothing")
    x, weight, bias, targets = problem(rows, columns, classes, dtype)
    targets = np.asarray(targets)
    loss, saved = forward(x, weight, bias, targets, reduction=reduction)
    assert_close((loss, *backward(saved)), of_two(x, weight, bias, targets, reduction=reduction), dtype)


@pytest.mark.parametrize("training", [True, False])
def test_factors_and_what_is_saved(training, portions):
    x, weight, bias, targets = problem((5, 4), 6, 11)
    expected_loss, *expected = of_two(x, weight, bias, targets, -6.0)
    loss, saved = forward(x, weight, bias, targets, scale=2.0, training=training)
    assert loss == pytest.approx(2 * expected_loss, rel=1e-14)
    first = backward(saved, -3.0, retain=True)
    second = backward(saved, -3.0)
    assert_close(first, expected, "float64")
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert not np.shares_memory(one, other)
    with pytest.raises(RuntimeError, match="linear_cross_entropy_backward: saved must be unused"):
        backward(saved)


def test_the_loss_is_a_python_number():
    x, weight, bias, targets = problem((3,), 2, 4, "float32")
    assert type(forward(x, weight, bias, targets, scale=np.float32(0.3))[0]) is float


def test_without_a_bias():
    x, weight, _, targets = problem((8,), 3, 4)
    loss, saved = forward(x, weight, None, targets)
    grads = backward(saved)
    assert grads.dbias is None
    assert_close((loss, *grads[:2]), of_two(x, weight, None, targets)[:3], "float64")


def test_the_gradients_are_those_of_finite_differences():
    x, weight, bias, targets = problem((3,), 4, 5)
    weights = np.array([1.0, 0.5, 2.0])
    _, saved = forward(x, weight, bias, targets, weights=weights, scale=1.5)
    for array, gradient in zip((x, weight, bias), backward(saved), strict=True):
        for at in np.ndindex(array.shape):
            middle, losses = array[at], []
            for array[at] in (middle + 1e-6, middle - 1e-6):
                losses.append(forward(x, weight, bias, targets, weights=weights, scale=1.5)[0])
            array[at] = middle
            assert gradient[at] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)


def test_a_weight_of_zero_ignores_a_row(portions):
    x, weight, bias, targets = problem((6,), 4, 7)
    weights = np.array([1, 0, 1, 1, 0, 1], bool)
    loss, saved = forward(x, weight, bias, targets, weights=weights)
    expected = of_two(x, weight, bias, targets, weights=weights)
    spoilt, wrong = x.copy(), targets.copy()
    spoilt[~weights], wrong[~weights] = np.inf, -1
    spoilt_loss, spoilt_saved = forward(spoilt, weight, bias, wrong, weights=weights)
    assert spoilt_loss == loss
    grads = backward(saved)
    assert_close((loss, *grads), expected, "float64")
    assert not grads.dx[~weights].any()
    assert not backward(spoilt_saved).dx[~weights].any()


def test_large_logits_do_not_overflow_and_nan_is_seen():
    x, weight = np.array([[1e30], [-1e30]], "float32"), np.array([[1.0], [2.0]], "float32")
    loss, saved = forward(x, weight, None, np.array([1, 0]))
    assert loss == 0.0
    assert all(np.isfinite(part).all() for part in backward(saved)[:2])
    assert np.isnan(forward(np.array([[np.nan]]), np.ones((2, 1)), None, np.array([0]))[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_does_not_change_a_bit(dtype):
    x, weight, bias, targets = problem((70,), 45, 2500, dtype)
    before = fr.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            fr.set_num_threads(threads)
            loss, saved = forward(x, weight, bias, targets)
            results.append((loss, *backward(saved)))
    finally:
        fr.set_num_threads(before)
    for result in results[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(result, results[0], strict=True))


def test_nothing_that_comes_in_is_changed_and_strides_do_not_matter():
    x, weight, bias, targets = problem((6, 2), 4, 9)
    expected = of_two(x, weight, bias, targets)
    given = (np.asfortranarray(x), np.asfortranarray(weight), np.repeat(bias, 2)[::2], np.repeat(targets, 2, 1)[:, ::2])
    copies = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    loss, saved = forward(*given)
    assert_close((loss, *backward(saved)), expected, "float64")
    assert all(np.array_equal(one, other) for one, other in zip(given, copies, strict=True))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [[1.0]]}, TypeError, "x must be a numpy array"),
        ({"x": np.ones((3, 4), "float32")}, TypeError, "x must be a numpy array of float64, got float32"),
        ({"x": np.ones((3, 5))}, ValueError, r"x must have shape \(..., K\) = \(..., 4\), got \(3, 5\)"),
        ({"weight": np.ones((0, 4))}, ValueError, r"weight must have shape \(V, K\) with V >= 1, got \(0, 4\)"),
        ({"bias": np.ones(3)}, ValueError, r"bias must have shape \(V,\) = \(6,\), got \(3,\)"),
        ({"targets": np.ones(3)}, TypeError, "targets must be a numpy array of integers"),
        (
            {"targets": np.array([0, 6, 1])},
            ValueError,
            r"targets must be in \[0, V\) = \[0, 6\), got 6 at position \(1,\)",
        ),
        ({"targets": np.array([0, 1])}, ValueError, r"targets must have shape \(...\) = \(3,\), got \(2,\)"),
        ({"reduction": "none"}, ValueError, "reduction must be"),
        ({"weights": np.zeros(3)}, ValueError, "weights must have a positive sum"),
        ({"scale": "2"}, TypeError, "scale must be a"),
        ({"training": 1}, TypeError, "training must be"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    x, weight, bias, targets = problem((3,), 4, 6)
    arguments = {"x": x, "weight": weight, "bias": bias, "targets": targets} | changes
    with pytest.raises(error, match=f"^linear_cross_entropy_forward: {message}"):
        forward(**arguments)
