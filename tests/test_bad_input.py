"""Bad calls made out of good ones: what they raise, what the message says, and that they change nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from problems import parts_of

import fusedrnn as fr
from fusedrnn.recurrent import Recurrent

# "function: argument must rule, got what came", in one line.
FORM = re.compile(r"[\w.]+: [^\n]*\b(must|names)\b[^\n]*\b(got|missing|unknown|both|used it up)\b[^\n]*")

generator = np.random.default_rng(3)


def draw(*shape: int, dtype: str = "float32") -> np.ndarray:
    return generator.normal(size=shape).astype(dtype)


def foreign(value: np.ndarray) -> np.ndarray:
    """The same values in the byte order of other machines."""
    return value.astype(value.dtype.newbyteorder())


# ---- good calls ------------------------------------------------------------------------------------------------------

# An LSTM with all features; a GRU with batch_first; an RNN for unbatched input.
LAYERS: dict[str, Any] = {
    "LSTM": (fr.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 4}),
    "GRU": (fr.GRU, {"batch_first": True}),
    "RNN": (fr.RNN, {"nonlinearity": "tanh"}),
}
CALLS: dict[str, dict[str, Any]] = {
    "LSTM": {
        "x": draw(6, 2, 3),
        "state": (draw(4, 2, 4), draw(4, 2, 5)),
        "lengths": [6, 4],
        "reset": generator.random((6, 2)) < 0.3,
    },
    "GRU": {"x": draw(2, 6, 3), "state": draw(1, 2, 5), "lengths": [6, 4], "reset": generator.random((2, 6)) < 0.3},
    "RNN": {"x": draw(6, 3), "state": draw(1, 5), "lengths": [5], "reset": generator.random(6) < 0.3},
}
GRADIENTS: dict[str, dict[str, Any]] = {
    "LSTM": {"dy": draw(6, 2, 8), "dstate": (draw(4, 2, 4), draw(4, 2, 5))},
    "GRU": {"dy": draw(2, 6, 5), "dstate": draw(1, 2, 5)},
    "RNN": {"dy": draw(6, 5), "dstate": draw(1, 5)},
}
SETTINGS = {"input_size": 3, "hidden_size": 5, "seed": 0}


def make(kind: str, **changes: Any) -> Recurrent:
    layer, settings = LAYERS[kind]
    return layer(**(SETTINGS | settings | changes))


def bits_of(layer: Recurrent, kind: str, saved: Any = None) -> list[bytes]:
    """The bits of all results of good calls; backward uses `saved` up, or what its own forward saved."""
    y, state = layer(**CALLS[kind])
    y_again, state_again, own_saved = layer.forward(**CALLS[kind], training=True, step=3, row_offset=4)
    dx, dstate, grads = layer.backward(saved or own_saved, **GRADIENTS[kind])
    results = (y, *parts_of(state), y_again, *parts_of(state_again), dx, *parts_of(dstate), *grads.values())
    return [value.tobytes() for value in results]


def forward(layer: Recurrent, kind: str) -> Any:
    """What backward takes, of a good call."""
    return layer.forward(**CALLS[kind])[2]


# ---- bad ones --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A bad call: what differs from the good one, the error, a pattern of its message."""

    function: str
    kind: str  # of layer
    what: str
    call: Callable[[Recurrent, Any], Any]  # of a layer and what it saved in a good forward
    error: type[Exception]
    message: str

    def __str__(self) -> str:
        return f"{self.function}({self.what})"


