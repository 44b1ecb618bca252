"""Adagrad (Duchi, Hazan and Singer, 2011)."""

from __future__ import annotations

from collections.abc import Sequence

from fusedrnn import checks
from fusedrnn.module import Module
from fusedrnn.optim.base import Optimizer
from fusedrnn.optim.groups import Group
from fusedrnn.optim.kernels import Updates, update
from fusedrnn.optim.scalars import normal_or_zero
from fusedrnn.optim.schedules import Schedule


class Adagrad(Optimizer):
    """Adagrad with a diagonal matrix, as in ``torch.optim.Adagrad``.

    For a parameter w with gradient g (Duchi, Hazan and Singer, 2011, figure 1, with ε outside the root)::

        g = g + λ·w
        a = a + g²                           starts from `initial_accumulator`
        w = w - η · g / (√a + ε)

    TensorFlow 1 has no ε, and an accumulator that starts from 0.1 keeps the root above zero
    (``tf.train.AdagradOptimizer``, whose kernel is ``ApplyAdagrad``)::

        a = a + g²                           starts from 0.1
        w = w - η · g / √a

    That is ``Adagrad(module, lr, initial_accumulator=0.1, eps=0.0)``.

    Parameters
    ----------
    module : whose parameters are updated
    lr : η, a number >= 0 or a schedule
    initial_accumulator : number >= 0
    eps : ε in [0, 1]; > 0 where the accumulator starts from zero, since 0 / 0 would follow from a gradient of zero
    weight_decay : λ >= 0
    groups : exceptions by name, see `Group`

    Examples
    --------
    >>> linear = fr.nn.Linear(2, 1, bias=False, init=fr.initializers.zeros(), dtype="float64")
    >>> optimizer = fr.optim.Adagrad(linear, 0.5, initial_accumulator=16.0, eps=0.0)
    >>> optimizer.step({"weight": np.array([[3.0, 0.0]])})
    >>> linear.parameters()["weight"].tolist()
    [[-0.3, 0.0]]
    """

    def __init__(
        self,
        module: Module,
        lr: float | Schedule = 1e-2,
        *,
        initial_accumulator: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self._start = normal_or_zero("Adagrad", "initial_accumulator", initial_accumulator)
        self._eps = normal_or_zero("Adagrad", "eps", checks.real("Adagrad", "eps", eps, 0.0, 1.0))
        if not self._start and not self._eps:
            raise ValueError("Adagrad: eps must be > 0 with initial_accumulator=0.0, got 0.0")
        super().__init__(module, lr, weight_decay=weight_decay, groups=groups)

    def _slots(self) -> dict[str, float]:
        return {"accumulator": self._start}

    def _update(self, updates: Updates) -> None:
        update("adagrad", [self._eps], updates, ["accumulator"])
