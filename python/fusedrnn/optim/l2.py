"""The L2 penalty: half the sum of squares of chosen parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.module import Module
from fusedrnn.optim.base import check_gradients
from fusedrnn.optim.groups import as_patterns, each_matches, matches
from fusedrnn.optim.kernels import sums_of_squares
from fusedrnn.optim.scalars import nonnegative


def l2_penalty(
    module: Module, grads: Mapping[str, np.ndarray], weight: float, match: str | Sequence[str] | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """``weight · ½ Σ v²`` over the chosen parameters, and gradients with its own, ``weight · v``, added.

    The sum of ``tf.nn.l2_loss`` over variables, times a weight, as programs of TensorFlow 1 add it to their loss. With
    `SGD`, `Adam`, `Adagrad` and `RMSprop` the same steps come cheaper from ``weight_decay=weight`` and a `Group` for
    the rest; this is for whoever needs the value, or clips the gradient with the penalty in it.

    Parameters
    ----------
    module : whose parameters are looked at
    grads : parameter names to arrays of the parameters' shapes and dtypes; needed for those chosen
    weight : number >= 0
    match : shell pattern or sequence of them, as in `Group`
        None chooses every parameter whose name lacks ``bias``.

    Returns
    -------
    loss : float, or on a GPU an array without axes; summed in float64, in an order that follows from the shapes
    grads : a new mapping
        Holds new arrays for the chosen parameters and those that came for the others. The mapping and the arrays that
        came are not changed.

    Raises
    ------
    TypeError, ValueError
        Names, shapes or dtypes do not fit, or a pattern matches no parameter.

    Examples
    --------
    >>> linear = fr.nn.Linear(2, 1, init=fr.initializers.normal(0.0, mean=1.0), dtype="float64")
    >>> grads = {"weight": np.array([[3.0, 4.0]]), "bias": np.array([5.0])}
    >>> loss, with_penalty = fr.optim.l2_penalty(linear, grads, 0.5)
    >>> loss, with_penalty["weight"].tolist(), with_penalty["bias"].tolist()
    (0.5, [[3.5, 4.5]], [5.0])
    """
    where = "l2_penalty"
    if not isinstance(module, Module):
        raise TypeError(f"{where}: module must be a Module, got {checks.describe(module)}")
    weight = nonnegative(where, "weight", weight)
    parameters = module.parameters()
    chosen = _chosen(where, list(parameters), match)
    found = check_gradients(where, grads, parameters, chosen)
    total, added = sum(sums_of_squares(parameters[name] for name in chosen)), dict(grads)
    for name in chosen:
        gradient = np.multiply(parameters[name], weight, out=np.empty_like(parameters[name]))
        gradient += found[name]
        added[name] = gradient
    return weight * total / 2, added


def _chosen(where: str, names: list[str], match: str | Sequence[str] | None) -> list[str]:
    if match is None:
        return [name for name in names if "bias" not in name]
    patterns = as_patterns(where, match)
    each_matches(where, "match", patterns, names)
    return [name for name in names if matches(name, patterns)]
