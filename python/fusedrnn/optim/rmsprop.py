"""RMSprop (Tieleman and Hinton, 2012)."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn import checks
from fusedrnn.module import Module
from fusedrnn.optim.base import Optimizer
from fusedrnn.optim.groups import Group
from fusedrnn.optim.kernels import Updates, update
from fusedrnn.optim.scalars import below_one, nonnegative, normal_or_zero
from fusedrnn.optim.schedules import Schedule


class RMSprop(Optimizer):
    """RMSprop as in ``torch.optim.RMSprop``: ε stands outside the root unless `eps_in_root` says otherwise.

    For a parameter w with gradient g (Tieleman and Hinton, 2012, lecture 6.5; centered by Graves, 2013, "Generating
    sequences with recurrent neural networks", page 23, who has ε inside the root)::

        g = g + λ·w
        v = α·v + (1 - α)·g²                 starts from `initial_square`
        m = α·m + (1 - α)·g                  starts from zero; without centered, m = 0
        d = g / (√(v - m²) + ε)              with eps_in_root: g / √(v - m² + ε)
        b = μ·b + d                          starts from zero
        w = w - η·b

    A v - m² below zero comes of rounding alone and counts as zero.

    TensorFlow 1 (``tf.train.RMSPropOptimizer``, whose kernels are ``ApplyRMSProp`` and ``ApplyCenteredRMSProp``)
    puts ε inside the root and starts v from one. With its defaults that is
    ``RMSprop(module, lr, alpha=0.9, eps=1e-10, eps_in_root=True, initial_square=1.0)``. It also keeps η inside the
    momentum, b = μ·b + η·d, which is the same where there is no momentum or η does not change.

    Parameters
    ----------
    module : whose parameters are updated
    lr : η, a number >= 0 or a schedule
    alpha : α in [0, 1)
    eps : ε > 0
    momentum : μ >= 0; without it no b is kept
    centered : divide by an estimate of the gradient's standard deviation; without it no m is kept
    eps_in_root : add ε before the root is taken
    initial_square : number >= 0
    weight_decay : λ >= 0
    groups : exceptions by name, see `Group`

    Examples
    --------
    >>> linear = fr.nn.Linear(2, 1, bias=False, init=fr.initializers.zeros(), dtype="float64")
    >>> optimizer = fr.optim.RMSprop(linear, 0.5, alpha=0.75)
    >>> optimizer.step({"weight": np.array([[100.0, -3.0]])})
    >>> linear.parameters()["weight"].round(6).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        module: Module,
        lr: float | Schedule = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        eps_in_root: bool = False,
        initial_square: float = 0.0,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self._alpha = below_one("RMSprop", "alpha", alpha)
        self._eps = normal_or_zero("RMSprop", "eps", checks.real("RMSprop", "eps", eps, 0.0, 1.0, open_low=True))
        self._momentum = nonnegative("RMSprop", "momentum", momentum)
        self._centered = checks.boolean("RMSprop", "centered", centered)
        self._eps_in_root = checks.boolean("RMSprop", "eps_in_root", eps_in_root)
        self._start = nonnegative("RMSprop", "initial_square", initial_square)
        super().__init__(module, lr, weight_decay=weight_decay, groups=groups)

    def _slots(self) -> dict[str, float]:
        mean = {"mean": 0.0} if self._centered else {}
        momentum = {"momentum": 0.0} if self._momentum else {}
        return {"mean_square": self._start} | mean | momentum

    def _update(self, updates: Updates) -> None:
        numbers = [self._alpha, 1 - self._alpha, self._eps, self._momentum, self._centered, self._eps_in_root]
        update("rmsprop", numbers, updates, ["mean_square", "mean", "momentum"])
