"""tanh and sigmoid of the kernels, over all exponents of float32, by cells that compute nothing else.

An RNN with one unit and weight 1 computes tanh(x); a GRU whose candidate is 0 carries h = 1 over as sigmoid(x).
"""

from __future__ import annotations

import instruction_sets
import numpy as np
import pytest

import fusedrnn as fr

MANTISSAS = 257  # of each exponent
TANH_ULPS, TANH_ULPS_NEAR_ZERO, SIGMOID_ULPS = 1.5, 0.6, 2.5  # as docs/kernels.md states them
EXACT_IN_FLOAT64 = 4e-16


def all_exponents() -> np.ndarray:
    """Numbers of both signs and all exponents, denormal ones apart."""
    mantissas = np.linspace(0, 2**23 - 1, MANTISSAS).astype(np.uint32)
    bits = (np.arange(1, 255, dtype=np.uint32)[:, None] << 23 | mantissas).reshape(-1)
    positive = bits.view(np.float32)
    return np.concatenate([positive, -positive])


def tanh(x: np.ndarray) -> np.ndarray:
    layer = fr.RNN(1, 1, init=fr.initializers.zeros(), dtype=x.dtype.name)
    with layer.writable() as parameters:
        parameters["weight_ih_l0"][:] = 1
    y, _ = layer(x.reshape(1, -1, 1))
    return y.reshape(-1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    layer = fr.GRU(1, 1, init=fr.initializers.zeros(), dtype=x.dtype.name)
    with layer.writable() as parameters:
        parameters["weight_ih_l0"][1] = 1  # of the update gate
    y, _ = layer(x.reshape(1, -1, 1), np.ones((1, x.size, 1), x.dtype))
    return y.reshape(-1)


def ulps(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error in units of the last place of the exact float64 values."""
    return np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)


def test_tanh_is_as_exact_as_stated():
    x = all_exponents()
    exact = np.tanh(x.astype(np.float64))
    error = ulps(tanh(x), exact)
    assert error.max() <= TANH_ULPS
    assert error[np.abs(x) < 0.3].max() <= TANH_ULPS_NEAR_ZERO


def test_sigmoid_is_as_exact_as_stated():
    x = all_exponents()
    x = x[x > -87]  # below, it would be no normal number
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert ulps(sigmoid(x), exact).max() <= SIGMOID_ULPS
    assert (sigmoid(np.array([-88, -1e3, -1e30], "float32")) < 1.2e-38).all()


def test_both_are_exact_in_float64():
    x = np.concatenate([np.linspace(-40, 40, 20001), np.geomspace(1e-300, 1, 5001), -np.geomspace(1e-300, 1, 5001)])
    exact = np.tanh(x)
    assert np.abs(tanh(x) - exact).max() <= EXACT_IN_FLOAT64
    assert (np.abs(tanh(x) - exact) <= 2 * np.spacing(np.abs(exact)) + 1e-307).all()
    assert np.abs(sigmoid(x) - 1 / (1 + np.exp(-x))).max() <= EXACT_IN_FLOAT64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_is_odd_to_the_bit(dtype):
    x = all_exponents().astype(dtype)
    assert np.array_equal(tanh(-x), -tanh(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_ordinary_number(dtype):
    tiny, large = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0, tiny, -tiny], dtype)
    assert np.array_equal(tanh(x), np.array([np.nan, 1, -1, 0, 0, 0], dtype), equal_nan=True)
    # An infinite x times the weight 0 of the other gates would be NaN.
    found = sigmoid(np.array([np.nan, large, -large, 0, tiny, -tiny], dtype))
    assert np.isnan(found[0])
    assert found[1] == 1
    assert 0 <= found[2] < np.finfo(dtype).tiny
    assert (found[3:] == 0.5).all()


@pytest.mark.parametrize("rows", range(1, 18))
def test_a_number_has_one_value_wherever_it_stands(rows):
    """Rows are taken two at a time and units by vectors; neither shows."""
    generator = np.random.default_rng(rows)
    layer = fr.LSTM(3, 19, seed=1)
    x = generator.normal(size=(2, 1, 3)).astype("float32")
    alone, _ = layer(x)
    among, _ = layer(np.repeat(x, rows, axis=1))
    assert np.array_equal(among, np.repeat(alone, rows, axis=1))


@pytest.mark.parametrize("isa", instruction_sets.ALL)
def test_every_instruction_set_is_as_exact(isa):
    instruction_sets.run_again(isa, __file__)