def name_of(value: Any) -> str:
    """A value in a few words, for the name of a test."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str.strip('<|')}{list(value.shape)}"
    if isinstance(value, tuple):
        return f"({','.join(map(name_of, value))})"
    if isinstance(value, fr.OneHot):
        return f"OneHot({name_of(value.ids)},{value.depth})"
    if callable(value):
        return value.__name__
    text = repr(value)
    return text if len(text) < 30 and " at 0x" not in text else type(value).__name__


def changed(changes: dict[str, Any]) -> str:
    return ",".join(f"no {name}" if value is ... else f"{name}={name_of(value)}" for name, value in changes.items())


Row = tuple[dict[str, Any], type[Exception], str]


def bad_layers(kind: str, *rows: Row) -> list[Bad]:
    return [
        Bad(kind, kind, changed(changes), lambda layer, saved, c=changes: make(kind, **c), error, message)
        for changes, error, message in rows
    ]


def bad_calls(kind: str, *rows: Row) -> list[Bad]:
    """Each bad argument in inference and in forward."""

    def both(changes: dict[str, Any], error: type[Exception], message: str) -> list[Bad]:
        what, arguments = changed(changes), CALLS[kind] | changes
        return [
            Bad(kind, kind, what, lambda layer, saved: layer(**arguments), error, message),
            Bad(f"{kind}.forward", kind, what, lambda layer, saved: layer.forward(**arguments), error, message),
        ]

    return [bad for row in rows for bad in both(*row)]


def bad_forwards(kind: str, *rows: Row) -> list[Bad]:
    return [
        Bad(
            f"{kind}.forward",
            kind,
            changed(changes),
            lambda layer, saved, c=changes: layer.forward(**(CALLS[kind] | c)),
            error,
            message,
        )
        for changes, error, message in rows
    ]


def bad_backwards(kind: str, *rows: Row) -> list[Bad]:
    def call(layer: Recurrent, saved: Any, changes: dict[str, Any]) -> Any:
        arguments = {"saved": saved} | GRADIENTS[kind] | changes
        saved = arguments.pop("saved")
        return layer.backward(saved() if callable(saved) else saved, **arguments)

    return [
        Bad(f"{kind}.backward", kind, changed(changes), partial(call, changes=changes), error, message)
        for changes, error, message in rows
    ]


def bad_functions(function: str, call: Callable[..., Any], *rows: tuple[Any, type[Exception], str]) -> list[Bad]:
    """Bad single arguments of a function that takes a layer and one argument."""
    return [
        Bad(function, "GRU", name_of(value), lambda layer, saved, v=value: call(layer, v), error, message)
        for value, error, message in rows
    ]


def backward_again(layer: Recurrent, saved: Any, retained: int) -> None:
    """Backward `retained` times with and once without `retain`, and then once more."""
    saved = forward(layer, "LSTM")
    for _ in range(retained):
        layer.backward(saved, **GRADIENTS["LSTM"], retain=True)
    layer.backward(saved, **GRADIENTS["LSTM"])
    layer.backward(saved, **GRADIENTS["LSTM"])


def of_a_twin() -> Any:
    return forward(make("LSTM"), "LSTM")


def of_a_gru() -> Any:
    return forward(make("GRU"), "GRU")


def of_a_linear_layer() -> Any:
    return fr.nn.Linear(3, 5, seed=0).forward(draw(4, 3))[1]


def too_short(name: str, shape: tuple[int, ...], _: Any) -> np.ndarray:
    return np.zeros(shape[:-1])


def with_words(name: str, shape: tuple[int, ...], _: Any) -> np.ndarray:
    return np.full(shape, "one")


LAYERS_OF_ANY_KIND: tuple[Row, ...] = (
    ({"input_size": 0}, ValueError, r"input_size must be in \[1, 16777216\], got 0"),
    ({"input_size": -1}, ValueError, r"input_size must be in \[1, 16777216\], got -1"),
    ({"input_size": 3.0}, TypeError, "input_size must be an integer, got 3.0"),
    ({"input_size": True}, TypeError, "input_size must be an integer, got True"),
    ({"input_size": "3"}, TypeError, "input_size must be an integer, got '3'"),
    ({"input_size": None}, TypeError, "input_size must be an integer, got None"),
    (
        {"hidden_size": 10**30},
        ValueError,
        r"hidden_size must be in \[1, 16777216\], got 1000000000000000000000000000000",
    ),
    ({"hidden_size": 0}, ValueError, r"hidden_size must be in \[1, 16777216\], got 0"),
    ({"hidden_size": -2}, ValueError, r"hidden_size must be in \[1, 16777216\], got -2"),
    ({"hidden_size": 5.5}, TypeError, "hidden_size must be an integer, got 5.5"),
    ({"hidden_size": np.float32(5)}, TypeError, "hidden_size must be an integer, got .*5.0"),
    ({"hidden_size": np.True_}, TypeError, "hidden_size must be an integer, got .*True"),
    ({"hidden_size": (5,)}, TypeError, r"hidden_size must be an integer, got \(5,\)"),
    ({"num_layers": 0}, ValueError, r"num_layers must be in \[1, 257\], got 0"),
    ({"num_layers": -1}, ValueError, "num_layers must be in .*, got -1"),
    ({"num_layers": 258}, ValueError, "num_layers must be in .*, got 258"),
    ({"num_layers": 2.0}, TypeError, "num_layers must be an integer, got 2.0"),
    ({"num_layers": True}, TypeError, "num_layers must be an integer, got True"),
    ({"num_layers": "2"}, TypeError, "num_layers must be an integer, got '2'"),
    ({"bias": 1}, TypeError, "bias must be True or False, got 1"),
    ({"bias": None}, TypeError, "bias must be True or False, got None"),
    ({"batch_first": "no"}, TypeError, "batch_first must be True or False, got 'no'"),
    ({"bidirectional": 2}, TypeError, "bidirectional must be True or False, got 2"),
    ({"dropout": -0.1}, ValueError, r"dropout must be in \[0.0, 1.0\], got -0.1"),
    ({"dropout": 1.5}, ValueError, r"dropout must be in \[0.0, 1.0\], got 1.5"),
    ({"dropout": float("nan")}, ValueError, "dropout must be in .*, got nan"),
    ({"dropout": float("inf")}, ValueError, "dropout must be in .*, got inf"),
    ({"dropout": "0.5"}, TypeError, "dropout must be a number, got '0.5'"),
    ({"dropout": True}, TypeError, "dropout must be a number, got True"),
    ({"dropout": None}, TypeError, "dropout must be a number, got None"),
    ({"dropout": 0.5j}, TypeError, "dropout must be a number, got 0.5j"),
    ({"init": "xavier"}, ValueError, "init must be 'torch' or 'keras' or a callable, got 'xavier'"),
    ({"init": 0.1}, TypeError, "init must be .*, got 0.1"),
    ({"init": None}, TypeError, "init must be .*, got None"),
    ({"init": too_short}, ValueError, r"init must return shape \(\d+, 3\) for weight_ih_l0, got \(\d+,\)"),
    ({"init": with_words}, TypeError, "init must return an array of real numbers for weight_ih_l0, got a str"),
    ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
    ({"dtype": np.int32}, ValueError, "dtype must be 'float32' or 'float64', got .*int32"),
    ({"dtype": "complex64"}, ValueError, "dtype must be 'float32' or 'float64', got 'complex64'"),
    ({"dtype": ">f4"}, ValueError, "dtype must be 'float32' or 'float64', got '>f4'"),
    ({"dtype": None}, ValueError, "dtype must be 'float32' or 'float64', got None"),
    ({"device": "tpu"}, ValueError, "device must be one of 'cpu', 'cuda', got 'tpu'"),
    ({"device": 0}, ValueError, "device must be one of 'cpu', 'cuda', got 0"),
    ({"seed": -1}, ValueError, r"seed must be in \[0, 18446744073709551615\], got -1"),
    ({"seed": 2**64}, ValueError, "seed must be in .*, got 18446744073709551616"),
    ({"seed": 0.0}, TypeError, "seed must be an integer, got 0.0"),
    ({"seed": False}, TypeError, "seed must be an integer, got False"),
    ({"seed": "0"}, TypeError, "seed must be an integer, got '0'"),
)

BAD = [bad for kind in LAYERS for bad in bad_layers(kind, *LAYERS_OF_ANY_KIND)]

BAD += bad_layers(
    "RNN",
    ({"nonlinearity": "sigmoid"}, ValueError, "nonlinearity must be one of 'tanh', 'relu', got 'sigmoid'"),
    ({"nonlinearity": "TANH"}, ValueError, "nonlinearity must be one of 'tanh', 'relu', got 'TANH'"),
    ({"nonlinearity": None}, ValueError, "nonlinearity must be one of 'tanh', 'relu', got None"),
    ({"nonlinearity": np.tanh}, ValueError, "nonlinearity must be one of 'tanh', 'relu', got <ufunc 'tanh'>"),
    ({"nonlinearity": ["tanh"]}, ValueError, r"nonlinearity must be one of 'tanh', 'relu', got \['tanh'\]"),
)

BAD += bad_layers(
    "LSTM",
    ({"proj_size": 5}, ValueError, "proj_size must be smaller than hidden_size = 5, got 5"),
    ({"proj_size": 6}, ValueError, "proj_size must be smaller than hidden_size = 5, got 6"),
    ({"proj_size": -1}, ValueError, "proj_size must be >= 0, got -1"),
    ({"proj_size": 2.0}, TypeError, "proj_size must be an integer, got 2.0"),
    ({"proj_size": True}, TypeError, "proj_size must be an integer, got True"),
    ({"proj_size": None}, TypeError, "proj_size must be an integer, got None"),
    ({"forget_bias": float("nan")}, ValueError, "forget_bias must be in .*, got nan"),
    ({"forget_bias": float("inf")}, ValueError, "forget_bias must be in .*, got inf"),
    ({"forget_bias": 1e39}, ValueError, r"forget_bias must be in .*, got 1e\+39"),
    ({"forget_bias": "1"}, TypeError, "forget_bias must be a number, got '1'"),
    ({"forget_bias": True}, TypeError, "forget_bias must be a number, got True"),
    ({"forget_bias": 1.0, "bias": False}, ValueError, "forget_bias must be None with bias=False, got 1.0"),
)


x, (h, c) = CALLS["LSTM"]["x"], CALLS["LSTM"]["state"]
reset = CALLS["LSTM"]["reset"]
DTYPE = "must be a numpy array of float32, got"

BAD += bad_calls(
    "LSTM",
    ({"x": None}, TypeError, f"x {DTYPE} None"),
    ({"x": x.tolist()}, TypeError, rf"x {DTYPE} list \["),
    ({"x": 1.0}, TypeError, f"x {DTYPE} 1.0"),
    ({"x": "abc"}, TypeError, f"x {DTYPE} 'abc'"),
    ({"x": np.float32(1)}, TypeError, f"x {DTYPE} .*1.0"),
    ({"x": memoryview(x)}, TypeError, f"x {DTYPE} <memory"),
    ({"x": x.astype("float64")}, TypeError, f"x {DTYPE} float64; nothing is cast"),
    ({"x": x.astype("float16")}, TypeError, f"x {DTYPE} float16"),
    ({"x": x.astype("longdouble")}, TypeError, f"x {DTYPE} "),
    ({"x": x.astype("int32")}, TypeError, f"x {DTYPE} int32"),
    ({"x": x.astype("complex64")}, TypeError, f"x {DTYPE} complex64"),
    ({"x": x.astype(object)}, TypeError, f"x {DTYPE} object"),
    ({"x": x > 0}, TypeError, f"x {DTYPE} bool"),
    ({"x": x.astype("U8")}, TypeError, f"x {DTYPE} str"),
    ({"x": foreign(x)}, TypeError, rf"x {DTYPE} .f4 \(foreign byte order\)"),
    ({"x": np.zeros((6, 2, 3), [("a", "f4")])}, TypeError, f"x {DTYPE} void"),
    ({"x": draw(3)}, ValueError, r"x must have 3 axes \(T, B, I\), or 2 axes \(T, I\) unbatched, got shape \(3,\)"),
    ({"x": draw(6, 2, 3, 1)}, ValueError, r"x must have 3 axes .*, got shape \(6, 2, 3, 1\)"),
    ({"x": draw(6, 2, 4)}, ValueError, r"x must have I = input_size = 3 columns, got shape \(6, 2, 4\)"),
    ({"x": draw(6, 2, 0)}, ValueError, r"x must have I = input_size = 3 columns, got shape \(6, 2, 0\)"),
    ({"x": draw(6, 3, 2)}, ValueError, r"x must have I = input_size = 3 columns, got shape \(6, 3, 2\)"),
    ({"x": fr.OneHot(np.zeros((6, 2), int), 4)}, ValueError, "x.depth must be input_size = 3, got 4"),
    (
        {"x": fr.OneHot(np.zeros((6, 2, 1), int), 3)},
        ValueError,
        r"x must have 2 axes \(T, B\), .* shape \(6, 2, 1\)",
    ),
    ({"x": fr.OneHot(np.array(1), 3)}, ValueError, r"x must have 2 axes \(T, B\), .* got shape \(\)"),
    ({"x": np.zeros((6, 2), int)}, TypeError, f"x {DTYPE} int64"),
    ({"state": h}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got a float32 array of shape \(4, 2, 4\)"),
    ({"state": (h,)}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got "),
    ({"state": (h, c, c)}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got "),
    ({"state": ()}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got \(\)"),
    ({"state": {"h": h, "c": c}}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got dict "),
    ({"state": iter((h, c))}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got <tuple_iterator"),
    ({"state": 0}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got 0"),
    ({"state": "hc"}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got 'hc'"),
    ({"state": (None, c)}, TypeError, rf"state\[0\] {DTYPE} None"),
    ({"state": (h, None)}, TypeError, rf"state\[1\] {DTYPE} None"),
    ({"state": (None, None)}, TypeError, rf"state\[0\] {DTYPE} None"),
    ({"state": (h, c.tolist())}, TypeError, rf"state\[1\] {DTYPE} list"),
    ({"state": (h.astype("f8"), c)}, TypeError, rf"state\[0\] {DTYPE} float64"),
    ({"state": (h, c.astype("f2"))}, TypeError, rf"state\[1\] {DTYPE} float16"),
    ({"state": (h, foreign(c))}, TypeError, rf"state\[1\] {DTYPE} .f4 \(foreign byte order\)"),
    ({"state": (c, h)}, ValueError, r"state\[0\] must have shape \(L\*D, B, P\) = \(4, 2, 4\), got \(4, 2, 5\)"),
    ({"state": (h, h)}, ValueError, r"state\[1\] must have shape \(L\*D, B, H\) = \(4, 2, 5\), got \(4, 2, 4\)"),
    ({"state": (h[:2], c)}, ValueError, r"state\[0\] must have shape .* = \(4, 2, 4\), got \(2, 2, 4\)"),
    ({"state": (h, c[:, :1])}, ValueError, r"state\[1\] must have shape .* = \(4, 2, 5\), got \(4, 1, 5\)"),
    ({"state": (h[:, 0], c[:, 0])}, ValueError, r"state\[0\] must have shape .* = \(4, 2, 4\), got \(4, 4\)"),
    ({"state": (h.swapaxes(0, 1), c)}, ValueError, r"state\[0\] must have shape .*, got \(2, 4, 4\)"),
    ({"lengths": [6, -1]}, ValueError, r"lengths must be in \[0, T\] = \[0, 6\], got -1 at b = 1"),
    ({"lengths": [7, 4]}, ValueError, r"lengths must be in \[0, T\] = \[0, 6\], got 7 at b = 0"),
    (
        {"lengths": np.array([2**63, 0], np.uint64)},
        ValueError,
        r"lengths must be in .* got 9223372036854775808",
    ),
    ({"lengths": [-(2**63), 0]}, ValueError, r"lengths must be in .* got -9223372036854775808"),
    ({"lengths": [2**70, 0]}, ValueError, r"lengths must be in .* got 1180591620717411303424"),
    ({"lengths": [6.0, 4.0]}, TypeError, "lengths must be integers, got 6.0 at b = 0"),
    ({"lengths": np.ones(2, "float32")}, TypeError, "lengths must be integers, got a float32 array"),
    ({"lengths": [6, True]}, TypeError, "lengths must be integers, got True at b = 1"),
    ({"lengths": ["6", "4"]}, TypeError, "lengths must be integers, got '6' at b = 0"),
    ({"lengths": [6, None]}, TypeError, "lengths must be integers, got None at b = 1"),
    ({"lengths": [6]}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(1,\)"),
    ({"lengths": [6, 4, 2]}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(3,\)"),
    ({"lengths": []}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(0,\)"),
    ({"lengths": [[6], [4, 2]]}, TypeError, r"lengths must be integers, got \[6\] at b = 0"),
    ({"lengths": np.array([[6, 4]])}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(1, 2\)"),
    (
        {"lengths": np.array([6, 4], ">i8")},
        TypeError,
        r"lengths must be integers, got a >i8 \(foreign byte order\) array",
    ),
    ({"lengths": np.zeros(0)}, TypeError, "lengths must be integers, got a float64 array"),
    ({"lengths": np.array(6)}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(\)"),
    ({"lengths": 6}, TypeError, "lengths must be a list or an array of integers, got 6"),
    ({"lengths": "64"}, TypeError, "lengths must be a list or an array of integers, got '64'"),
    ({"lengths": {6, 4}}, TypeError, "lengths must be a list or an array of integers, got {4, 6}"),
    ({"lengths": range(2)}, TypeError, r"lengths must be a list or an array of integers, got range\(0, 2\)"),
    ({"lengths": np.array([6, 4], "m8[s]")}, TypeError, "lengths must be integers, got a timedelta64"),
    ({"reset": reset.tolist()}, TypeError, "reset must be a numpy array of bool, got list"),
    ({"reset": True}, TypeError, "reset must be a numpy array of bool, got True"),
    ({"reset": reset.astype(int)}, TypeError, "reset must be a numpy array of bool, got int64"),
    ({"reset": reset.view(np.uint8)}, TypeError, "reset must be a numpy array of bool, got uint8"),
    ({"reset": reset.astype("float32")}, TypeError, "reset must be a numpy array of bool, got float32"),
    ({"reset": reset.astype(object)}, TypeError, "reset must be a numpy array of bool, got object"),
    ({"reset": reset.T}, ValueError, r"reset must have shape \(T, B\) = \(6, 2\), got \(2, 6\)"),
    ({"reset": reset[1:]}, ValueError, r"reset must have shape \(T, B\) = \(6, 2\), got \(5, 2\)"),
    ({"reset": reset[:, 0]}, ValueError, r"reset must have shape \(T, B\) = \(6, 2\), got \(6,\)"),
    ({"reset": reset[..., None]}, ValueError, r"reset must have shape \(T, B\) = \(6, 2\), got \(6, 2, 1\)"),
)

BAD += bad_calls(
    "GRU",
    ({"x": draw(3)}, ValueError, r"x must have 3 axes \(B, T, I\), or 2 axes \(T, I\) unbatched, got shape \(3,\)"),
    ({"x": draw(2, 6, 5)}, ValueError, r"x must have I = input_size = 3 columns, got shape \(2, 6, 5\)"),
    ({"x": draw(6, 2, 3)}, ValueError, "must have shape .*B.* got"),
    ({"x": draw(2, 6, 3, dtype="float64")}, TypeError, f"x {DTYPE} float64"),
    ({"state": (draw(1, 2, 5),)}, TypeError, f"state {DTYPE} "),
    ({"state": [[0.5] * 5]}, TypeError, rf"state {DTYPE} \[\[0.5,"),
    ({"state": draw(2, 2, 5)}, ValueError, r"state must have shape \(L\*D, B, H\) = \(1, 2, 5\), got \(2, 2, 5\)"),
    ({"state": draw(2, 1, 5)}, ValueError, r"state must have shape \(L\*D, B, H\) = \(1, 2, 5\), got \(2, 1, 5\)"),
    ({"state": draw(2, 5)}, ValueError, r"state must have shape \(L\*D, B, H\) = \(1, 2, 5\), got \(2, 5\)"),
    ({"state": draw(1, 2, 5, dtype="float64")}, TypeError, f"state {DTYPE} float64"),
    ({"lengths": [6, 7]}, ValueError, r"lengths must be in \[0, T\] = \[0, 6\], got 7 at b = 1"),
    ({"lengths": [2] * 6}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(6,\)"),
    ({"reset": np.zeros((6, 2), bool)}, ValueError, r"reset must have shape \(B, T\) = \(2, 6\), got \(6, 2\)"),
)

BAD += bad_calls(
    "RNN",
    ({"x": draw(6, 2)}, ValueError, r"x must have I = input_size = 3 columns, got shape \(6, 2\)"),
    ({"state": draw(1, 1, 5)}, ValueError, r"state must have shape \(L\*D, H\) = \(1, 5\), got \(1, 1, 5\)"),
    ({"state": draw(5)}, ValueError, r"state must have shape \(L\*D, H\) = \(1, 5\), got \(5,\)"),
    ({"lengths": [5, 5]}, ValueError, r"lengths must have shape \(B,\) = \(1,\), got \(2,\)"),
    ({"lengths": [9]}, ValueError, r"lengths must be in \[0, T\] = \[0, 6\], got 9 at b = 0"),
    ({"reset": np.zeros((6, 1), bool)}, ValueError, r"reset must have shape \(T,\) = \(6,\), got \(6, 1\)"),
)

BAD += bad_forwards(
    "LSTM",
    ({"step": -1}, ValueError, r"step must be in \[0, 4294967295\], got -1"),
    ({"step": 2**32}, ValueError, "step must be in .*, got 4294967296"),
    ({"step": 1.0}, TypeError, "step must be an integer, got 1.0"),
    ({"step": True}, TypeError, "step must be an integer, got True"),
    ({"step": "1"}, TypeError, "step must be an integer, got '1'"),
    ({"step": None}, TypeError, "step must be an integer, got None"),
    ({"row_offset": -1}, ValueError, r"row_offset must be in \[0, 4294967294\], got -1"),
    ({"row_offset": 2**32 - 1}, ValueError, "row_offset must be in .*, got 4294967295"),
    ({"row_offset": 0.0}, TypeError, "row_offset must be an integer, got 0.0"),
    ({"row_offset": False}, TypeError, "row_offset must be an integer, got False"),
    ({"row_offset": None}, TypeError, "row_offset must be an integer, got None"),
    ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be >= 1, got 0"),
    ({"checkpoint_every": -(2**70)}, ValueError, "checkpoint_every must be >= 1, got -1180591620717411303424"),
    ({"checkpoint_every": 2.0}, TypeError, r"checkpoint_every must be an integer, got 2\.0"),
    ({"checkpoint_every": True}, TypeError, "checkpoint_every must be an integer, got True"),
    ({"checkpoint_every": "7"}, TypeError, "checkpoint_every must be an integer, got '7'"),
    ({"training": 1}, TypeError, "training must be True or False, got 1"),
    ({"training": None}, TypeError, "training must be True or False, got None"),
    ({"training": "yes"}, TypeError, "training must be True or False, got 'yes'"),
)

dy, (dh, dc) = GRADIENTS["LSTM"]["dy"], GRADIENTS["LSTM"]["dstate"]

BAD += bad_backwards(
    "LSTM",
    ({"dy": None, "dstate": None}, ValueError, "dy and dstate must not both be None"),
    ({"dy": dy.tolist()}, TypeError, f"dy {DTYPE} list"),
    ({"dy": 1.0}, TypeError, f"dy {DTYPE} 1.0"),
    ({"dy": dy.astype("float64")}, TypeError, f"dy {DTYPE} float64; nothing is cast"),
    ({"dy": dy.astype("float16")}, TypeError, f"dy {DTYPE} float16"),
    ({"dy": dy.astype("complex64")}, TypeError, f"dy {DTYPE} complex64"),
    ({"dy": foreign(dy)}, TypeError, rf"dy {DTYPE} .f4 \(foreign byte order\)"),
    ({"dy": dy[1:]}, ValueError, r"dy must have shape \(T, B, D\*P\) = \(6, 2, 8\), got \(5, 2, 8\)"),
    ({"dy": dy[:, :1]}, ValueError, r"dy must have shape \(T, B, D\*P\) = \(6, 2, 8\), got \(6, 1, 8\)"),
    ({"dy": dy[..., :4]}, ValueError, r"dy must have shape \(T, B, D\*P\) = \(6, 2, 8\), got \(6, 2, 4\)"),
    ({"dy": dy.swapaxes(0, 1)}, ValueError, r"dy must have shape \(T, B, D\*P\) = \(6, 2, 8\), got \(2, 6, 8\)"),
    ({"dy": dy.ravel()}, ValueError, r"dy must have shape \(T, B, D\*P\) = \(6, 2, 8\), got \(96,\)"),
    ({"dstate": dh}, TypeError, r"dstate must be a tuple of 2 arrays \(h, c\), got a float32 array"),
    ({"dstate": (dh,)}, TypeError, r"dstate must be a tuple of 2 arrays \(h, c\), got"),
    ({"dstate": (dh, None)}, TypeError, rf"dstate\[1\] {DTYPE} None"),
    ({"dstate": (None, dc)}, TypeError, rf"dstate\[0\] {DTYPE} None"),
    ({"dstate": (dh, dc.astype("f8"))}, TypeError, rf"dstate\[1\] {DTYPE} float64"),
    ({"dstate": (dc, dc)}, ValueError, r"dstate\[0\] must have shape \(L\*D, B, P\) = \(4, 2, 4\), got \(4, 2, 5\)"),
    (
        {"dstate": (dh, dc[:1])},
        ValueError,
        r"dstate\[1\] must have shape .* = \(4, 2, 5\), got \(1, 2, 5\)",
    ),
    ({"retain": 1}, TypeError, "retain must be True or False, got 1"),
    ({"retain": None}, TypeError, "retain must be True or False, got None"),
    ({"saved": None}, TypeError, "saved must be what forward returned, got NoneType"),
    ({"saved": (x, dy)}, TypeError, "saved must be what forward returned, got tuple"),
    ({"saved": dy}, TypeError, "saved must be what forward returned, got ndarray"),
    ({"saved": of_a_twin}, ValueError, "saved must come from the forward of the same layer, got"),
    ({"saved": of_a_gru}, ValueError, "saved must come from the forward of the same layer, got"),
    (
        {"saved": of_a_linear_layer},
        ValueError,
        "saved must come from the forward of the same layer, got",
    ),
)

BAD += [
    Bad(
        "LSTM.backward",
        "LSTM",
        f"saved=used up, {retained} times retained",
        partial(backward_again, retained=retained),
        RuntimeError,
        "saved must be unused, but an earlier backward used it up; give that one retain=True",
    )
    for retained in (0, 2)
]

BAD += bad_backwards(
    "GRU",
    ({"dy": draw(6, 2, 5)}, ValueError, r"dy must have shape \(B, T, D\*P\) = \(2, 6, 5\), got \(6, 2, 5\)"),
    ({"dstate": (draw(1, 2, 5),)}, TypeError, f"dstate {DTYPE} "),
    ({"dstate": draw(2, 1, 5)}, ValueError, r"dstate must have shape \(L\*D, B, H\) = \(1, 2, 5\), got \(2, 1, 5\)"),
)

BAD += bad_backwards(
    "RNN",
    ({"dy": draw(6, 1, 5)}, ValueError, r"dy must have shape \(T, D\*P\) = \(6, 5\), got \(6, 1, 5\)"),
    ({"dstate": draw(1, 1, 5)}, ValueError, r"dstate must have shape \(L\*D, H\) = \(1, 5\), got \(1, 1, 5\)"),
)

BAD += [
    Bad("OneHot", "GRU", what, lambda layer, saved, ids=ids, depth=depth: fr.OneHot(ids, depth), error, message)
    for what, ids, depth, error, message in (
        ("id=-1", np.array([[0, -1]]), 3, ValueError, r"ids must be in \[0, depth\) = \[0, 3\), got -1 at \(0, 1\)"),
        ("id=3", np.array([[0], [3]]), 3, ValueError, r"ids must be in \[0, depth\) = \[0, 3\), got 3 at \(1, 0\)"),
        ("id=255", np.array([255], "uint8"), 3, ValueError, r"ids must be in \[0, depth\) = .* got 255 at \(0,\)"),
        ("id=2**63", np.array([2**63], "uint64"), 3, ValueError, r"ids must be in .* got 9223372036854775808"),
        ("float ids", np.zeros((2, 2)), 3, TypeError, r"ids must be an integer array, got a float64 array of shape"),
        ("bool ids", np.zeros((2, 2), bool), 3, TypeError, "ids must be an integer array, got a bool array"),
        ("object ids", np.zeros((2, 2), object), 3, TypeError, "ids must be an integer array, got a object array"),
        ("list", [[0, 1]], 3, TypeError, r"ids must be an integer array, got \[\[0, 1\]\]"),
        ("int", 1, 3, TypeError, "ids must be an integer array, got 1"),
        ("None", None, 3, TypeError, "ids must be an integer array, got None"),
        ("depth=0", np.zeros((0, 2), int), 0, ValueError, "depth must be >= 1, got 0"),
        ("depth=-3", np.zeros((0, 2), int), -3, ValueError, "depth must be >= 1, got -3"),
        ("depth=3.0", np.zeros((2, 2), int), 3.0, TypeError, "depth must be an integer, got 3.0"),
        ("depth=True", np.zeros((2, 2), int), True, TypeError, "depth must be an integer, got True"),
        ("depth='3'", np.zeros((2, 2), int), "3", TypeError, "depth must be an integer, got '3'"),
        ("depth=None", np.zeros((2, 2), int), None, TypeError, "depth must be an integer, got None"),
    )
]


def weights_with(**changes: Any) -> dict[str, Any]:
    """The weights of another GRU with some changed, added, or left out (...)."""
    weights = make("GRU", seed=1).state_dict() | changes
    return {name: value for name, value in weights.items() if value is not ...}


def load(layer: Recurrent, saved: Any, changes: dict[str, Any]) -> None:
    layer.load_state_dict(weights_with(**changes))


BAD += [
    Bad("GRU.load_state_dict", "GRU", changed(changes), partial(load, changes=changes), error, message)
    for changes, error, message in (
        ({"weight_hh_l0": ...}, ValueError, "the names must be .*; missing weight_hh_l0$"),
        ({"weight_ih_l0": ..., "bias_hh_l0": ...}, ValueError, "; missing weight_ih_l0, bias_hh_l0$"),
        ({"weight_hr_l0": draw(3, 5)}, ValueError, "the names must be .*; unknown weight_hr_l0$"),
        ({"weight_ih_l1": draw(15, 5), "bias_ih_l0": ...}, ValueError, "missing bias_ih_l0; unknown weight_ih_l1$"),
        ({"weight_hh_l0": draw(5, 15)}, ValueError, r"weight_hh_l0 must have shape \(15, 5\), got \(5, 15\)$"),
        ({"bias_ih_l0": draw(5)}, ValueError, r"bias_ih_l0 must have shape \(15,\), got \(5,\)$"),
        ({"bias_hh_l0": draw(1, 15)}, ValueError, r"bias_hh_l0 must have shape \(15,\), got \(1, 15\)$"),
        (
            {"weight_ih_l0": draw(15), "bias_hh_l0": draw(1)},
            ValueError,
            r"weight_ih_l0 must .* got \(15,\); bias_hh_l0 must .* got \(1,\)$",
        ),
        ({"bias_ih_l0": draw(15, dtype="float64")}, TypeError, f"bias_ih_l0 {DTYPE} float64; nothing is cast"),
        ({"bias_ih_l0": draw(15, dtype="float16")}, TypeError, f"bias_ih_l0 {DTYPE} float16"),
        ({"bias_ih_l0": np.zeros(15, int)}, TypeError, f"bias_ih_l0 {DTYPE} int64"),
        ({"bias_ih_l0": foreign(draw(15))}, TypeError, rf"bias_ih_l0 {DTYPE} .f4 \(foreign byte order\)"),
        ({"bias_ih_l0": [0.0] * 15}, TypeError, f"bias_ih_l0 {DTYPE} list"),
        ({"bias_ih_l0": None}, TypeError, f"bias_ih_l0 {DTYPE} None"),
    )
]

BAD += bad_functions(
    "set_num_threads",
    lambda _, n: fr.set_num_threads(n),
    (0, ValueError, r"n must be in \[1, 4096\], got 0"),
    (-1, ValueError, r"n must be in \[1, 4096\], got -1"),
    (4097, ValueError, r"n must be in \[1, 4096\], got 4097"),
    (2**64, ValueError, r"n must be in \[1, 4096\], got 18446744073709551616"),
    (2.0, TypeError, "n must be an integer, got 2.0"),
    (float("nan"), TypeError, "n must be an integer, got nan"),
    (True, TypeError, "n must be an integer, got True"),
    ("2", TypeError, "n must be an integer, got '2'"),
    (None, TypeError, "n must be an integer, got None"),
    ([2], TypeError, r"n must be an integer, got \[2\]"),
)

BAD += bad_functions(
    "GRU.explain",
    lambda layer, shape: layer.explain(shape),
    (6, TypeError, "x_shape must be a tuple of integers, got 6"),
    (None, TypeError, "x_shape must be a tuple of integers, got None"),
    ("abc", TypeError, "x_shape must be a tuple of integers, got 'abc'"),
    (draw(2, 6, 3), TypeError, r"x_shape must be a tuple of integers, got a float32 array of shape \(2, 6, 3\)"),
    ((), ValueError, r"x_shape must have 3 axes, or 2 unbatched, .* got \(\)"),
    ((3,), ValueError, r"x_shape must have 3 axes, .* got \(3,\)"),
    ((1, 2, 6, 3), ValueError, r"x_shape must have 3 axes, .* got \(1, 2, 6, 3\)"),
    ((2, 6, 4), ValueError, r"x_shape must .* the last I = input_size = 3, got \(2, 6, 4\)"),
    ((-2, 6, 3), ValueError, r"x_shape\[0\] must be in \[0, 2147483647\], got -2"),
    ((2**70, 6, 3), ValueError, r"x_shape\[0\] must be in .*, got 1180591620717411303424"),
    ((2, 6.0, 3), TypeError, r"x_shape\[1\] must be an integer, got 6.0"),
    ((2, 6, "3"), TypeError, r"x_shape\[2\] must be an integer, got '3'"),
    ((True, 6, 3), TypeError, r"x_shape\[0\] must be an integer, got True"),
)

BAD += bad_functions(
    "GRU.explain",
    lambda layer, shape: layer.explain(shape, ids=True),
    ((2, 6, 3), ValueError, r"x_shape must have 2 axes, or 1 unbatched, with ids=True, got \(2, 6, 3\)"),
    ([], ValueError, r"x_shape must have 2 axes, .* got \(\)"),
    ((2, -6), ValueError, r"x_shape\[1\] must be in \[0, 2147483647\], got -6"),
)

BAD += [
    Bad(
        "GRU.explain",
        "GRU",
        f"{name}={value!r}",
        lambda layer, saved, name=name, value=value: layer.explain((2, 6, 3), **{name: value}),
        TypeError,
        f"{name} must be True or False, got {value!r}",
    )
    for name in ("training", "ids")
    for value in (1, None, "no")
]


# ---- what they do ----------------------------------------------------------------------------------------------------


@contextmanager
def nothing_changes(kind: str) -> Iterator[tuple[Recurrent, Any]]:
    """A layer and what it saved, which serve good calls afterwards as if nothing had been."""
    layer, threads = make(kind), fr.get_num_threads()
    weights, expected = layer.state_dict(), bits_of(make(kind), kind)
    saved = layer.forward(**CALLS[kind], training=True, step=3, row_offset=4)[2]
    yield layer, saved
    assert fr.get_num_threads() == threads
    for name, value in layer.parameters().items():
        assert value.tobytes() == weights[name].tobytes(), name
    assert bits_of(layer, kind, saved) == expected


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_call_says_what_is_wrong_and_changes_nothing(bad):
    with nothing_changes(bad.kind) as (layer, saved):
        with pytest.raises(bad.error) as caught:
            bad.call(layer, saved)
        message = str(caught.value)
        assert caught.type is bad.error
        assert FORM.fullmatch(message), message
        assert message.startswith(f"{bad.function}: "), message
        assert re.search(bad.message, message), message
        assert len(message) < 300


def test_names_of_the_tests_tell_the_calls_apart():
    names = [str(bad) for bad in BAD]
    assert len(set(names)) == len(names) >= 100


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda layer, saved: layer(CALLS["GRU"]["x"], mask=None), "mask"),
        (lambda layer, saved: layer(CALLS["GRU"]["x"], step=1), "step"),
        (lambda layer, saved: layer.forward(CALLS["GRU"]["x"], hx=None), "hx"),
        (lambda layer, saved: layer.backward(saved, GRADIENTS["GRU"]["dy"], lengths=[6, 4]), "lengths"),
        (lambda layer, saved: layer.explain((2, 6, 3), steps=6), "steps"),
        (lambda layer, saved: layer.load_state_dict(layer.state_dict(), strict=False), "strict"),
        (lambda layer, saved: fr.set_num_threads(threads=2), "threads"),
        (lambda layer, saved: fr.GRU(3, 5, proj_size=2), "proj_size"),
        (lambda layer, saved: fr.GRU(3, 5, nonlinearity="tanh"), "nonlinearity"),
        (lambda layer, saved: fr.RNN(3, 5, forget_bias=1.0), "forget_bias"),
        (lambda layer, saved: fr.LSTM(3, 5, units=5), "units"),
    ],
)
def test_an_unknown_keyword_is_named(call, word):
    with nothing_changes("GRU") as (layer, saved), pytest.raises(TypeError, match=f"unexpected keyword.*'{word}'"):
        call(layer, saved)


@pytest.mark.parametrize(
    "call",
    [
        lambda layer, saved: fr.GRU(),
        lambda layer, saved: fr.GRU(3),
        lambda layer, saved: fr.GRU(3, 5, 1, True),
        lambda layer, saved: layer(),
        lambda layer, saved: layer.forward(),
        lambda layer, saved: layer.forward(CALLS["GRU"]["x"], None, [6, 4]),
        lambda layer, saved: layer.backward(saved),
        lambda layer, saved: layer.backward(saved, GRADIENTS["GRU"]["dy"], None, True),
        lambda layer, saved: fr.OneHot(np.zeros((2, 6), int)),
        lambda layer, saved: fr.set_num_threads(),
    ],
)
def test_too_few_or_too_many_arguments_are_type_errors(call):
    with nothing_changes("GRU") as (layer, saved), pytest.raises(TypeError, match="argument"):
        call(layer, saved)


def test_parameters_are_written_within_a_block_only():
    with nothing_changes("GRU") as (layer, _):
        with layer.writable() as parameters:
            pass
        for value in (parameters["bias_ih_l0"], layer.parameters()["bias_ih_l0"]):
            with pytest.raises(ValueError, match="read-only"):
                value[0] = 1


@pytest.mark.parametrize("bad", [-1, 3, 2**40, -(2**62)])
def test_ids_that_changed_after_their_check_are_refused(bad):
    with nothing_changes("GRU") as (layer, _):
        ids = np.zeros((2, 6), int)
        hot = fr.OneHot(ids, 3)
        y, _, saved = layer.forward(hot)
        ids[1, 4] = bad
        message = rf"ids must be in \[0, I\) = \[0, 3\), got {bad} at t = 4, b = 1"
        for call in (lambda: layer(hot), lambda: layer.forward(hot), lambda: layer.backward(saved, y)):
            with pytest.raises(ValueError, match=message):
                call()


# ---- the environment -------------------------------------------------------------------------------------------------

COMPUTE = """
import numpy as np
import fusedrnn as fr
y, _ = fr.GRU(3, 5, seed=0)(np.ones((4, 2, 3), "float32"))
print(y.shape)
"""


def run_with(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMPUTE], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx2 ", "0"])
def test_an_unknown_instruction_set_is_an_error_that_names_the_variable(name):
    done = run_with(FUSEDRNN_ISA=name)
    assert done.returncode == 1  # Python's own exit after an exception, no signal
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"ValueError: fusedrnn: FUSEDRNN_ISA must name .*\(.*scalar\), got '" + name + "'", last)


@pytest.mark.parametrize("count", ["abc", "0", "-2", "3x", "4097", "99999999999999999999"])
def test_a_wrong_number_of_threads_is_an_error_that_names_the_variable(count):
    done = run_with(FUSEDRNN_NUM_THREADS=count)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    expected = "ValueError: fusedrnn: FUSEDRNN_NUM_THREADS must be an integer in [1, 4096], got "
    assert last == f"{expected}'{count}'"


@pytest.mark.parametrize("name", ["scalar", ""])
def test_a_known_instruction_set_or_none_is_taken(name):
    done = run_with(FUSEDRNN_ISA=name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(4, 2, 5)\n", "")
