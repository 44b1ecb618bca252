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

On a GPU the candidates are drawn in host memory and moved: the draw depends on no value there, so nothing waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import Backend, of_array
from fusedrnn.functional._checks import as_matrix, dense, float_array
from fusedrnn.functional._reduction import Reduction, positions
from fusedrnn.functional._sigmoid import sigmoid_losses
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
    check: bool = False,
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
    check : also look at targets that are on a GPU, which waits for it
        Elsewhere they are looked at in any case. There, a bad one makes the loss NaN.

    Returns
    -------
    loss : float, summed in float64; on a GPU an array without axes of it
        With "none" a (...) array of the dtype of `x`
    saved : Saved, for one `nce_backward`; it refers to x and the weight

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
    x, weight, bias = _check_arrays(where, x, weight, bias)
    remove = checks.boolean(where, "remove_accidental_hits", remove_accidental_hits)
    at = positions(where, reduction, weights, x, x.shape[:-1])
    target = at.targets(where, targets, len(weight), check=check)
    sampled, tries = log_uniform_sample(
        num_sampled, len(weight), unique=unique, seed=seed, site=site, step=step, where=where
    )

    rows = as_matrix(x)
    if at.used is not None:  # what is not used may be no number, and 0 times that would not be 0
        rows = np.where(at.used[:, None], rows, x.dtype.type(0))
    classes = target, at.device.own(sampled)
    counts = [log_uniform_expected_counts(ids, tries, len(weight), unique=unique) for ids in classes]
    shifts = [
        _entries(at.device, bias, ids) - np.log(count).astype(x.dtype)
        for ids, count in zip(classes, counts, strict=True)
    ]
    losses, da, dz = _compare(at.device, rows, weight, classes, shifts, remove)
    saved = Saved(nce_forward, rows=rows, weight=weight, classes=classes, da=da, dz=dz, at=at)
    return at.reduce(losses), saved


def _entries(device: Backend, vector: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Entries of vector (V,) that ids (R,) name; NaN for ids that are not checked and not there."""
    found: np.ndarray = device.take_rows(vector.reshape(-1, 1), ids).reshape(-1)
    return found


def _compare(
    device: Backend,
    rows: np.ndarray,
    weight: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray],
    shifts: list[np.ndarray],
    remove: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equations (1) to (4): losses (R,) in float64, and da (R,) and dz (R, S) but for r; `shifts` are b - log Q."""
    target, sampled = classes
    a = (rows * device.take_rows(weight, target)).sum(axis=1) + shifts[0]
    z = device.product(rows, device.take_rows(weight, sampled).T, shifts[1])
    true_losses, true_sigmoid = sigmoid_losses(a.astype(np.float64), 1.0)
    noise_losses, noise_sigmoid = sigmoid_losses(z.astype(np.float64), 0.0)
    if remove:
        hits = target[:, None] == sampled
        noise_losses, noise_sigmoid = np.where(hits, 0.0, noise_losses), np.where(hits, 0.0, noise_sigmoid)
    return true_losses + noise_losses.sum(axis=1), true_sigmoid - 1.0, noise_sigmoid.astype(rows.dtype)


def _check_arrays(where: str, x: Any, weight: Any, bias: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight = float_array(where, "weight", weight)
    device = of_array(weight)
    x = device.array(where, "x", x, weight.dtype)
    if weight.ndim != 2 or not len(weight):
        raise ValueError(f"{where}: weight must have shape (V, D) with V >= 1, got {weight.shape}")
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"{where}: x must have shape (..., D) = (..., {weight.shape[1]}), got {x.shape}")
    bias = device.array(where, "bias", bias, weight.dtype)
    checks.shape(where, "bias", bias, "(V,)", weight.shape[:1])
    return x, dense(weight), dense(bias)


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
    r = s.at.coefficients(where, dloss)
    if s.at.used is not None:
        r = np.where(s.at.used, r, 0.0)
    saved.take(where, retain, nce_forward)
    device, (target, sampled), size = s.at.device, s.classes, len(s.weight)
    # a = x · W[y] + ..., zₛ = x · W[cₛ] + ...
    da = (r * s.da).astype(s.at.dtype)
    dz = r.astype(s.at.dtype)[:, None] * s.dz
    dx = da[:, None] * device.take_rows(s.weight, target) + device.product(dz, device.take_rows(s.weight, sampled))
    ids = np.concatenate([target, sampled])
    pulls = np.concatenate([da[:, None] * s.rows, device.product(dz.T, s.rows)])
    bias_pulls = np.concatenate([da, dz.sum(axis=0)]).astype(np.float64)[:, None]
    dweight, dbias = device.sum_rows(ids, pulls, size), device.sum_rows(ids, bias_pulls, size)[:, 0]
    return dx.reshape(*s.at.shape, s.weight.shape[1]), dweight, dbias.astype(s.at.dtype)
