"""Linear map ``out = x · weightᵀ + bias``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks, functional, initializers
from fusedrnn.backends import of_device
from fusedrnn.module import Module
from fusedrnn.random import initial_generator
from fusedrnn.saved import Saved, expect
from fusedrnn.settings import parameter_dtype


class Linear(Module):
    """Linear map over the last axis, ``out = x · weightᵀ + bias``, with PyTorch's names and shapes.

    Parameters
    ----------
    in_features : K, columns of x
    out_features : N, columns of the output
    bias : whether there is a bias vector
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
        "torch" draws weight and bias from uniform(-1/√K, 1/√K); "keras" the weight as Glorot and Bengio do, with
        zero bias.
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU
    seed : of the initial values; None takes one from the operating system

    Attributes
    ----------
    in_features, out_features : int
    dtype : numpy.dtype
    device : str

    Notes
    -----
    ``state_dict()`` has ``weight`` (N, K) and, with a bias, ``bias`` (N,).

    Examples
    --------
    >>> linear = fr.nn.Linear(3, 2, seed=0)
    >>> x = np.ones((5, 4, 3), "float32")
    >>> out, saved = linear.forward(x)
    >>> out.shape
    (5, 4, 2)
    >>> dx, grads = linear.backward(saved, np.ones_like(out))
    >>> dx.shape, grads["weight"].shape, grads["bias"].tolist()
    ((5, 4, 3), (2, 3), [20.0, 20.0])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        init: str | initializers.Initializer = "torch",
        dtype: Any = "float32",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.in_features = checks.integer("Linear", "in_features", in_features, 1)
        self.out_features = checks.integer("Linear", "out_features", out_features, 1)
        self.dtype = parameter_dtype("Linear", dtype)
        self._backend = of_device("Linear", device)
        self.device = self._backend.name
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        if checks.boolean("Linear", "bias", bias):
            shapes["bias"] = (self.out_features,)
        draw = initializers.resolve_linear(init, self.in_features, where="Linear")
        generator = initial_generator(seed)
        for name, shape in shapes.items():
            value = initializers.initialise(draw, name, shape, generator, self.dtype, where="Linear")
            self._add_parameter(name, self._backend.own(value))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Map x (..., K) to (..., N); saves nothing."""
        return self._map("Linear", x)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        """Map x (..., K) to (..., N) and keep what `backward` needs: x and the weight, not copied."""
        out = self._map("Linear.forward", x)
        return out, Saved(self, x=x, weight=self._parameters["weight"])

    def _map(self, where: str, x: np.ndarray) -> np.ndarray:
        parameters = self._parameters
        return functional.linear_forward(x, parameters["weight"], parameters.get("bias"), where=where)

    def backward(
        self, saved: Saved, dout: np.ndarray, *, need_dx: bool = True, retain: bool = False
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : (..., N) array
        need_dx : False gives dx = None and saves a matrix product, for a layer whose input is data
        retain : keep `saved` for another backward

        Returns
        -------
        dx : (..., K) array or None
        grads : names and shapes of ``state_dict()``

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "Linear.backward"
        retain = checks.boolean(where, "retain", retain)
        fields = expect(where, saved).read(where, self)
        dx, dweight, dbias = functional.linear_backward(fields.x, fields.weight, dout, need_dx=need_dx, where=where)
        saved.take(where, retain, self)
        grads = {"weight": dweight, "bias": dbias}
        return dx, {name: grads[name] for name in self._parameters}
