"""Several processes that train together: what a backend asks of them, and what it does for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np


class Processes(Protocol):
    """Two or more processes that make the same calls in the same order; see `fusedrnn.train.World`."""

    rank: int  # of this process, from 0
    size: int
    comm: Any  # an mpi4py communicator

    def first(self, function: Callable[[], Any]) -> Any:
        """What the function returns, or raises, in process 0, in all of them."""


class Sums(Protocol):
    """A flat array of each process, and the mean of all of them."""

    array: Any  # (size,), of the device; each process writes its own into it

    def mean(self, loss: Any, numbers: Sequence[float], check: Callable[[np.ndarray], None]) -> tuple[Any, np.ndarray]:
        """The mean of `array` over the processes, in place, and of their losses.

        Parameters
        ----------
        loss : a number, or an array without axes of the device
        numbers : K others that each process tells all
        check : called in all processes with what `numbers` were in each, (N, K); raises where there is to be no mean

        Returns
        -------
        loss : the mean, exact or in float64
        told : (N, K) float64, exact
        """

    def close(self) -> None:
        """Give back what was taken; all processes come here when all of them have seen the last mean."""
