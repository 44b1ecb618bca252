"""Batches on the way to the device of a model.

Everything goes there but ``lengths``: those of a batch of sequences are wanted in host memory wherever the sequences
are, for how much there is to compute follows from them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fusedrnn.backends import Backend


def moved(batch: Any, device: Backend) -> Any:
    """A batch whose arrays, but for its `lengths`, are on `device`; itself where they are there already.

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
    going = {name: value for name, value in fields.items() if isinstance(value, np.ndarray) and name != "lengths"}
    arrays = {name: device.own(value) for name, value in going.items()}
    return batch._replace(**arrays) if hasattr(batch, "_replace") else SimpleNamespace(**(fields | arrays))
