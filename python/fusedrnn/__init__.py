"""Fused recurrent layers, forward and backward through time, over NumPy arrays.

>>> lstm = fr.LSTM(input_size=3, hidden_size=5, seed=0)
>>> y, state = lstm(np.zeros((7, 2, 3), "float32"))
>>> y.shape
(7, 2, 5)

The submodules are loaded when they are first named: ``fr.nn``, ``fr.optim``, ``fr.data``, ``fr.models``, ``fr.train``,
``fr.functional``, ``fr.initializers``, ``fr.reference``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fusedrnn.layers import GRU, LSTM, RNN, LSTMState, OneHot
from fusedrnn.stepper import Stepper
from fusedrnn.threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from fusedrnn import data, functional, initializers, models, nn, optim, reference, train

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "LSTMState",
    "OneHot",
    "Stepper",
    "data",
    "functional",
    "get_num_threads",
    "initializers",
    "models",
    "nn",
    "optim",
    "reference",
    "set_num_threads",
    "train",
]

_LAZY = ("data", "functional", "initializers", "models", "nn", "optim", "reference", "train")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"fusedrnn.{name}")
    if name == "__version__":
        from importlib.metadata import version  # takes as long as half of the package

        return version("fusedrnn")
    raise AttributeError(f"module 'fusedrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "__version__"])
