"""How a run went, and which of its epochs was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Best:
    """Which epoch is the best one, and when to give up waiting for a better one.

    Attributes
    ----------
    figure : name of a figure that ``on_epoch`` returns
    highest : whether more is better
    patience : epochs without a better one after which training stops; None: it goes on

    Examples
    --------
    >>> fr.train.Best("accuracy", patience=3).better(0.9, than=0.8)
    True
    """

    figure: str
    highest: bool = True
    patience: int | None = None

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` is better than the best one so far; NaN is never."""
        if than is None:
            return not math.isnan(value)
        return value > than if self.highest else value < than


class FitResult(NamedTuple):
    """How a run went.

    Attributes
    ----------
    steps, epochs : how many were made
    loss : mean over the last whole epoch, or over what there was of the first one
    counted : predictions or rows that were trained on
    seconds : spent in training steps
    per_second : their quotient
    best_epoch : number of the best one, from 1; 0 where none was asked for

    Examples
    --------
    >>> result = fr.train.FitResult(10, 1, loss=0.5, counted=640, seconds=2.0, per_second=320.0, best_epoch=0)
    >>> result.counted == result.seconds * result.per_second
    True
    """

    steps: int
    epochs: int
    loss: float
    counted: int
    seconds: float
    per_second: float
    best_epoch: int
