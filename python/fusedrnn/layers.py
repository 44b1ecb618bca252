"""The public recurrent layers: RNN, GRU, LSTM."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fusedrnn import checks
from fusedrnn.initializers import Initializer
from fusedrnn.recurrent import Recurrent
from fusedrnn.sequences import OneHot

__all__ = ["GRU", "LSTM", "RNN", "LSTMState", "OneHot"]


class RNN(Recurrent):
    """Simple recurrent layers (Elman, 1990).

    .. math:: h_t = \\tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})

    or with max(., 0) in place of tanh.

    Parameters
    ----------
    input_size : I, columns of x
    hidden_size : H, units of each direction
    num_layers : L; each further layer takes the outputs of the one before
    nonlinearity : {"tanh", "relu"}
    bias : whether there are bias vectors
    batch_first : x and y are (B, T, ...) instead of (T, B, ...)
    dropout : probability of dropping an output between two layers in training, 0 <= dropout <= 1
    bidirectional : a second set of layers runs from the end; D = 2 directions, otherwise D = 1
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
    dtype : "float32" or "float64", of the parameters and of all arrays in and out; on a GPU also "float16", "bfloat16"
    precision : "ieee", or "tf32": on a GPU the factors of products of float32 may be rounded to TF32, for speed
    device : "cpu", or "cuda" for CuPy arrays
    seed : of the initial values and the dropout masks, 0 <= seed < 2**64; None takes one from the operating system

    Attributes
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, nonlinearity, dtype, precision,
    device, seed

    Notes
    -----
    ``state_dict()`` has PyTorch's names: for each layer k ``weight_ih_l{k}`` (H, I or D*H), ``weight_hh_l{k}`` (H, H),
    ``bias_ih_l{k}``, ``bias_hh_l{k}`` (H,), and the same with ``_reverse`` for the second direction.

    Examples
    --------
    >>> rnn = fr.RNN(3, 5, seed=0)
    >>> y, h = rnn(np.zeros((7, 2, 3), "float32"))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        init: str | Initializer = "torch",
        dtype: Any = "float32",
        precision: str = "ieee",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        self.nonlinearity = checks.choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            f"rnn_{nonlinearity}",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            init=init,
            dtype=dtype,
            precision=precision,
            device=device,
            seed=seed,
        )


