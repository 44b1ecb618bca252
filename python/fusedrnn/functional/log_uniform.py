"""The log-uniform (Zipfian) sampler of candidate classes.

Of V classes, numbered by falling frequency, class v is drawn with probability::

    p(v) = (log(v + 2) - log(v + 1)) / log(V + 1)                               (1)
    Σ p(0) ... p(v) = log(v + 2) / log(V + 1)                                   (2)

so that ⌊exp(u · log(V + 1))⌋ - 1 is such a draw for a uniform u in [0, 1). In S candidates that took n draws, class v
is expected this many times::

    S · p(v)              with replacement, n = S                               (3)
    1 - (1 - p(v))ⁿ       unique: draws are repeated until S classes differ     (4)

Both are those of TensorFlow's ``log_uniform_candidate_sampler``. (4) takes n as given, which n is not (it depends on
what was drawn), so it holds nearly, not exactly.

The draws are a function of their coordinates, as the masks of dropout are (`fusedrnn.random`): u of draw i is made of
the words of the columns 2·i and 2·i + 1 of row 0; after 2**26 columns the next t follows. They are made in host memory:
nothing that a device computes is needed for them.
"""

from __future__ import annotations

import math

import numpy as np

from fusedrnn import checks, random
from fusedrnn.backends import is_on_gpu, of_array, of_device
from fusedrnn.functional._checks import check_ids


def log_uniform_sample(
    num_sampled: int,
    vocabulary_size: int,
    *,
    unique: bool = True,
    seed: int,
    site: int = 0,
    step: int = 0,
    where: str = "log_uniform_sample",
) -> tuple[np.ndarray, int]:
    """Draw candidate classes.

    Parameters
    ----------
    num_sampled : S >= 1, with `unique` at most V
    vocabulary_size : V, the number of classes; class 0 is the most frequent
    unique : whether the candidates differ; without, a class may come several times
    seed, site, step : coordinates of the draws, see `fusedrnn.random`
        The same coordinates give the same candidates. A dropout with the same seed needs another site.

    Returns
    -------
    ids : (S,) array of ``numpy.intp``, in the order in which they were drawn first
    num_tries : n, the number of draws that it took; S without `unique`

    Raises
    ------
    TypeError
        An argument is of another type than stated.
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> ids, tries = fr.functional.log_uniform_sample(4, 1000, seed=3, step=7)
    >>> ids.shape, len(set(ids.tolist())), tries >= 4
    ((4,), 4, True)
    >>> again, _ = fr.functional.log_uniform_sample(4, 1000, seed=3, step=7)
    >>> bool((again == ids).all())
    True
    """
    size = checks.integer(where, "vocabulary_size", vocabulary_size, 1)
    unique = checks.boolean(where, "unique", unique)
    wanted = checks.integer(where, "num_sampled", num_sampled, 1, size if unique else None)
    random.check_coordinates(where, (1, 1, 1), seed=seed, site=site, step=step, row_offset=0)
    if not unique:
        return _draws(0, wanted, size, seed, site, step), wanted
    found = np.empty(0, np.intp)
    drawn, tries = 0, 0
    while len(found) < wanted:
        draws = _draws(drawn, 2 * wanted, size, seed, site, step)
        _, first = np.unique(np.concatenate([found, draws]), return_index=True)
        # Places after those already found are new classes.
        new = np.sort(first[first >= len(found)])[: wanted - len(found)] - len(found)
        if len(new):
            tries = drawn + int(new[-1]) + 1
        found = np.concatenate([found, draws[new]])
        drawn += len(draws)
    return found, tries


def _draws(start: int, count: int, size: int, seed: int, site: int, step: int) -> np.ndarray:
    """Draws start ... start + count - 1 of the classes."""
    blocks = np.arange(start // 2, (start + count + 1) // 2, dtype=np.uint64)  # two draws of two words each
    counter = np.zeros((len(blocks), 4), np.uint64)
    counter[:, 0] = np.uint64(site << 24) | (blocks & np.uint64(2**24 - 1))
    counter[:, 1] = blocks >> np.uint64(24)
    counter[:, 3] = step
    words = random.philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(-1, 2).astype(np.uint64)
    # 53 bits, which is what a float64 holds.
    u = ((words[:, 0] >> np.uint64(5)) * 2.0**26 + (words[:, 1] >> np.uint64(6))) / 2.0**53
    ids = np.exp(u * math.log(size + 1)).astype(np.intp) - 1
    # exp may round up to V + 1.
    chosen: np.ndarray = np.minimum(ids, size - 1)[start % 2 :][:count]
    return chosen


def log_uniform_expected_counts(
    ids: np.ndarray,
    num_tries: int,
    vocabulary_size: int,
    *,
    unique: bool = True,
    where: str = "log_uniform_expected_counts",
) -> np.ndarray:
    """How often classes are expected among candidates, equations (3) and (4).

    Parameters
    ----------
    ids : (...) array of any integer dtype, each 0 <= id < V; candidates or any others
        On a GPU their values are not looked at, since that waits for it, and a bad one gives a number of no meaning.
    num_tries : n >= 1, the number of draws that `log_uniform_sample` returned
    vocabulary_size : V
    unique : as the candidates were drawn

    Returns
    -------
    (...) array of float64

    Raises
    ------
    TypeError
        An argument is of another type than stated.
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> counts = fr.functional.log_uniform_expected_counts(np.arange(10), 5, 10, unique=False)
    >>> round(float(counts.sum()), 12)
    5.0
    """
    size = checks.integer(where, "vocabulary_size", vocabulary_size, 1)
    tries = checks.integer(where, "num_tries", num_tries, 1)
    unique = checks.boolean(where, "unique", unique)
    device = of_array(ids) if is_on_gpu(ids) else of_device(where, "cpu")
    index = check_ids(where, "ids", ids, size, device=device)
    counts: np.ndarray = device.empty(index.shape, np.dtype(np.float64))
    with np.errstate(divide="ignore"):  # the only class of V = 1 is drawn for certain: log(1 - p) is minus infinity
        p = np.log1p(1.0 / (index + 1.0)) / math.log1p(size)
        counts[...] = -np.expm1(tries * np.log1p(-p)) if unique else tries * p
    return counts
