"""Batches on the way to the device of a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fusedrnn.backends import Backend


def moved(batch: Any, device: Backend) -> Any:
    """A batch whose arrays are on `device`; itself where they are there already.

    Parameters
    ----------
    batch : named tuple or namespace of arrays in host memory and other values
    device : Backend

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from fusedrnn.backends import of_device
    >>> from fusedrnn.train.batches import moved
    >>> batch = SimpleNamespace(x=np.zeros(3), row_offset=0)
    >>> moved(batch, of_device("fit", "cpu")) is batch
    True
    """
    if device.name == "cpu":
        return batch
    fields = batch._asdict() if hasattr(batch, "_asdict") else vars(batch)
    arrays = {name: device.own(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    return batch._replace(**arrays) if hasattr(batch, "_replace") else SimpleNamespace(**(fields | arrays))