class GRU(Recurrent):
    """Gated recurrent units (Cho et al., 2014), in PyTorch's form: the reset gate acts after the matrix product.

    .. math::
        r_t &= \\sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr}) \\\\
        z_t &= \\sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz}) \\\\
        n_t &= \\tanh(W_{in} x_t + b_{in} + r_t (W_{hn} h_{t-1} + b_{hn})) \\\\
        h_t &= (1 - z_t) n_t + z_t h_{t-1}

    Parameters
    ----------
    input_size : I, columns of x
    hidden_size : H, units of each direction
    num_layers : L; each further layer takes the outputs of the one before
    bias : whether there are bias vectors
    batch_first : x and y are (B, T, ...) instead of (T, B, ...)
    dropout : probability of dropping an output between two layers in training, 0 <= dropout <= 1
    bidirectional : a second set of layers runs from the end; D = 2 directions, otherwise D = 1
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
    dtype : "float32" or "float64", of the parameters and of all arrays in and out; on a GPU also "float16", "bfloat16"
    precision : "ieee", or "tf32": on a GPU the factors of products of float32 may be rounded to TF32, for speed
    device : "cpu", or "cuda" for CuPy arrays
    seed : of the initial values and the dropout masks, 0 <= seed < 2**64; None takes one from the operating system

    Attributes
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, precision, device, seed

    Notes
    -----
    ``state_dict()`` has PyTorch's names and gate order r, z, n: ``weight_ih_l{k}`` (3*H, I or D*H), ``weight_hh_l{k}``
    (3*H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (3*H,), and the same with ``_reverse`` for the second direction.

    Examples
    --------
    >>> gru = fr.GRU(3, 5, bidirectional=True, batch_first=True, seed=0)
    >>> y, h = gru(np.zeros((2, 7, 3), "float32"), lengths=[7, 4])
    >>> y.shape, h.shape
    ((2, 7, 10), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        init: str | Initializer = "torch",
        dtype: Any = "float32",
        precision: str = "ieee",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        super().__init__(
            "gru",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            init=init,
            dtype=dtype,
            precision=precision,
            device=device,
            seed=seed,
        )


class LSTMState(NamedTuple):
    """The state of LSTM layers: outputs `h` (L*D, B, P) and cells `c` (L*D, B, H), index ``layer * D + direction``.

    Examples
    --------
    >>> y, state = fr.LSTM(4, 6, seed=0)(np.ones((5, 3, 4), "float32"))
    >>> state.c.shape
    (1, 3, 6)
    >>> h, c = state
    """

    h: np.ndarray
    c: np.ndarray


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with forget gates (Gers et al., 2000).

    .. math::
        i_t &= \\sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\\\
        f_t &= \\sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\\\
        g_t &= \\tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\\\
        o_t &= \\sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\\\
        c_t &= f_t c_{t-1} + i_t g_t \\\\
        h_t &= o_t \\tanh(c_t)

    and with a projection (Sak et al., 2014) h_t becomes W_hr h_t.

    Parameters
    ----------
    input_size : I, columns of x
    hidden_size : H, units of each direction
    num_layers : L; each further layer takes the outputs of the one before
    bias : whether there are bias vectors
    batch_first : x and y are (B, T, ...) instead of (T, B, ...)
    dropout : probability of dropping an output between two layers in training, 0 <= dropout <= 1
    bidirectional : a second set of layers runs from the end; D = 2 directions, otherwise D = 1
    proj_size : P, columns of a projection of the outputs, smaller than H; 0 for none, then P is H
    forget_bias : of the forget gates at the start, in ``bias_ih`` with zeros in ``bias_hh``; None leaves it to `init`
    init : "torch", "keras" or an initializer, see `fusedrnn.initializers`
    dtype : "float32" or "float64", of the parameters and of all arrays in and out; on a GPU also "float16", "bfloat16"
    precision : "ieee", or "tf32": on a GPU the factors of products of float32 may be rounded to TF32, for speed
    device : "cpu", or "cuda" for CuPy arrays
    seed : of the initial values and the dropout masks, 0 <= seed < 2**64; None takes one from the operating system

    Attributes
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, dtype, precision, device,
    seed

    Notes
    -----
    ``state_dict()`` has PyTorch's names and gate order i, f, g, o: ``weight_ih_l{k}`` (4*H, I or D*P),
    ``weight_hh_l{k}`` (4*H, P), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (4*H,), ``weight_hr_l{k}`` (P, H) with a projection,
    and the same with ``_reverse`` for the second direction.

    Examples
    --------
    >>> lstm = fr.LSTM(3, 5, num_layers=2, seed=0)
    >>> x = np.zeros((7, 2, 3), "float32")
    >>> y, state, saved = lstm.forward(x)
    >>> dx, dstate0, grads = lstm.backward(saved, np.ones_like(y))
    >>> dx.shape, dstate0.c.shape, sorted(grads) == sorted(lstm.state_dict())
    ((7, 2, 3), (2, 2, 5), True)
    """

    state_type = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        forget_bias: float | None = None,
        init: str | Initializer = "torch",
        dtype: Any = "float32",
        precision: str = "ieee",
        device: str = "cpu",
        seed: int | None = None,
    ) -> None:
        if forget_bias is not None:
            limit = float(np.finfo("float32").max)
            forget_bias = checks.real("LSTM", "forget_bias", forget_bias, -limit, limit)
            if not checks.boolean("LSTM", "bias", bias):
                raise ValueError(f"LSTM: forget_bias must be None with bias=False, got {forget_bias}")
        super().__init__(
            "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            init=init,
            dtype=dtype,
            precision=precision,
            device=device,
            seed=seed,
            proj_size=proj_size,
        )
        if forget_bias is not None:
            self._set_forget_bias(forget_bias)

    def _set_forget_bias(self, forget_bias: float) -> None:
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        with self.writable() as parameters:
            for name, value in parameters.items():
                if name.startswith("bias_ih"):
                    value[forget] = forget_bias
                elif name.startswith("bias_hh"):
                    value[forget] = 0
