"""Functions on arrays in pairs, ``f_forward`` and ``f_backward``: maps, pooling over time, losses, dropout.

Arrays are NumPy's, or CuPy's on a GPU: what is computed runs where they are, and an array that is elsewhere is a
TypeError. NumPy's functions reach CuPy's arrays by their own protocols (NEP 13 and 18); what has a kernel, or differs
in other ways, is a method of `fusedrnn.backends.Backend`. On a GPU a loss is an array without axes, and ids, targets
and weights are not looked at unless asked for with ``check=True``, so that nothing waits. A bad id gives NaN there.

They keep nothing and change nothing that comes in. Results are C-contiguous, have the dtype of the weights
(or logits, or x), which is float32 or float64, and share no memory with arguments. `where` is the name that
error messages carry: a layer passes its own. Each file holds the mathematics of its functions.

=======  =========================================================================
T, B, C  steps, rows and columns of a padded batch of sequences
K, N     columns in and out of the linear map; N also counts filters
k        steps that a filter of the convolution sees
V, D     rows (the vocabulary) and columns of an embedding; V also counts classes
S        sampled classes
...      any number of axes in front, also none
=======  =========================================================================
"""

from __future__ import annotations

from fusedrnn.functional._checks import dense as dense
from fusedrnn.functional._checks import float_array as float_array
from fusedrnn.functional._padding import kept as kept
from fusedrnn.functional._reduction import REDUCTIONS as REDUCTIONS
from fusedrnn.functional._reduction import Reduction as Reduction
from fusedrnn.functional.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from fusedrnn.functional.conv1d import PADDINGS as PADDINGS
from fusedrnn.functional.conv1d import Padding as Padding
from fusedrnn.functional.conv1d import conv1d_backward, conv1d_forward, conv1d_lengths
from fusedrnn.functional.dropout import dropout_backward, dropout_forward
from fusedrnn.functional.embedding import embedding_backward, embedding_forward
from fusedrnn.functional.linear import linear_backward, linear_forward
from fusedrnn.functional.linear_cross_entropy import (
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from fusedrnn.functional.log_uniform import log_uniform_expected_counts, log_uniform_sample
from fusedrnn.functional.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from fusedrnn.functional.nce import nce_backward, nce_forward
from fusedrnn.functional.pooling import (
    last_pool_backward,
    last_pool_forward,
    max_pool_backward,
    max_pool_forward,
    mean_pool_backward,
    mean_pool_forward,
)
from fusedrnn.functional.softmax_cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward

__all__ = [
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "conv1d_backward",
    "conv1d_forward",
    "conv1d_lengths",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "last_pool_backward",
    "last_pool_forward",
    "linear_backward",
    "linear_cross_entropy_backward",
    "linear_cross_entropy_forward",
    "linear_forward",
    "log_uniform_expected_counts",
    "log_uniform_sample",
    "max_pool_backward",
    "max_pool_forward",
    "mean_pool_backward",
    "mean_pool_forward",
    "mean_squared_error_backward",
    "mean_squared_error_forward",
    "nce_backward",
    "nce_forward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
]
