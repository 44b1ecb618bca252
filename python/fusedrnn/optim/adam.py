"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from fusedrnn import checks
from fusedrnn.module import Module
from fusedrnn.optim.base import Optimizer
from fusedrnn.optim.groups import Group
from fusedrnn.optim.kernels import Updates, update
from fusedrnn.optim.scalars import below_one, normal_or_zero
from fusedrnn.optim.schedules import Schedule


class Adam(Optimizer):
    """Adam as in ``torch.optim.Adam``: weight decay is part of the gradient, ε stands outside the root.

    For a parameter w with gradient g at step n = 1, 2, ...::

        g = g + λ·w
        m = β₁·m + (1 - β₁)·g                both start from zero
        v = β₂·v + (1 - β₂)·g²
        w = w - η / (1 - β₁ⁿ) · m / (√v / √(1 - β₂ⁿ) + ε)

    Parameters
    ----------
    module : whose parameters are updated
    lr : η, a number >= 0 or a schedule
    betas : (β₁, β₂), each in [0, 1)
    eps : ε > 0
    weight_decay : λ >= 0
    groups : exceptions by name, see `Group`

    Examples
    --------
    The first step has the size of the learning rate, whatever the size of the gradient:

    >>> linear = fr.nn.Linear(2, 1, bias=False, init=fr.initializers.zeros(), dtype="float64")
    >>> optimizer = fr.optim.Adam(linear, 0.25)
    >>> optimizer.step({"weight": np.array([[100.0, -3.0]])})
    >>> linear.parameters()["weight"].round(6).tolist()
    [[-0.25, 0.25]]
    """

    _decoupled: ClassVar[bool] = False  # whether the decay stays out of the moments

    def __init__(
        self,
        module: Module,
        lr: float | Schedule = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        where = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{where}: betas must be a pair of numbers, got {checks.describe(betas)}")
        self._betas = (below_one(where, "betas[0]", betas[0]), below_one(where, "betas[1]", betas[1]))
        self._eps = normal_or_zero(where, "eps", checks.real(where, "eps", eps, 0.0, 1.0, open_low=True))
        super().__init__(module, lr, weight_decay=weight_decay, groups=groups)

    def _slots(self) -> dict[str, float]:
        return {"first_moment": 0.0, "second_moment": 0.0}

    def _update(self, updates: Updates) -> None:
        (beta1, beta2), n = self._betas, self.steps + 1
        corrections = [1 - beta1**n, math.sqrt(1 - beta2**n)]
        numbers = [1 - beta1, beta2, 1 - beta2, *corrections, self._eps, self._decoupled]
        update("adam", numbers, updates, ["first_moment", "second_moment"])
