"""RNN, GRU and LSTM forward and backward through time in NumPy, as somebody who knows NumPy well would write them.

One layer, one direction, the type of number of the input. What can be done for all steps at once is: the input
product, both weight gradients, the bias gradients and the gradient of the input are one product or sum each; only the
recurrent product and the gates, as whole-array operations, stay in the loop.

Weights have PyTorch's names, shapes and gate order (LSTM ``i f g o``, GRU ``r z n`` with the reset after the product):
weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H), bias_ih_l0 and bias_hh_l0 (G*H). ``x`` is (T, B, I), ``y`` is (T, B, H),
a state is (B, H), for the LSTM a pair (h, c) of them; None stands for zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]
Gradients = dict[str, np.ndarray]


@dataclass(frozen=True)
class Saved:
    """What a backward pass needs.

    Attributes
    ----------
    x : (T, B, I)
    weights : as given
    h : (T + 1, B, H), h[0] is the initial state
    gates : (T, B, G*H), after their activations
    extra : LSTM c (T + 1, B, H) and tanh(c[1:]) (T, B, H); GRU the candidate's recurrent part (T, B, H); RNN nothing
    """

    x: np.ndarray
    weights: Weights
    h: np.ndarray
    gates: np.ndarray
    extra: tuple[np.ndarray, ...] = ()


def _sigmoid_in_place(a: np.ndarray) -> None:
    """Replace a by 1 / (1 + exp(-a)), written with tanh, which cannot overflow."""
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _input_product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x @ weight.T + bias for all steps at once: (T, B, I) to (T, B, G*H)."""
    steps, rows, inputs = x.shape
    product = x.reshape(steps * rows, inputs) @ weight.T
    product += bias
    return product.reshape(steps, rows, -1)


def _states(x: np.ndarray, weights: Weights, initial: np.ndarray | None) -> np.ndarray:
    """Room for the states of all steps, (T + 1, B, H), with the initial one in place."""
    steps, rows, _ = x.shape
    h = np.empty((steps + 1, rows, weights["weight_hh_l0"].shape[1]), x.dtype)
    h[0] = 0 if initial is None else initial
    return h


def _finish(saved: Saved, dgx: np.ndarray, dgh: np.ndarray, *, shared: bool) -> tuple[np.ndarray, Gradients]:
    """dx and the weight gradients from those of the pre-activations, (T, B, G*H) each.

    With `shared`, dgh is dgx (the cell only uses the sum of both parts).
    """
    steps, rows, inputs = saved.x.shape
    flat_dgx = dgx.reshape(steps * rows, -1)
    flat_dgh = dgh.reshape(steps * rows, -1)
    dbias = flat_dgx.sum(axis=0)
    grads = {
        "weight_ih_l0": flat_dgx.T @ saved.x.reshape(steps * rows, inputs),
        "weight_hh_l0": flat_dgh.T @ saved.h[:-1].reshape(steps * rows, -1),
        "bias_ih_l0": dbias,
        "bias_hh_l0": dbias.copy() if shared else flat_dgh.sum(axis=0),
    }
    dx = (flat_dgx @ saved.weights["weight_ih_l0"]).reshape(saved.x.shape)
    return dx, grads


def rnn_forward(
    x: np.ndarray, weights: Weights, state: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Saved]:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh). Returns y, the last state, and what `rnn_backward` needs."""
    recurrent = weights["weight_hh_l0"].T
    gx = _input_product(x, weights["weight_ih_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"])
    h = _states(x, weights, state)
    for t in range(len(x)):
        a = h[t] @ recurrent
        a += gx[t]
        np.tanh(a, out=h[t + 1])
    return h[1:], h[-1], Saved(x, weights, h, gx)


def rnn_backward(
    saved: Saved, dy: np.ndarray, dstate: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Gradients]:
    """Undo `rnn_forward`. Returns dx, the gradient of the initial state, and the gradients of the weights."""
    weight_hh = saved.weights["weight_hh_l0"]
    y = saved.h[1:]
    dg = 1 - y * y  # the derivative of tanh for all steps; each step multiplies its dh onto it
    dh_next = np.zeros_like(dy[0]) if dstate is None else dstate
    for t in reversed(range(len(dy))):
        dg[t] *= dy[t] + dh_next
        dh_next = dg[t] @ weight_hh
    dx, grads = _finish(saved, dg, dg, shared=True)
    return dx, dh_next, grads


def gru_forward(
    x: np.ndarray, weights: Weights, state: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Saved]:
    """One GRU layer: r, z = sigmoid; n = tanh(gx_n + r * gh_n); h' = n + z * (h - n). Returns as `rnn_forward`."""
    hidden = weights["weight_hh_l0"].shape[1]
    recurrent, bias_hh = weights["weight_hh_l0"].T, weights["bias_hh_l0"]
    gates = _input_product(x, weights["weight_ih_l0"], weights["bias_ih_l0"])
    h = _states(x, weights, state)
    candidate = np.empty_like(h[1:])
    for t in range(len(x)):
        gh = h[t] @ recurrent
        gh += bias_hh
        rz, n = gates[t, :, : 2 * hidden], gates[t, :, 2 * hidden :]
        rz += gh[:, : 2 * hidden]
        _sigmoid_in_place(rz)
        r, z = rz[:, :hidden], rz[:, hidden:]
        candidate[t] = gh[:, 2 * hidden :]
        n += r * candidate[t]
        np.tanh(n, out=n)
        np.subtract(h[t], n, out=h[t + 1])
        h[t + 1] *= z
        h[t + 1] += n
    return h[1:], h[-1], Saved(x, weights, h, gates, (candidate,))


