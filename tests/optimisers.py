"""The optimisers, sums of squares and sums by id in NumPy, one operation after the other: the oracle of their kernels.

Every kernel of an optimiser rounds each operation by itself, as NumPy does, so the results have to be the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fusedrnn import optim
from fusedrnn.optim.kernels import Updates

Entry = tuple[np.ndarray, np.ndarray, list[np.ndarray], float, float]


def entries(updates: Updates) -> Iterator[Entry]:
    """Parameter, gradient, states, learning rate and decay, one parameter at a time."""
    for k, parameter in enumerate(updates.parameters):
        states = [arrays[k] for arrays in updates.states.values()]
        yield parameter, updates.gradients[k], states, updates.rates[k], updates.decays[k]


def decayed(gradient: np.ndarray, parameter: np.ndarray, weight_decay: float) -> np.ndarray:
    return gradient + parameter * weight_decay if weight_decay else gradient


class NumpySGD(optim.SGD):
    """d = g + λ·w; v = μ·v + d; w = w - η·v, with nesterov w - η·(d + μ·v)."""

    def _update(self, updates: Updates) -> None:
        for w, g, state, lr, weight_decay in entries(updates):
            d = decayed(g, w, weight_decay)
            if state:
                (v,) = state
                v[...] = v * self._momentum + d
                d = d + v * self._momentum if self._nesterov else v
            w -= d * lr


class NumpyAdam(optim.Adam):
    """m = m + (1 - β₁)·(g - m); v = β₂·v + (1 - β₂)·g²; w = w - η / (1 - β₁ⁿ) · m / (√v / √(1 - β₂ⁿ) + ε)."""

    def _update(self, updates: Updates) -> None:
        (beta1, beta2), n = self._betas, self.steps + 1
        for w, g, (m, v), lr, weight_decay in entries(updates):
            if self._decoupled and weight_decay:
                w *= 1 - lr * weight_decay
            elif weight_decay:
                g = decayed(g, w, weight_decay)
            m += (g - m) * (1 - beta1)
            v[...] = v * beta2 + g * g * (1 - beta2)
            w -= m / (np.sqrt(v) / math.sqrt(1 - beta2**n) + self._eps) * (lr / (1 - beta1**n))


class NumpyAdamW(NumpyAdam, optim.AdamW):
    """The same after w = w - η·λ·w."""


class NumpyAdagrad(optim.Adagrad):
    """a = a + g²; w = w - η · g / (√a + ε)."""

    def _update(self, updates: Updates) -> None:
        for w, g, (a,), lr, weight_decay in entries(updates):
            g = decayed(g, w, weight_decay)
            a += g * g
            w -= g / (np.sqrt(a) + self._eps) * lr


class NumpyRMSprop(optim.RMSprop):
    """v = α·v + (1 - α)·g²; m = m + (1 - α)·(g - m); d = g / √(v - m²); b = μ·b + d; w = w - η·b."""

    def _update(self, updates: Updates) -> None:
        for w, g, (v, *others), lr, weight_decay in entries(updates):
            g = decayed(g, w, weight_decay)
            v[...] = v * self._alpha + g * g * (1 - self._alpha)
            variance = v
            if self._centered:
                m = others[0]
                m += (g - m) * (1 - self._alpha)
                variance = np.maximum(v - m * m, 0.0)
            d = g / (np.sqrt(variance + self._eps) if self._eps_in_root else np.sqrt(variance) + self._eps)
            if self._momentum:
                b = others[-1]
                b[...] = b * self._momentum + d
                d = b
            w -= d * lr


TWINS = {
    optim.SGD: NumpySGD,
    optim.Adam: NumpyAdam,
    optim.AdamW: NumpyAdamW,
    optim.Adagrad: NumpyAdagrad,
    optim.RMSprop: NumpyRMSprop,
}


def sum_of_squares(array: np.ndarray) -> float:
    """Squares summed in float64 by lanes of blocks: element j of a block of 2¹⁴ belongs to lane j mod 32."""
    total = 0.0
    for start in range(0, array.size, 2**14):
        block = array.reshape(-1)[start : start + 2**14].astype(np.float64)
        lanes = np.zeros(-(-block.size // 32) * 32)
        lanes[: block.size] = block * block
        sums = np.add.accumulate(lanes.reshape(-1, 32), axis=0)[-1]
        total += float(np.add.accumulate(sums)[-1])
    return total


def scatter_add(ids: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Rows summed by id, from zero, in the order in which they lie."""
    table = np.zeros((size, rows.shape[1]), rows.dtype)
    for v, row in zip(ids.tolist(), rows, strict=True):
        table[v] += row
    return table
