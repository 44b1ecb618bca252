"""Rows of a table, looked up by id.

With a table W (V, D)::

    out[...] = W[ids[...]]                                                      (1)
    dW[v] = Σ dout[...]   over the places where ids[...] = v                    (2)
"""

from __future__ import annotations

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array
from fusedrnn.functional._checks import as_matrix, check_ids, float_array


def embedding_forward(
    ids: np.ndarray, weight: np.ndarray, *, check: bool = False, where: str = "embedding_forward"
) -> np.ndarray:
    """Look up rows: ``out[...] = weight[ids[...]]``.

    Parameters
    ----------
    ids : (...) array of any integer dtype, each 0 <= id < V
    weight : (V, D) array
    check : also look at ids that are on a GPU, which waits for it
        Elsewhere they are looked at in any case. There, a bad one gives NaN.

    Returns
    -------
    (..., D) array

    Raises
    ------
    TypeError
        `ids` is not an array of integers, or `weight` not of floats.
    ValueError
        An id is outside [0, V); the message names the first one and its position.

    Examples
    --------
    >>> fr.functional.embedding_forward(np.array([1, 1, 0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [3., 4.],
           [1., 2.]])
    """
    weight = float_array(where, "weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"{where}: weight must have shape (V, D), got {weight.shape}")
    device, check = of_array(weight), checks.boolean(where, "check", check)
    index = check_ids(where, "ids", ids, len(weight), device=device, check=check)
    out: np.ndarray = device.take_rows(weight, index)
    return out


def embedding_backward(
    ids: np.ndarray, dout: np.ndarray, vocabulary_size: int, *, where: str = "embedding_backward"
) -> np.ndarray:
    """Gradient of `embedding_forward`: rows of `dout` are summed by id, always in the order in which they lie.

    Parameters
    ----------
    ids : (...) array of any integer dtype, as in the forward call
    dout : (..., D) array
    vocabulary_size : V

    Returns
    -------
    (V, D) array, zero for ids that do not occur

    Examples
    --------
    >>> fr.functional.embedding_backward(np.array([1, 1]), np.array([[1.0, 2.0], [30.0, 40.0]]), 2)
    array([[ 0.,  0.],
           [31., 42.]])
    """
    size = checks.integer(where, "vocabulary_size", vocabulary_size, 1)
    dout = float_array(where, "dout", dout)
    device = of_array(dout)
    index = check_ids(where, "ids", ids, size, device=device)
    if dout.ndim < 1 or dout.shape[:-1] != index.shape:
        raise ValueError(f"{where}: dout must have shape (..., D) = ({_listed(index.shape)}D), got {dout.shape}")
    dweight: np.ndarray = device.sum_rows(index.reshape(-1), as_matrix(dout), size)
    return dweight


def _listed(shape: tuple[int, ...]) -> str:
    return "".join(f"{size}, " for size in shape)
