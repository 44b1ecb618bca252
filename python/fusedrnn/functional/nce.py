"""Noise contrastive estimation (Gutmann and Hyvärinen, 2010), as TensorFlow's ``nce_loss`` computes it.

Instead of a softmax over V classes, each row tells its class y from S candidates c₁ ... c_S, which all rows share and
which are drawn as in `log_uniform`. With a row x (D), weights W (V, D), biases b (V), and the expected counts Q(v) of
the classes among the candidates::

    a = x · W[y] + b[y] - log Q(y)                                              (1)
    zₛ = x · W[cₛ] + b[cₛ] - log Q(cₛ)                                          (2)
    loss = w · (-log σ(a) - Σₛ log(1 - σ(zₛ)))                                  (3)

With w the weight of a row, d what its loss is divided by, and r = dloss · w / d::

    da = r · (σ(a) - 1),   dzₛ = r · σ(zₛ)                                      (4)
    dx = da · W[y] + Σₛ dzₛ · W[cₛ]                                             (5)
    dW[v] = Σ da · x  over rows with y = v  +  Σ dzₛ · x  over rows and the s with cₛ = v      (6)
    db[v] = Σ da      over rows with y = v  +  Σ dzₛ      over rows and the s with cₛ = v      (7)

A candidate that is the row's own class (an accidental hit) counts like any other, or is left out of (3) to (7).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.functional._checks import as_matrix, host_float_array, product
from fusedrnn.functional._reduction import Reduction, positions
from fusedrnn.functional._sigmoid import sigmoid_losses
from fusedrnn.functional.embedding import embedding_backward
from fusedrnn.functional.log_uniform import log_uniform_expected_counts, log_uniform_sample
from fusedrnn.saved import Saved, expect


def nce_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    targets: np.ndarray,
    *,
    num_sampled: int,
    seed: int,
    site: int = 0,
    step: int = 0,
    unique: bool = True,
    remove_accidental_hits: bool = False,
    reduction: Reduction = "mean",
    weights: np.ndarray | None = None,
    where: str = "nce_forward",
) -> tuple[float | np.ndarray, Saved]:
    """Loss of telling the class of each row from sampled classes, equation (3).

    Parameters
    ----------
    x : (..., D) array
    weight : (V, D) array; row 0 belongs to the most frequent class
    bias : (V,) array
    targets : (...) array of any integer dtype, each 0 <= target < V
    num_sampled : S, the number of candidates
    seed, site, step, unique : of the candidates, see `log_uniform_sample`; a trainer passes its step count
    remove_accidental_hits : leave a candidate out of the rows whose target it is
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights (the number of rows without weights).
    weights : (...) array of the dtype of `x`, or bool, optional
        A row of weight 0 is ignored: x and its target are not read and its gradient is zero.

    Returns
    -------
    loss : float, summed in float64; with "none" a (...) array of the dtype of `x`
    saved : Saved, for one `nce_backward`

    Raises
    ------
    TypeError
        An argument is no array, or of a dtype that is not stated above.
    ValueError
        Shapes do not fit, a target is outside [0, V), a number is out of its range, a weight is not finite, or the
        weights that "mean" divides by do not have a positive sum.

    Notes
    -----
    It is a loss for training. What a model makes of all classes is the softmax of ``x · weightᵀ + bias``.

    Examples
    --------
    >>> x, weight, bias = np.ones((2, 3)), np.zeros((50, 3)), np.zeros(50)
    >>> loss, saved = fr.functional.nce_forward(x, weight, bias, np.array([4, 7]), num_sampled=5, seed=1)
    >>> dx, dweight, dbias = fr.functional.nce_backward(saved)
    >>> dx.shape, dweight.shape, int(np.count_nonzero(dbias)) <= 7
    ((2, 3), (50, 3), True)
    """
    x, weight = _check_arrays(where, x, weight, bias)
    remove = checks.boolean(where, "remove_accidental_hits", remove_accidental_hits)
    at = positions(where, reduction, weights, x, x.shape[:-1])
    used = np.ones(at.count, bool) if at.used is None else at.used
    target = at.targets(where, targets, len(weight))[used]
    sampled, tries = log_uniform_sample(
        num_sampled, len(weight), unique=unique, seed=seed, site=site, step=step, where=where
    )

    rows = as_matrix(x)[used]
    counts = [log_uniform_expected_counts(ids, tries, len(weight), unique=unique) for ids in (target, sampled)]
    shifts = [bias[ids] - np.log(count).astype(x.dtype) for ids, count in zip((target, sampled), counts, strict=True)]
    found, da, dz = _compare(rows, weight, (target, sampled), shifts, remove)
    losses = np.zeros(at.count)
    losses[used] = found
    saved = Saved(nce_forward, rows=rows, weight=weight, target=target, sampled=sampled, da=da, dz=dz, used=used, at=at)
    return at.reduce(losses), saved


def _compare(
    rows: np.ndarray,
    weight: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray],
    shifts: list[np.ndarray],
    remove: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equations (1) to (4): losses (R,) in float64, and da (R,) and dz (R, S) but for r; `shifts` are b - log Q."""
    target, sampled = classes
    a = (rows * weight[target]).sum(axis=1) + shifts[0]
    z = product(rows, weight[sampled].T, shifts[1])
    true_losses, true_sigmoid = sigmoid_losses(a.astype(np.float64), 1.0)
    noise_losses, noise_sigmoid = sigmoid_losses(z.astype(np.float64), 0.0)
    if remove:
        hits = target[:, None] == sampled
        noise_losses[hits] = noise_sigmoid[hits] = 0.0
    return true_losses + noise_losses.sum(axis=1), true_sigmoid - 1.0, noise_sigmoid.astype(rows.dtype)


