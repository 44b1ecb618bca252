"""What a step leaves on a GPU until somebody has to know it.

To look at a loss is to wait for the device, which would run dry while the next step is being queued. So losses and
norms are kept as they come and read together, when a record, a checkpoint or the end of an epoch needs them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fusedrnn.backends import Backend

MOST = 1000  # steps that go by unread at most, so that a loss that is not finite stops the run some day


class Outcome(NamedTuple):
    """What a step came to: `loss` and `norm` are numbers, or arrays without axes on a GPU."""

    step: int
    loss: Any
    norm: Any
    counted: int


class Unread:
    """Outcomes in the order of their steps.

    Parameters
    ----------
    device : Backend, of the model

    Examples
    --------
    >>> from fusedrnn.backends import of_device
    >>> from fusedrnn.train.unread import Outcome, Unread
    >>> unread = Unread(of_device("fit", "cpu"))
    >>> unread.add(Outcome(0, 0.5, 1.25, 32))
    >>> unread.read()
    [Outcome(step=0, loss=0.5, norm=1.25, counted=32)]
    """

    def __init__(self, device: Backend) -> None:
        self._device = device
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Keep one more."""
        self._outcomes.append(outcome)

    @property
    def full(self) -> bool:
        """Whether it is time to read them."""
        return len(self._outcomes) >= MOST

    def read(self) -> list[Outcome]:
        """All that were kept, as numbers, after waiting for them; none are kept any longer.

        Raises
        ------
        ValueError
            A loss or a norm is not finite; the message names the first such step.
        """
        kept, self._outcomes = self._outcomes, []
        if not kept:
            return []
        losses = self._device.read([outcome.loss for outcome in kept])
        norms = self._device.read([outcome.norm for outcome in kept])
        found = [
            outcome._replace(loss=loss, norm=norm) for outcome, loss, norm in zip(kept, losses, norms, strict=True)
        ]
        for outcome in found:
            check_finite("loss", outcome.loss, outcome.step)
            check_finite("norm of all gradients", outcome.norm, outcome.step)
        return found


def check_finite(what: str, value: float, step: int) -> None:
    """Raise ValueError unless `value` is finite."""
    if not math.isfinite(value):
        raise ValueError(
            f"fit: the {what} must be finite, got {value} in step {step}; try a smaller learning rate, a"
            " smaller clip_norm or smaller initial weights"
        )
