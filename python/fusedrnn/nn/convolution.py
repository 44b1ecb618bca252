"""Convolution over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks, functional, initializers
from fusedrnn.backends import of_device
from fusedrnn.module import Module
from fusedrnn.random import initial_generator
from fusedrnn.saved import Saved, expect
from fusedrnn.settings import parameter_dtype


class Conv1d(Module):
    """Convolution over time of padded sequences (T, B, C), with PyTorch's names and shapes of the parameters.

    ``out[t] = bias + Σⱼ weight[:, :, j] · x[t + j - p]`` for j = 0 ... k - 1

    Parameters
    ----------
    in_channels : C, columns of x
    out_channels : N, columns of the output
    kernel_size : k, the steps that an output sees
    padding : {"valid", "same"}
        "valid" (p = 0) takes only windows that lie within a row, so that a row of n steps gives max(n - k + 1, 0);
        "same" (p = (k - 1) // 2) puts zeros before and after a row and keeps its length.
    bias : whether there is a bias vector
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
        "torch" draws weight and bias from uniform(-1/√(C·k), 1/√(C·k)); "keras" the weight as Glorot and Bengio do,
        from uniform(-a, a) with a = √(6 / (k·(C + N))), with zero bias.
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU
    seed : of the initial values; None takes one from the operating system

    Attributes
    ----------
    in_channels, out_channels, kernel_size : int
    padding : str
    dtype : numpy.dtype
    device : str

    Notes
    -----
    ``state_dict()`` has ``weight`` (N, C, k) and, with a bias, ``bias`` (N,).

    Examples
    --------
    >>> conv = fr.nn.Conv1d(3, 2, kernel_size=4, seed=0)
    >>> x = np.ones((6, 2, 3), "float32")
    >>> out, saved = conv.forward(x, lengths=[6, 4])
    >>> out.shape, conv.lengths([6, 4]).tolist()
    ((3, 2, 2), [3, 1])
    >>> dx, grads = conv.backward(saved, np.ones_like(out))
    >>> dx.shape, grads["weight"].shape, grads["bias"].tolist()
    ((6, 2, 3), (2, 3, 4), [4.0, 4.0])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: functional.Padding = "valid",
        bias: bool = True,
        init: str | initializers.Initializer = "torch",
        dtype: Any = "float32",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        where = "Conv1d"
        self.in_channels = checks.integer(where, "in_channels", in_channels, 1)
        self.out_channels = checks.integer(where, "out_channels", out_channels, 1)
        self.kernel_size = checks.integer(where, "kernel_size", kernel_size, 1)
        checks.choice(where, "padding", padding, functional.PADDINGS)
        self.padding = padding
        self.dtype = parameter_dtype(where, dtype)
        self._backend = of_device(where, device)
        self.device = self._backend.name
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_channels, self.in_channels, self.kernel_size)}
        if checks.boolean(where, "bias", bias):
            shapes["bias"] = (self.out_channels,)
        # What a filter sees is to it what the columns of x are to a linear map.
        draw = initializers.resolve_linear(init, self.in_channels * self.kernel_size, where=where)
        generator = initial_generator(seed)
        for name, shape in shapes.items():
            value = initializers.initialise(draw, name, shape, generator, self.dtype, where=where)
            self._add_parameter(name, self._backend.own(value))

    def lengths(self, lengths: Any) -> np.ndarray:
        """Lengths (B,) of the output rows for input rows of `lengths`, a list or array (B,) of integers."""
        return functional.conv1d_lengths(lengths, self.kernel_size, self.padding, where="Conv1d.lengths")

    def __call__(self, x: np.ndarray, *, lengths: Any = None) -> np.ndarray:
        """The output alone, see `forward`."""
        return self._convolve("Conv1d", x, lengths)[0]

    def forward(self, x: np.ndarray, *, lengths: Any = None) -> tuple[np.ndarray, Saved]:
        """Convolve the rows of x.

        Parameters
        ----------
        x : (T, B, C) array
        lengths : list or integer array (B,) in host memory, each 0 <= length <= T; None: all T
            Steps at or beyond a row's length are not read.

        Returns
        -------
        out : (max(T - k + 1, 0), B, N) array with "valid", (T, B, N) with "same"; zero at or beyond the length of
            the output row
        saved : Saved, for one `backward`
        """
        out, inner = self._convolve("Conv1d.forward", x, lengths)
        return out, Saved(self, inner=inner)

    def _convolve(self, where: str, x: np.ndarray, lengths: Any) -> tuple[np.ndarray, Saved]:
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        return functional.conv1d_forward(x, weight, bias, lengths, padding=self.padding, where=where)

    def backward(
        self, saved: Saved, dout: np.ndarray, *, need_dx: bool = True, retain: bool = False
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : array of the shape of the output; at or beyond the length of an output row it is not read
        need_dx : False gives dx = None and saves a matrix product, for a layer whose input is data
        retain : keep `saved` for another backward

        Returns
        -------
        dx : (T, B, C) array or None
        grads : names and shapes of ``state_dict()``

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "Conv1d.backward"
        inner = expect(where, saved).read(where, self).inner
        dx, dweight, dbias = functional.conv1d_backward(inner, dout, need_dx=need_dx, retain=retain, where=where)
        saved.take(where, retain, self)
        grads = {"weight": dweight, "bias": dbias}
        return dx, {name: grads[name] for name in self._parameters}
