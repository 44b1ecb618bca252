"""Embedding: one row of a table for each id."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks, functional, initializers
from fusedrnn.backends import of_device
from fusedrnn.module import Module
from fusedrnn.random import initial_generator
from fusedrnn.saved import Saved, expect
from fusedrnn.settings import parameter_dtype


class Embedding(Module):
    """Table of vectors, looked up by id.

    Parameters
    ----------
    num_embeddings : V, the number of ids
    embedding_dim : D, columns of a vector
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
        "torch" draws from N(0, 1), "keras" from uniform(-0.05, 0.05).
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU
    seed : of the initial values; None takes one from the operating system

    Attributes
    ----------
    num_embeddings, embedding_dim : int
    dtype : numpy.dtype
    device : str

    Notes
    -----
    ``state_dict()`` has ``weight`` (V, D).

    Examples
    --------
    >>> embedding = fr.nn.Embedding(10, 4, seed=0)
    >>> out, saved = embedding.forward(np.array([[3, 9], [3, 0]]))
    >>> out.shape
    (2, 2, 4)
    >>> _, grads = embedding.backward(saved, np.ones_like(out))
    >>> grads["weight"].sum(axis=1).tolist()
    [4.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        init: str | initializers.Initializer = "torch",
        dtype: Any = "float32",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        where = "Embedding"
        self.num_embeddings = checks.integer(where, "num_embeddings", num_embeddings, 1)
        self.embedding_dim = checks.integer(where, "embedding_dim", embedding_dim, 1)
        self.dtype = parameter_dtype(where, dtype)
        self._backend = of_device(where, device)
        self.device = self._backend.name
        draw = initializers.resolve_embedding(init, where=where)
        shape = (self.num_embeddings, self.embedding_dim)
        generator = initial_generator(seed)
        value = initializers.initialise(draw, "weight", shape, generator, self.dtype, where=where)
        self._add_parameter("weight", self._backend.own(value))

    def __call__(self, ids: np.ndarray, *, check: bool = False) -> np.ndarray:
        """Look up ids (...), integers in [0, V), as (..., D); saves nothing."""
        return functional.embedding_forward(ids, self._parameters["weight"], check=check, where="Embedding")

    def forward(self, ids: np.ndarray, *, check: bool = False) -> tuple[np.ndarray, Saved]:
        """Look up ids (...), integers in [0, V), as (..., D), and keep what `backward` needs: ids, not copied.

        Ids on a GPU are looked at only with `check`, which waits for it; otherwise a bad one gives NaN there.

        Raises
        ------
        TypeError
            `ids` is not an array of integers.
        ValueError
            An id is outside [0, V); the message names the first one and its position.
        """
        where = "Embedding.forward"
        ids = self._backend.integers(where, "ids", ids)
        out = functional.embedding_forward(ids, self._parameters["weight"], check=check, where=where)
        return out, Saved(self, ids=ids)

    def backward(self, saved: Saved, dout: np.ndarray, *, retain: bool = False) -> tuple[None, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : (..., D) array
        retain : keep `saved` for another backward

        Returns
        -------
        din : None, for ids have no gradient
        grads : ``{"weight": (V, D) array}``, zero for ids that did not occur

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "Embedding.backward"
        retain = checks.boolean(where, "retain", retain)
        ids = expect(where, saved).read(where, self).ids
        dout = self._backend.array(where, "dout", dout, self.dtype)
        checks.shape(where, "dout", dout, "(..., D)", (*ids.shape, self.embedding_dim))
        dweight = functional.embedding_backward(ids, dout, self.num_embeddings, where=where)
        saved.take(where, retain, self)
        return None, {"weight": dweight}
