"""Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fusedrnn.module import Module
from fusedrnn.optim.adam import Adam
from fusedrnn.optim.groups import Group
from fusedrnn.optim.schedules import Schedule


class AdamW(Adam):
    """Adam as in ``torch.optim.AdamW``: the decay shrinks the parameter and stays out of the moments.

    For a parameter w with gradient g at step n = 1, 2, ... (Loshchilov and Hutter, 2019, algorithm 2, with the
    decay multiplied by the whole learning rate, as PyTorch does)::

        w = w - η·λ·w
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
    groups : exceptions by name, see `Group`; a group's `weight_decay` is decoupled as well

    Examples
    --------
    Without a gradient only the decay is left:

    >>> linear = fr.nn.Linear(2, 1, bias=False, init=fr.initializers.normal(0.0, mean=1.0), dtype="float64")
    >>> optimizer = fr.optim.AdamW(linear, 0.5, weight_decay=0.5)
    >>> optimizer.step({"weight": np.zeros((1, 2))})
    >>> linear.parameters()["weight"].tolist()
    [[0.75, 0.75]]
    """

    _decoupled: ClassVar[bool] = True

    def __init__(
        self,
        module: Module,
        lr: float | Schedule = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        groups: Sequence[Group] = (),
    ) -> None:
        super().__init__(module, lr, betas=betas, eps=eps, weight_decay=weight_decay, groups=groups)
