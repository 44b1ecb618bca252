"""Layers around the recurrent ones: embedding, linear map, dropout and losses.

All follow one pair, ``forward(...) -> (out, saved)`` and ``backward(saved, dout) -> (din, grads)``, with the keys
of ``grads`` those of ``state_dict()``; a loss returns the gradient alone. ``layer(x)`` is inference: it saves
nothing. `saved` refers to the input and to the weights, which must not change before ``backward``; it serves
one ``backward``, or more with ``retain=True``.
"""

from __future__ import annotations

from fusedrnn.nn.dropout import Dropout
from fusedrnn.nn.embedding import Embedding
from fusedrnn.nn.linear import Linear
from fusedrnn.nn.losses import SoftmaxCrossEntropy

__all__ = ["Dropout", "Embedding", "Linear", "SoftmaxCrossEntropy"]
