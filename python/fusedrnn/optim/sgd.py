"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn import checks
from fusedrnn.module import Module
from fusedrnn.optim.base import Optimizer
from fusedrnn.optim.groups import Group
from fusedrnn.optim.kernels import Updates, update
from fusedrnn.optim.scalars import nonnegative
from fusedrnn.optim.schedules import Schedule


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as in ``torch.optim.SGD`` without dampening.

    For a parameter w with gradient g, weight decay λ, momentum μ and learning rate η::

        d = g + λ·w
        v = μ·v + d                          starts from zero
        w = w - η·v                          with nesterov: w - η·(d + μ·v)

    Parameters
    ----------
    module : whose parameters are updated
    lr : η, a number >= 0 or a schedule
    momentum : μ >= 0; without it no v is kept
    nesterov : look ahead; needs a momentum
    weight_decay : λ >= 0
    groups : exceptions by name, see `Group`

    Examples
    --------
    >>> linear = fr.nn.Linear(2, 1, bias=False, init=fr.initializers.zeros())
    >>> optimizer = fr.optim.SGD(linear, 0.5)
    >>> optimizer.step({"weight": np.array([[1.0, -2.0]], "float32")})
    >>> linear.parameters()["weight"].tolist()
    [[-0.5, 1.0]]
    """

    def __init__(
        self,
        module: Module,
        lr: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self._momentum = nonnegative("SGD", "momentum", momentum)
        self._nesterov = checks.boolean("SGD", "nesterov", nesterov)
        if self._nesterov and not self._momentum:
            raise ValueError("SGD: momentum must be > 0 with nesterov=True, got 0.0")
        super().__init__(module, lr, weight_decay=weight_decay, groups=groups)

    def _slots(self) -> dict[str, float]:
        return {"momentum": 0.0} if self._momentum else {}

    def _update(self, updates: Updates) -> None:
        update("sgd", [self._momentum, self._nesterov], updates, ["momentum"])
