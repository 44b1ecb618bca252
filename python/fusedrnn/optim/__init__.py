"""Optimisers, groups of parameters, learning-rate schedules and clipping.

An optimiser writes a module's parameters in place; the equations are PyTorch's. Gradients come as a mapping from
parameter names to arrays, as ``backward`` returns it.
"""

from __future__ import annotations

from fusedrnn.optim.adam import Adam
from fusedrnn.optim.base import Optimizer
from fusedrnn.optim.clip import clip_by_global_norm
from fusedrnn.optim.groups import Group
from fusedrnn.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    halve_from,
    linear_warmup,
    step_decay,
)
from fusedrnn.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "Group",
    "Optimizer",
    "Schedule",
    "clip_by_global_norm",
    "constant",
    "cosine",
    "exponential",
    "halve_from",
    "linear_warmup",
    "step_decay",
]
