"""The compiled kernels as the optimisers call them: lists of arrays of one device, one call for all of a dtype."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedrnn import _core
from fusedrnn.backends import of_array
from fusedrnn.functional import dense


class Updates(NamedTuple):
    """What one step does to the parameters of one dtype: lists of one length, an entry for each parameter.

    All arrays are C-contiguous and aligned; the gradients may be read-only.
    """

    parameters: list[np.ndarray]
    gradients: list[np.ndarray]
    states: dict[str, list[np.ndarray]]
    rates: list[float]
    decays: list[float]


def update(rule: str, numbers: Sequence[float], updates: Updates, slots: Sequence[str]) -> None:
    """Let a rule of ``csrc/optimisers`` write parameters and states.

    Parameters
    ----------
    rule : its name in ``csrc/optimisers/registry.h``
    numbers : what its header lists under ``kNumbers``
    updates : parameters, gradients, states, learning rates and decays
    slots : names for the states that its header lists under ``kStates``; those not in ``updates.states`` are not kept
    """
    states = [updates.states.get(slot) for slot in slots]
    lists = (updates.parameters, updates.gradients, states, updates.rates, updates.decays)
    of_array(updates.parameters[0]).update(rule, list(numbers), *lists)


def sums_of_squares(arrays: Iterable[np.ndarray]) -> list[Any]:
    """Squares of each array summed in float64, in an order that follows from its shape.

    Each is a float, or on a GPU an array without axes.
    """
    arrays = [dense(array) for array in arrays]
    sums: list[Any] = [0.0] * len(arrays)
    for places in by_dtype(arrays):
        found = of_array(arrays[0]).sums_of_squares([arrays[place] for place in places])
        for number, place in enumerate(places):
            sums[place] = found[number]
    return sums


def scale(arrays: Iterable[np.ndarray], factor: float) -> None:
    """Multiply NumPy arrays by a factor in place, whatever their strides; one that comes twice is multiplied twice."""
    arrays = list(arrays)
    ready = [array for array in arrays if array.flags.c_contiguous and array.flags.aligned]
    for places in by_dtype(ready):
        _core.scale([ready[place] for place in places], factor)
    for array in arrays:
        if not (array.flags.c_contiguous and array.flags.aligned):
            array *= array.dtype.type(factor)


def by_dtype(arrays: Sequence[np.ndarray]) -> list[list[int]]:
    """The places of the arrays of each dtype."""
    places: dict[np.dtype, list[int]] = {}
    for place, array in enumerate(arrays):
        places.setdefault(array.dtype, []).append(place)
    return list(places.values())