def gru_backward(
    saved: Saved, dy: np.ndarray, dstate: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Gradients]:
    """Undo `gru_forward`. Returns as `rnn_backward`."""
    weight_hh = saved.weights["weight_hh_l0"]
    hidden = weight_hh.shape[1]
    (candidate,) = saved.extra
    dgx, dgh = np.empty_like(saved.gates), np.empty_like(saved.gates)
    dh_next = np.zeros_like(dy[0]) if dstate is None else dstate
    for t in reversed(range(len(dy))):
        r, z, n = (saved.gates[t, :, q * hidden : (q + 1) * hidden] for q in range(3))
        dh = dy[t] + dh_next
        dn = dh * (1 - z) * (1 - n * n)
        dgx[t, :, :hidden] = dn * candidate[t] * r * (1 - r)
        dgx[t, :, hidden : 2 * hidden] = dh * (saved.h[t] - n) * z * (1 - z)
        dgx[t, :, 2 * hidden :] = dn
        dgh[t, :, : 2 * hidden] = dgx[t, :, : 2 * hidden]
        np.multiply(dn, r, out=dgh[t, :, 2 * hidden :])
        dh_next = dgh[t] @ weight_hh
        dh_next += dh * z
    dx, grads = _finish(saved, dgx, dgh, shared=False)
    return dx, dh_next, grads


def lstm_forward(
    x: np.ndarray, weights: Weights, state: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], Saved]:
    """One LSTM layer: c' = f * c + i * g; h' = o * tanh(c'). Returns as `rnn_forward`."""
    hidden = weights["weight_hh_l0"].shape[1]
    recurrent = weights["weight_hh_l0"].T
    gates = _input_product(x, weights["weight_ih_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"])
    h0, c0 = (None, None) if state is None else state
    h, c = _states(x, weights, h0), _states(x, weights, c0)
    tanh_c = np.empty_like(c[1:])
    for t in range(len(x)):
        a = gates[t]
        a += h[t] @ recurrent
        i, f, g, o = (a[:, q * hidden : (q + 1) * hidden] for q in range(4))
        _sigmoid_in_place(a[:, : 2 * hidden])
        np.tanh(g, out=g)
        _sigmoid_in_place(o)
        np.multiply(f, c[t], out=c[t + 1])
        c[t + 1] += i * g
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h[t + 1])
    return h[1:], (h[-1], c[-1]), Saved(x, weights, h, gates, (c, tanh_c))


def lstm_backward(
    saved: Saved, dy: np.ndarray, dstate: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], Gradients]:
    """Undo `lstm_forward`. Returns as `rnn_backward`, the gradient of the initial state being a pair."""
    weight_hh = saved.weights["weight_hh_l0"]
    hidden = weight_hh.shape[1]
    c, tanh_c = saved.extra
    dg = np.empty_like(saved.gates)
    dh_next, dc = (np.zeros_like(dy[0]), np.zeros_like(dy[0])) if dstate is None else (dstate[0], dstate[1].copy())
    for t in reversed(range(len(dy))):
        i, f, g, o = (saved.gates[t, :, q * hidden : (q + 1) * hidden] for q in range(4))
        dh = dy[t] + dh_next
        dc += dh * o * (1 - tanh_c[t] * tanh_c[t])
        dg[t, :, :hidden] = dc * g * i * (1 - i)
        dg[t, :, hidden : 2 * hidden] = dc * c[t] * f * (1 - f)
        dg[t, :, 2 * hidden : 3 * hidden] = dc * i * (1 - g * g)
        dg[t, :, 3 * hidden :] = dh * tanh_c[t] * o * (1 - o)
        dc *= f
        dh_next = dg[t] @ weight_hh
    dx, grads = _finish(saved, dg, dg, shared=True)
    return dx, (dh_next, dc), grads


FORWARD: dict[str, Callable[..., tuple[np.ndarray, Any, Saved]]] = {
    "lstm": lstm_forward,
    "gru": gru_forward,
    "rnn": rnn_forward,
}
BACKWARD: dict[str, Callable[..., tuple[np.ndarray, Any, Gradients]]] = {
    "lstm": lstm_backward,
    "gru": gru_backward,
    "rnn": rnn_backward,
}
