"""The gradients of all ranks, averaged: one flat array a step, of all parameters in the order of their names.

Every rank computes the mean over its rows, and all have equally many: so the mean over the ranks is the mean over the
whole batch, and each gradient the whole batch's. How arrays of several processes are summed is the device's business,
`fusedrnn.backends.Sums`. With its gradients each rank tells its loss, its count and how it goes: one whose step fails
tells that instead of falling silent, and all raise its error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fusedrnn.backends import of_array
from fusedrnn.optim.base import check_gradients
from fusedrnn.train.parallel import World
from fusedrnn.train.step import Step

_WELL, _STOP, _FAILED = 0.0, 1.0, 2.0  # how it goes


class Exchange:
    """What averages the steps of all ranks.

    Parameters
    ----------
    world : World
    parameters : names to the arrays that gradients belong to

    Examples
    --------
    >>> from fusedrnn.train.exchange import Exchange
    >>> step = fr.train.Step(0.5, 32, {"weight": np.ones((2, 3))})
    >>> exchange = Exchange(fr.train.World(), {"weight": np.zeros((2, 3))})
    >>> exchange.mean(lambda: step, lambda: False) == (step, False)
    True
    """

    def __init__(self, world: World, parameters: Mapping[str, np.ndarray]) -> None:
        self._world = world
        self._parameters = parameters
        if world.comm is None:
            return
        device = of_array(next(iter(parameters.values())))
        total = sum(value.size for value in parameters.values())
        dtype = np.result_type(*(value.dtype for value in parameters.values()))
        self._sums = device.sums("fit", world, total, dtype, told=2)
        self._views: dict[str, Any] = {}
        start = 0
        for name, value in parameters.items():
            self._views[name] = self._sums.array[start : start + value.size].reshape(value.shape)
            start += value.size

    def mean(self, compute: Callable[[], Step], stopped: Callable[[], bool]) -> tuple[Step, bool]:
        """This rank's step, to that of all ranks.

        Parameters
        ----------
        compute : computes it
        stopped : whether this rank was asked to stop; called after `compute`

        Returns
        -------
        step : Step
            Loss and gradients are means over the ranks, `counted` is the sum; state and figures are this rank's.
            Gradients are views of one array: the next call writes them anew. On a GPU the loss is there, too.
        stop : bool, whether any rank was asked to stop; with one process False, which needs no telling

        Raises
        ------
        BaseException
            What `compute` raised on one of the ranks.
        ValueError
            The ranks did not count equally much, so that the mean over them means nothing.
        """
        if self._world.comm is None:
            return compute(), False
        error: BaseException | None = None
        try:
            step = compute()
            self._write(step.grads)
            numbers = step.counted, _STOP if stopped() else _WELL
        except BaseException as raised:
            error, step, numbers = raised, Step(0.0, 0, {}), (0, _FAILED)
        loss, told = self._sums.mean(step.loss, numbers, lambda found: self._check(found, error))
        grads = {name: self._views[name].astype(value.dtype, copy=False) for name, value in step.grads.items()}
        whole = step._replace(loss=loss, counted=int(told[:, 0].sum()), grads=grads)
        return whole, bool((told[:, 1] == _STOP).any())

    def close(self) -> None:
        """Give back what the sums took, after the last step; all ranks come here together."""
        if self._world.comm is not None:
            self._sums.close()

    def _write(self, grads: Mapping[str, np.ndarray]) -> None:
        check_gradients("fit", grads, self._parameters, ())
        for name, view in self._views.items():
            view[...] = grads.get(name, 0)

    def _check(self, told: np.ndarray, error: BaseException | None) -> None:
        counts, signs = told.T
        failed = np.flatnonzero(signs == _FAILED)
        if failed.size:
            self._world.raise_together(int(failed[0]), error)
        if (counts != counts[0]).any():
            raise ValueError(
                f"fit: compute must count equally much on every rank, got {', '.join(f'{each:.0f}' for each in counts)}"
            )
