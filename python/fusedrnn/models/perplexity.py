"""Perplexity: how many equally likely tokens would be as hard to guess.

``perplexity = exp(mean over tokens of -log p(token | all tokens before it))``: 1 for a model that is always certain
and right, V for one that finds all V tokens equally likely.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.backends import of_device
from fusedrnn.models.language_model import LanguageModel


def perplexity(nats: float) -> float:
    """The perplexity of a mean cross entropy in nats; infinite beyond what a float holds.

    Examples
    --------
    >>> fr.models.perplexity(0.0), fr.models.perplexity(1e4)
    (1.0, inf)
    """
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def evaluate_perplexity(model: LanguageModel, ids: np.ndarray, *, batch_size: int = 1, steps: int = 128) -> float:
    """Perplexity of a text: every token but the first is predicted exactly once, without dropout.

    Parameters
    ----------
    model : LanguageModel
    ids : (N,) integer array in host memory, N >= 2
    batch_size : B
        With 1 the state is carried over the whole text. With more, the text is cut into B stretches that are read
        side by side, which is faster; each starts from zero state, and its first prediction knows one token.
    steps : T, how many steps are computed at a time; the result does not depend on it, memory does

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Arguments do not fit, or an id is outside the vocabulary.

    Examples
    --------
    A model whose output layer is zero finds all tokens equally likely:

    >>> model = fr.models.LanguageModel(30, 8, init=fr.initializers.zeros(), seed=1)
    >>> round(fr.models.evaluate_perplexity(model, np.arange(30)), 3)
    30.0
    """
    where = "evaluate_perplexity"
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        raise TypeError(f"{where}: ids must be a numpy array of integers, got {checks.describe(ids)}")
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"{where}: ids must have shape (N,), N >= 2, got {ids.shape}")
    steps = checks.integer(where, "steps", steps, 1)
    predictions = len(ids) - 1
    rows = min(checks.integer(where, "batch_size", batch_size, 1), predictions)
    # Row b makes the predictions b*length ... (b+1)*length - 1; the last rows are filled up with ignored ones.
    length = -(-predictions // rows)
    padding = rows * length - predictions
    x = np.pad(ids[:-1], (0, padding)).reshape(rows, length).T
    y = np.pad(ids[1:], (0, padding)).reshape(rows, length).T
    counts = (np.arange(rows * length) < predictions).reshape(rows, length).T

    own = of_device(where, model.device).own
    total: Any = 0.0
    state = None
    for start in range(0, length, steps):
        part = slice(start, start + steps)
        logits, state = model(own(np.ascontiguousarray(x[part])), state)
        weights = None if counts[part].all() else own(np.ascontiguousarray(counts[part]))
        targets = own(np.ascontiguousarray(y[part]))
        loss, _ = functional.softmax_cross_entropy_forward(
            logits, targets, reduction="sum", weights=weights, where=where
        )
        total = total + loss
    return perplexity(float(total) / predictions)
