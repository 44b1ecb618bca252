"""How the cells of TensorFlow 1 start: one kernel for input and state together.

`BasicRNNCell` and `BasicLSTMCell` multiply ``[x, h]`` by a single kernel (I + H, G·H). A variable that nobody gives an
initialiser is drawn as Glorot and Bengio (2010) do, by the shape of the whole kernel::

    a = √(6 / (I + H + G·H))        every entry uniform in (-a, a), the recurrent ones too

====  =========================================
I, H  columns of the input, units
G     gates: 1 in an RNN, 4 in an LSTM
====  =========================================

Keras, which keeps two kernels, draws the recurrent one orthogonal; that is what ``init="keras"`` does.
"""

from __future__ import annotations

import math

from fusedrnn import checks, initializers
from fusedrnn.initializers import Initializer


def joined_kernel(inputs: int, hidden: int, gates: int) -> Initializer:
    """The initialiser of recurrent layers, one or several, in one direction: such kernels and zero biases.

    Parameters
    ----------
    inputs : I of the first layer; those above it read the H units below
    hidden : H
    gates : G

    Raises
    ------
    TypeError, ValueError
        One of them is no integer, or below 1.

    Examples
    --------
    >>> from fusedrnn.examples.joined_kernel import joined_kernel
    >>> weights = fr.LSTM(10, 30, 2, init=joined_kernel(10, 30, 4), seed=0).state_dict()
    >>> [round(float(abs(weights[f"weight_hh_l{layer}"]).max()), 2) for layer in (0, 1)]
    [0.19, 0.18]
    """
    inputs = checks.integer("joined_kernel", "inputs", inputs, 1)
    hidden = checks.integer("joined_kernel", "hidden", hidden, 1)
    gates = checks.integer("joined_kernel", "gates", gates, 1)
    first, further = (math.sqrt(6 / (columns + hidden + gates * hidden)) for columns in (inputs, hidden))
    rules = {
        "weight_*_l0": initializers.uniform(-first, first),
        "weight_*": initializers.uniform(-further, further),
    }
    return initializers.by_name(rules, initializers.zeros())