def _check_arrays(where: str, x: Any, weight: Any, bias: Any) -> tuple[np.ndarray, np.ndarray]:
    weight = host_float_array(where, "weight", weight)
    x = checks.array(where, "x", x, weight.dtype)
    if weight.ndim != 2 or not len(weight):
        raise ValueError(f"{where}: weight must have shape (V, D) with V >= 1, got {weight.shape}")
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"{where}: x must have shape (..., D) = (..., {weight.shape[1]}), got {x.shape}")
    checks.shape(where, "bias", checks.array(where, "bias", bias, weight.dtype), "(V,)", weight.shape[:1])
    return x, weight


def nce_backward(
    saved: Saved,
    dloss: float | np.ndarray = 1.0,
    *,
    retain: bool = False,
    where: str = "nce_backward",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `nce_forward`, equations (5) to (7).

    Parameters
    ----------
    saved : what the forward call returned; used up unless `retain`
    dloss : number, or with reduction "none" a (...) array of the dtype of `x`
    retain : keep `saved` for another backward

    Returns
    -------
    dx : (..., D) array
    dweight : (V, D) array, zero for classes that are neither a target nor a candidate
    dbias : (V,) array, likewise

    Raises
    ------
    RuntimeError
        `saved` was used up by an earlier backward.

    Examples
    --------
    The only class is target and candidate at once, and what pulls at its bias cancels:

    >>> x, weight, bias = np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1)
    >>> loss, saved = fr.functional.nce_forward(x, weight, bias, np.array([0]), num_sampled=1, seed=0)
    >>> dx, dweight, dbias = fr.functional.nce_backward(saved)
    >>> dbias.tolist()
    [0.0]
    """
    s = expect(where, saved).read(where, nce_forward)
    retain = checks.boolean(where, "retain", retain)
    r = s.at.coefficients(where, dloss)[s.used]
    saved.take(where, retain, nce_forward)
    # a = x · W[y] + ..., zₛ = x · W[cₛ] + ...
    da = (r * s.da).astype(s.at.dtype)
    dz = r.astype(s.at.dtype)[:, None] * s.dz
    dx = np.zeros((s.at.count, s.weight.shape[1]), s.at.dtype)
    dx[s.used] = da[:, None] * s.weight[s.target] + product(dz, s.weight[s.sampled])
    ids = np.concatenate([s.target, s.sampled])
    dweight = embedding_backward(ids, np.concatenate([da[:, None] * s.rows, product(dz.T, s.rows)]), len(s.weight))
    pulls = np.concatenate([da, dz.sum(axis=0)])
    dbias = np.bincount(ids, weights=pulls, minlength=len(s.weight)).astype(s.at.dtype)
    return dx.reshape(*s.at.shape, s.weight.shape[1]), dweight, dbias
