"""What one step of training computes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """What one step of training computed, before the weights move.

    Attributes
    ----------
    loss : float, or an array without axes on a GPU; mean over `counted` predictions or rows
    counted : int
    grads : gradients by the names of the parameters; clipping changes them in place
    state : of the recurrent layers after the batch, for the next one
    figures : what joins the step's line in metrics.jsonl, such as the accuracy on the batch; also arrays like `loss`

    Examples
    --------
    >>> fr.train.Step(0.5, 32, {"weight": np.zeros((2, 3))}).state is None
    True
    """

    loss: Any
    counted: int
    grads: dict[str, Any]
    state: Any = None
    figures: Mapping[str, Any] = _NOTHING
