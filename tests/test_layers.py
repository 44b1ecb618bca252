"""The public layers: parameters and their names, copies, seeds, what backward uses up, states, explain and threads."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from collections import UserDict
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from problems import (
    CELLS,
    PROJECTING,
    PYTORCH_CELLS,
    Case,
    Problem,
    build,
    make_layer,
    named,
    parts_of,
    run,
    torch_module,
)

import fusedrnn as fr
from fusedrnn import initializers
from fusedrnn.recurrent import Recurrent

MAKERS = {"rnn_tanh": fr.RNN, "rnn_relu": fr.RNN, "gru": fr.GRU, "lstm": fr.LSTM}
KINDS = {cell: Case(cell=cell, num_layers=2, bidirectional=True) for cell in CELLS} | {
    "lstm_projection": Case(num_layers=2, bidirectional=True, projection=True)
}
# Both are shared out among threads: by rows, and by units.
WIDE = {
    f"{kind}-{form}": Case(kind.removesuffix("_projection"), projection="projection" in kind, **size)
    for kind in KINDS
    for form, size in {
        "rows": {"num_layers": 2, "bidirectional": True, "T": 10, "B": 70, "I": 33, "H": 65},
        "units": {"T": 8, "B": 2, "I": 7, "H": 400},
    }.items()
}

every_kind = pytest.mark.parametrize("kind", KINDS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def problem_of(kind: str, **more: Any) -> Problem:
    return build(KINDS[kind], "float32", **more)


def bits(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (value.dtype.name, value.shape, value.tobytes()) for name, value in arrays.items()}


def inference(problem: Problem) -> dict[str, np.ndarray]:
    """All results of a call without training."""
    return named(*problem.layer(problem.x, **problem.call), None, (), {})


def change(layer: Recurrent) -> None:
    with layer.writable() as parameters:
        for value in parameters.values():
            value += 1


# ---- what the constructors promise -----------------------------------------------------------------------------------


SHARED_OPTIONS = {
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "init": "torch",
    "dtype": "float32",
    "precision": "ieee",
    "device": "cpu",
    "seed": None,
}


@pytest.mark.parametrize(
    ("maker", "more"),
    [(fr.RNN, {"nonlinearity": "tanh"}), (fr.GRU, {}), (fr.LSTM, {"proj_size": 0, "forget_bias": None})],
)
def test_constructors_have_the_promised_arguments(maker, more):
    arguments = inspect.signature(maker).parameters
    sizes = {name: a.default for name, a in arguments.items() if a.kind is a.POSITIONAL_OR_KEYWORD}
    options = {name: a.default for name, a in arguments.items() if a.kind is a.KEYWORD_ONLY}
    assert list(sizes.items()) == [
        ("input_size", inspect.Parameter.empty),
        ("hidden_size", inspect.Parameter.empty),
        ("num_layers", 1),
    ]
    assert options == SHARED_OPTIONS | more


@pytest.mark.parametrize(
    ("method", "names", "options"),
    [
        ("__call__", ["x", "state"], {"lengths": None, "reset": None}),
        (
            "forward",
            ["x", "state"],
            {
                "lengths": None,
                "reset": None,
                "training": True,
                "step": 0,
                "row_offset": 0,
                "checkpoint_every": None,
            },
        ),
        ("backward", ["saved", "dy", "dstate"], {"need_dx": True, "retain": False}),
    ],
)
@pytest.mark.parametrize("maker", [fr.RNN, fr.GRU, fr.LSTM])
def test_methods_have_the_promised_arguments(maker, method, names, options):
    arguments = inspect.signature(getattr(maker, method)).parameters
    assert [n for n, a in arguments.items() if a.kind is a.POSITIONAL_OR_KEYWORD] == ["self", *names]
    assert {n: a.default for n, a in arguments.items() if a.kind is a.KEYWORD_ONLY} == options
    assert arguments[names[-1]].default is None or method == "backward"


def test_settings_can_be_read():
    lstm = fr.LSTM(3, 5, 2, batch_first=True, dropout=0.5, bidirectional=True, proj_size=2, dtype="float64", seed=9)
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.proj_size) == (3, 5, 2, 2)
    assert (lstm.bias, lstm.batch_first, lstm.bidirectional) == (True, True, True)
    assert (lstm.dropout, lstm.dtype, lstm.device, lstm.seed) == (0.5, np.dtype("float64"), "cpu", 9)
    assert lstm.precision == "ieee"
    assert fr.RNN(3, 5, nonlinearity="relu").nonlinearity == "relu"


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64"), float])
def test_a_dtype_may_be_given_in_any_form(dtype):
    layer = fr.GRU(3, 5, dtype=dtype, seed=0)
    assert layer.dtype == "float64"
    assert {value.dtype for value in layer.parameters().values()} == {np.dtype("float64")}


@every_cell
def test_a_layer_names_its_class(cell):
    assert MAKERS[cell].__name__ in repr(make_layer(Case(cell)))


# ---- names and shapes of parameters ----------------------------------------------------------------------------------


def shapes(layer: Recurrent) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, value.shape) for name, value in layer.state_dict().items()]


def test_names_and_shapes_of_an_lstm():
    assert shapes(fr.LSTM(3, 5)) == [
        ("weight_ih_l0", (20, 3)),
        ("weight_hh_l0", (20, 5)),
        ("bias_ih_l0", (20,)),
        ("bias_hh_l0", (20,)),
    ]


def test_names_and_shapes_of_an_lstm_with_everything():
    assert shapes(fr.LSTM(3, 5, 2, bidirectional=True, proj_size=2)) == [
        ("weight_ih_l0", (20, 3)),
        ("weight_hh_l0", (20, 2)),
        ("bias_ih_l0", (20,)),
        ("bias_hh_l0", (20,)),
        ("weight_hr_l0", (2, 5)),
        ("weight_ih_l0_reverse", (20, 3)),
        ("weight_hh_l0_reverse", (20, 2)),
        ("bias_ih_l0_reverse", (20,)),
        ("bias_hh_l0_reverse", (20,)),
        ("weight_hr_l0_reverse", (2, 5)),
        ("weight_ih_l1", (20, 4)),
        ("weight_hh_l1", (20, 2)),
        ("bias_ih_l1", (20,)),
        ("bias_hh_l1", (20,)),
        ("weight_hr_l1", (2, 5)),
        ("weight_ih_l1_reverse", (20, 4)),
        ("weight_hh_l1_reverse", (20, 2)),
        ("bias_ih_l1_reverse", (20,)),
        ("bias_hh_l1_reverse", (20,)),
        ("weight_hr_l1_reverse", (2, 5)),
    ]


def test_names_and_shapes_of_a_gru_without_bias():
    assert shapes(fr.GRU(3, 5, 2, bias=False)) == [
        ("weight_ih_l0", (15, 3)),
        ("weight_hh_l0", (15, 5)),
        ("weight_ih_l1", (15, 5)),
        ("weight_hh_l1", (15, 5)),
    ]


def test_names_and_shapes_of_an_rnn_in_both_directions():
    assert shapes(fr.RNN(3, 5, bidirectional=True)) == [
        ("weight_ih_l0", (5, 3)),
        ("weight_hh_l0", (5, 5)),
        ("bias_ih_l0", (5,)),
        ("bias_hh_l0", (5,)),
        ("weight_ih_l0_reverse", (5, 3)),
        ("weight_hh_l0_reverse", (5, 5)),
        ("bias_ih_l0_reverse", (5,)),
        ("bias_hh_l0_reverse", (5,)),
    ]


DESIGN = [
    Case(cell, layers, bidirectional, projection, bias)
    for cell, layers, bidirectional, projection, bias in product(
        PYTORCH_CELLS, (1, 2, 3), (False, True), (False, True), (False, True)
    )
    if cell in PROJECTING or not projection
]


@pytest.mark.parametrize("case", DESIGN, ids=str)
def test_names_shapes_and_order_are_those_of_pytorch(case):
    pytest.importorskip("torch")
    theirs = [(name, tuple(value.shape)) for name, value in torch_module(case).state_dict().items()]
    layer = make_layer(case)
    assert shapes(layer) == theirs
    assert list(layer.parameters()) == [name for name, _ in theirs]


@pytest.mark.parametrize("case", [case for case in DESIGN if case.num_layers == 2], ids=str)
def test_weights_of_pytorch_give_the_outputs_of_pytorch(case):
    torch = pytest.importorskip("torch")
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    torch.manual_seed(3)
    module = torch_module(case)
    problem = build(case, "float32")
    problem.layer.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
    start = problem.call["state"]
    start = torch.from_numpy(start) if isinstance(start, np.ndarray) else tuple(map(torch.from_numpy, start))
    with torch.no_grad():
        theirs = module(torch.from_numpy(problem.x), start)
    y, state = problem.layer(problem.x, **problem.call)
    np.testing.assert_allclose(y, theirs[0].numpy(), rtol=2e-5, atol=2e-6)
    ends = theirs[1] if isinstance(theirs[1], tuple) else (theirs[1],)
    for part, end in zip(parts_of(state), ends, strict=True):
        np.testing.assert_allclose(part, end.numpy(), rtol=2e-5, atol=2e-6)


# ---- reading and writing parameters ----------------------------------------------------------------------------------


@every_kind
def test_a_state_dict_is_made_of_copies(kind):
    problem = problem_of(kind)
    before, weights = bits(run(problem)), bits(problem.layer.state_dict())
    for value in problem.layer.state_dict().values():
        assert value.flags.c_contiguous and value.flags.owndata and value.flags.writeable
        value[...] = np.nan
    assert bits(problem.layer.state_dict()) == weights
    assert bits(run(problem)) == before


@every_kind
def test_parameters_are_live_and_cannot_be_written(kind):
    layer = problem_of(kind).layer
    live = layer.parameters()
    assert bits(live) == bits(layer.state_dict())
    for name, value in live.items():
        assert not value.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            value.flags.writeable = True
        assert np.shares_memory(value, layer.parameters()[name])
    change(layer)
    assert bits(live) == bits(layer.state_dict())


def test_a_dict_of_parameters_is_not_the_layers_own():
    layer = fr.GRU(3, 5, seed=0)
    layer.parameters().clear()
    with layer.writable() as parameters:
        parameters["bias_ih_l0"] = None
        parameters.clear()
    assert len(layer.parameters()) == len(layer.state_dict()) == 4


@every_kind
def test_what_is_written_is_seen_by_the_next_call(kind):
    problem = problem_of(kind)
    before = bits(run(problem)), bits(inference(problem))
    change(problem.layer)
    fresh = problem_of(kind)
    fresh.layer.load_state_dict(problem.layer.state_dict())
    after = bits(run(problem)), bits(inference(problem))
    assert after == (bits(run(fresh)), bits(inference(fresh)))
    assert after != before


@every_kind
def test_what_is_written_is_seen_inside_the_block_and_after_each_change(kind):
    problem = problem_of(kind)
    inference(problem)
    with problem.layer.writable() as parameters:
        for value in parameters.values():
            value *= 0.5
            fresh = problem_of(kind)
            fresh.layer.load_state_dict(problem.layer.parameters())
            assert bits(inference(problem)) == bits(inference(fresh))
        parameters["weight_hh_l1"][0] = 3
    fresh.layer.load_state_dict(problem.layer.parameters())
    assert bits(inference(problem)) == bits(inference(fresh))


@every_kind
def test_what_was_opened_for_writing_is_closed_after_the_block(kind):
    layer = problem_of(kind).layer
    with pytest.raises(RuntimeError, match="stop"), layer.writable() as parameters:
        assert list(parameters) == list(layer.parameters())
        assert all(value.flags.writeable for value in parameters.values())
        assert not any(value.flags.writeable for value in layer.parameters().values())
        parameters["weight_ih_l0"][...] = 2
        raise RuntimeError("stop")
    assert (layer.state_dict()["weight_ih_l0"] == 2).all()
    for value in parameters.values():
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0


def test_blocks_may_be_nested():
    layer = fr.GRU(3, 5, seed=0)
    x = np.ones((4, 2, 3), "float32")
    with layer.writable() as outer:
        with layer.writable() as inner:
            inner["weight_ih_l0"][...] = 1
        layer(x)
        outer["weight_ih_l0"][...] = 2
        seen = layer(x)[0]
    fresh = fr.GRU(3, 5, seed=0)
    fresh.load_state_dict(layer.parameters())
    assert layer(x)[0].tobytes() == seen.tobytes() == fresh(x)[0].tobytes()


# ---- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [dict, MappingProxyType, UserDict, lambda d: dict(reversed(d.items()))])
@every_kind
def test_any_mapping_can_be_loaded(kind, form):
    problem, source = problem_of(kind), problem_of(kind)
    change(source.layer)
    inference(problem)
    live = problem.layer.parameters()
    problem.layer.load_state_dict(form(source.layer.state_dict()))
    assert bits(live) == bits(source.layer.state_dict())
    assert bits(run(problem)) == bits(run(source))


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda value: np.repeat(value, 2, axis=-1)[..., ::2],
        lambda value: np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape),
    ],
    ids=["Fortran", "strided", "read-only"],
)
def test_arrays_of_any_memory_can_be_loaded(form):
    source, layer = fr.LSTM(3, 5, seed=0), fr.LSTM(3, 5, seed=1)
    given = {name: form(value) for name, value in source.state_dict().items()}
    layer.load_state_dict(given)
    assert bits(layer.state_dict()) == bits(source.state_dict())
    assert not any(np.shares_memory(given[name], value) for name, value in layer.parameters().items())


def test_a_layer_can_load_its_own_parameters():
    layer = fr.LSTM(3, 5, seed=0)
    before = bits(layer.state_dict())
    layer.load_state_dict(layer.parameters())
    assert bits(layer.state_dict()) == before


def without(d: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in d.items() if name not in names}


WRONG_LOADS = {
    "missing": (lambda d: without(d, "weight_hh_l0", "bias_hh_l1"), ValueError, "weight_hh_l0.*bias_hh_l1"),
    "extra": (lambda d: d | {"weight_xy": 0, "rnn.weight_ih_l0": 0}, ValueError, "weight_xy.*rnn.weight_ih_l0"),
    "both": (lambda d: without(d, "bias_hh_l0") | {"kernel": 0}, ValueError, "missing bias_hh_l0; unknown kernel"),
    "a name that is not a string": (lambda d: d | {3: d["bias_hh_l0"]}, ValueError, "unknown 3"),
    "shapes": (
        lambda d: d | {"weight_ih_l0": d["weight_ih_l0"].T, "bias_hh_l1": d["bias_hh_l1"][1:]},
        ValueError,
        r"weight_ih_l0 must have shape \(20, 3\), got \(3, 20\); bias_hh_l1 must have shape \(20,\), got \(19,\)",
    ),
    "a shape that would broadcast": (
        lambda d: d | {"bias_hh_l1": d["bias_hh_l1"][:1]},
        ValueError,
        r"bias_hh_l1 must have shape \(20,\), got \(1,\)",
    ),
    "another dtype": (
        lambda d: d | {"bias_hh_l1": d["bias_hh_l1"].astype("float64")},
        TypeError,
        "bias_hh_l1 must be a numpy array of float32, got float64",
    ),
    "foreign byte order": (
        lambda d: d | {"bias_hh_l1": d["bias_hh_l1"].astype(">f4")},
        TypeError,
        "bias_hh_l1 must be a numpy array of float32, got >f4",
    ),
    "no array": (
        lambda d: d | {"bias_hh_l1": d["bias_hh_l1"].tolist()},
        TypeError,
        "bias_hh_l1 must be a numpy array of float32, got list",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_LOADS)
def test_nothing_changes_when_loading_fails(wrong):
    edit, kind, message = WRONG_LOADS[wrong]
    layer, source = fr.LSTM(3, 5, 2, seed=0), fr.LSTM(3, 5, 2, seed=1)
    x = np.ones((4, 2, 3), "float32")
    before, y = bits(layer.state_dict()), layer(x)[0]
    with pytest.raises(kind, match=f"^LSTM.load_state_dict: .*{message}"):
        layer.load_state_dict(edit(source.state_dict()))
    assert bits(layer.state_dict()) == before
    assert layer(x)[0].tobytes() == y.tobytes()


def test_missing_extra_and_ill_shaped_names_come_in_one_error():
    layer = fr.LSTM(3, 5)
    given = without(layer.state_dict(), "bias_ih_l0") | {"kernel": 0, "weight_hh_l0": np.zeros((5, 5), "float32")}
    with pytest.raises(ValueError) as caught:
        layer.load_state_dict(given)
    for part in ("missing bias_ih_l0", "unknown kernel", "weight_hh_l0 must have shape (20, 5), got (5, 5)"):
        assert part in str(caught.value)


@pytest.mark.parametrize("given", [None, 5, [("weight_ih_l0", 0)]], ids=["None", "number", "list"])
def test_what_is_no_mapping_is_refused(given):
    with pytest.raises(TypeError, match="^LSTM.load_state_dict: state_dict must be"):
        fr.LSTM(3, 5).load_state_dict(given)


@every_kind
def test_loading_another_kind_of_layer_is_refused(kind):
    layer = fr.LSTM(4, 7, 3)
    with pytest.raises(ValueError, match="^LSTM.load_state_dict: "):
        layer.load_state_dict(make_layer(KINDS[kind], "float32").state_dict())


# ---- copies ----------------------------------------------------------------------------------------------------------


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle-{protocol}": lambda layer, protocol=protocol: pickle.loads(pickle.dumps(layer, protocol))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
}
every_copy = pytest.mark.parametrize("way", COPIES)


@every_copy
@every_kind
def test_a_copy_gives_the_same_bits(kind, way):
    problem = problem_of(kind, dropout=0.5)
    expected = bits(run(problem, step=3))
    twin = replace(problem, layer=COPIES[way](problem.layer))
    assert type(twin.layer) is type(problem.layer)
    assert bits(twin.layer.state_dict()) == bits(problem.layer.state_dict())
    assert bits(run(twin, step=3)) == bits(run(problem, step=3)) == expected


@every_copy
@every_kind
def test_a_copy_is_independent(kind, way):
    problem = problem_of(kind)
    expected = bits(run(problem))
    twin = replace(problem, layer=COPIES[way](problem.layer))
    theirs = twin.layer.parameters()
    assert not any(np.shares_memory(theirs[name], value) for name, value in problem.layer.parameters().items())
    change(twin.layer)
    changed = bits(run(twin))
    assert bits(run(problem)) == expected
    change(problem.layer)
    assert bits(run(problem)) == bits(run(twin)) == changed != expected


@every_copy
def test_a_copy_keeps_the_settings(way):
    lstm = fr.LSTM(3, 5, 2, batch_first=True, dropout=0.5, bidirectional=True, proj_size=2, dtype="float64", seed=9)
    rnn = fr.RNN(3, 5, nonlinearity="relu", bias=False)
    for layer in (lstm, rnn):
        twin = COPIES[way](layer)
        for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
            assert getattr(twin, name) == getattr(layer, name), name
        for name in ("proj_size", "dtype", "device", "seed"):
            assert getattr(twin, name) == getattr(layer, name), name
    assert twin.nonlinearity == "relu"


@every_copy
def test_a_copy_of_an_open_layer_is_closed(way):
    layer = fr.GRU(3, 5, seed=0)
    x = np.ones((4, 2, 3), "float32")
    with layer.writable() as parameters:
        parameters["bias_ih_l0"][...] = 1
        twin = COPIES[way](layer)
        parameters["bias_ih_l0"][...] = 2
    assert (twin.state_dict()["bias_ih_l0"] == 1).all()
    assert not any(value.flags.writeable for value in twin.parameters().values())
    twin(x)
    change(twin)
    fresh = fr.GRU(3, 5, seed=0)
    fresh.load_state_dict(twin.state_dict())
    assert twin(x)[0].tobytes() == fresh(x)[0].tobytes()


@every_copy
def test_what_a_layer_saved_is_not_for_its_copy(way):
    layer = fr.GRU(3, 5, seed=0)
    y, _, saved = layer.forward(np.ones((4, 2, 3), "float32"))
    with pytest.raises(ValueError, match=r"^GRU.backward: saved must come from the forward of the same layer"):
        COPIES[way](layer).backward(saved, y)
    layer.backward(saved, y)


def test_a_pickle_holds_the_weights_once_and_nothing_packed():
    layer = fr.LSTM(64, 64, 2, seed=0)
    layer(np.zeros((1, 1, 64), "float32"))
    weights = sum(value.nbytes for value in layer.parameters().values())
    assert len(pickle.dumps(layer)) < weights + 4096


# ---- seeds and initial values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["torch", "keras"])
@every_kind
def test_seeds_decide_the_weights(kind, init):
    make = lambda seed: bits(make_layer(KINDS[kind], "float32", init=init, seed=seed).state_dict())  # noqa: E731
    same, other = make(3), make(4)
    assert make(3) == same
    for name in same:
        assert other[name] != same[name] or (init == "keras" and name.startswith("bias")), name


def test_seeds_of_all_sizes_count():
    weights = [
        fr.RNN(3, 5, seed=seed).state_dict()["weight_ih_l0"].tobytes() for seed in (0, 1, 2**32, 2**63, 2**64 - 1)
    ]
    assert len(set(weights)) == 5


def test_without_a_seed_each_layer_is_another_one_and_tells_its_seed():
    layers = [fr.GRU(3, 5, dropout=0.5) for _ in range(4)]
    assert len({layer.seed for layer in layers}) == len({str(bits(layer.state_dict())) for layer in layers}) == 4
    for layer in layers:
        assert bits(fr.GRU(3, 5, seed=layer.seed).state_dict()) == bits(layer.state_dict())


def test_all_parameters_are_drawn_apart():
    values = fr.RNN(5, 5, 3, bidirectional=True, init=initializers.normal(1.0), dtype="float64", seed=0).state_dict()
    drawn = np.concatenate([value.ravel() for value in values.values()])
    assert len(np.unique(drawn)) == len(drawn)


@every_kind
def test_torch_draws_from_the_reach_of_the_hidden_size(kind):
    layer = make_layer(replace(KINDS[kind], I=40, H=50), "float32", init="torch")
    for name, value in layer.state_dict().items():
        assert 0.9 / np.sqrt(50) < abs(value).max() <= np.float32(1 / np.sqrt(50)), name
        assert value.min() < 0 < value.max(), name


@every_kind
def test_keras_draws_orthogonal_and_glorot(kind):
    layer = make_layer(replace(KINDS[kind], I=40, H=50), "float64", init="keras")
    for name, value in layer.state_dict().items():
        if name.startswith("bias"):
            assert not value.any(), name
        elif name.startswith("weight_hh"):
            np.testing.assert_allclose(value.T @ value, np.eye(value.shape[1]), atol=1e-12)
        else:
            limit = np.sqrt(6 / sum(value.shape))
            assert 0.9 * limit < abs(value).max() <= limit, name


@every_kind
def test_a_callable_sees_names_and_shapes_in_order(kind):
    seen = []

    def init(name, shape, generator):
        seen.append((name, shape))
        return generator.normal(size=shape)

    layer = make_layer(KINDS[kind], "float32", init=init, seed=5)
    assert seen == shapes(layer)
    assert bits(make_layer(KINDS[kind], "float32", init=init, seed=5).state_dict()) == bits(layer.state_dict())


def test_a_layer_owns_what_a_callable_gave():
    given = {}

    def init(name, shape, generator):
        given[name] = np.ones(shape, "float32")
        return given[name]

    layer = fr.LSTM(3, 5, init=init)
    for value in given.values():
        value[...] = np.nan
    assert all((value == 1).all() for value in layer.state_dict().values())


@pytest.mark.parametrize("init", ["torch", "keras"])
@pytest.mark.parametrize("forget_bias", [0.0, 1, -2.5])
def test_forget_bias_sets_the_part_of_the_forget_gate_alone(forget_bias, init):
    settings = {"num_layers": 2, "bidirectional": True, "proj_size": 2, "init": init, "seed": 4}
    plain = fr.LSTM(3, 5, **settings).state_dict()
    layer = fr.LSTM(3, 5, forget_bias=forget_bias, **settings)
    for name, value in layer.state_dict().items():
        expected = plain[name]
        if name.startswith("bias_ih"):
            expected[5:10] = forget_bias
        elif name.startswith("bias_hh"):
            expected[5:10] = 0
        assert np.array_equal(value, expected), name
    assert not any(value.flags.writeable for value in layer.parameters().values())


# ---- what backward uses up -------------------------------------------------------------------------------------------


USED_UP = r"backward: saved must be unused, but an earlier backward used it up"


@every_kind
def test_saved_serves_one_backward(kind):
    problem = problem_of(kind)
    _, _, saved = problem.layer.forward(problem.x, **problem.call)
    problem.layer.backward(saved, problem.dy, problem.dstate)
    for retain in (False, True):
        with pytest.raises(RuntimeError, match=USED_UP):
            problem.layer.backward(saved, problem.dy, problem.dstate, retain=retain)


@every_kind
def test_saved_is_kept_with_retain(kind):
    problem = problem_of(kind, dropout=0.5)
    layer = problem.layer
    y, state, saved = layer.forward(problem.x, **problem.call)
    backward = lambda retain: named(y, state, *layer.backward(saved, problem.dy, problem.dstate, retain=retain))  # noqa: E731
    first = backward(True)
    expected = bits(first)
    for name in first.keys() - {"y", "state[0]", "state[1]"}:
        first[name][...] = np.nan
    assert bits(backward(True)) == expected
    assert bits(backward(False)) == expected == bits(run(problem))
    with pytest.raises(RuntimeError, match=USED_UP):
        backward(False)


@every_kind
def test_gradients_have_names_and_shapes_of_the_state_dict(kind):
    problem = problem_of(kind)
    _, _, saved = problem.layer.forward(problem.x, **problem.call)
    _, _, grads = problem.layer.backward(saved, problem.dy, problem.dstate)
    assert [(name, value.shape) for name, value in grads.items()] == shapes(problem.layer)
    assert {value.dtype for value in grads.values()} == {np.dtype("float32")}


@every_kind
def test_an_error_in_backward_uses_nothing_up(kind):
    problem = problem_of(kind)
    layer, dy = problem.layer, problem.dy
    y, state, saved = layer.forward(problem.x, **problem.call)
    with pytest.raises(ValueError, match="backward: dy must have shape"):
        layer.backward(saved, dy[1:])
    with pytest.raises(TypeError, match="backward: dy must be a numpy array of float32"):
        layer.backward(saved, dy.astype("float64"))
    with pytest.raises(ValueError, match="backward: dstate.* must have shape"):
        layer.backward(saved, dy, tuple(p[1:] for p in state) if isinstance(state, tuple) else state[1:])
    with pytest.raises(ValueError, match="backward: dy and dstate must not both be None"):
        layer.backward(saved, None, None)
    with pytest.raises(TypeError, match="backward: retain must be True or False"):
        layer.backward(saved, dy, retain=1)
    assert bits(named(y, state, *layer.backward(saved, dy, problem.dstate))) == bits(run(problem))


def test_what_another_layer_saved_is_refused_and_not_used_up():
    one, other = fr.GRU(3, 5, seed=0), fr.GRU(3, 5, seed=0)
    y, _, saved = one.forward(np.ones((4, 2, 3), "float32"))
    with pytest.raises(ValueError, match="saved must come from the forward of the same layer"):
        other.backward(saved, y)
    one.backward(saved, y)


@pytest.mark.parametrize("saved", [None, {}, "saved"])
def test_what_forward_did_not_return_is_refused(saved):
    with pytest.raises(TypeError, match=r"^LSTM.backward: saved must be what forward returned, got"):
        fr.LSTM(3, 5).backward(saved, np.zeros((4, 2, 5), "float32"))


@every_kind
def test_forwards_in_flight_do_not_disturb_each_other(kind):
    first = problem_of(kind)
    second = replace(build(KINDS[kind], "float32", seed=6), layer=first.layer)
    expected = bits(run(first)), bits(run(second))
    tapes = [p.layer.forward(p.x, **p.call) for p in (first, second)]
    found = [
        bits(named(y, state, *p.layer.backward(saved, p.dy, p.dstate)))
        for p, (y, state, saved) in zip((first, second), tapes, strict=True)
    ]
    assert tuple(found) == expected


# ---- states ----------------------------------------------------------------------------------------------------------


def test_the_state_of_an_lstm_is_a_named_pair():
    lstm = fr.LSTM(3, 5, 2, bidirectional=True, proj_size=2, seed=0)
    x = np.ones((4, 6, 3), "float32")
    y, state = lstm(x)
    _, trained, saved = lstm.forward(x)
    _, dstate0, _ = lstm.backward(saved, y)
    for one in (state, trained, dstate0):
        assert type(one) is fr.LSTMState and isinstance(one, tuple) and one._fields == ("h", "c")
        h, c = one
        assert one.h is h is one[0] and one.c is c is one[1]
        assert (h.shape, c.shape) == ((4, 6, 2), (4, 6, 5))
    assert bits(state._asdict()) == bits(pickle.loads(pickle.dumps(state))._asdict()) == bits(trained._asdict())


def test_an_lstm_state_can_be_made_by_name():
    lstm = fr.LSTM(3, 5, seed=0)
    x = np.ones((4, 6, 3), "float32")
    zeros = fr.LSTMState(c=np.zeros((1, 6, 5), "float32"), h=np.zeros((1, 6, 5), "float32"))
    assert lstm(x, zeros)[0].tobytes() == lstm(x)[0].tobytes()


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru"])
def test_the_state_of_others_is_an_array(cell):
    problem = build(Case(cell, 2), "float32")
    _, state, saved = problem.layer.forward(problem.x)
    _, dstate0, _ = problem.layer.backward(saved, problem.dy)
    for one in (problem.layer(problem.x)[1], state, dstate0):
        assert type(one) is np.ndarray and one.shape == (2, 3, 6)


@pytest.mark.parametrize("batch_first", [False, True])
@every_kind
def test_states_have_no_axis_of_rows_when_unbatched(kind, batch_first):
    layer = make_layer(replace(KINDS[kind], batch_first=batch_first), "float32")
    y, state, saved = layer.forward(np.ones((7, 4), "float32"))
    dx, dstate0, _ = layer.backward(saved, y)
    width = layer.proj_size or 6
    assert y.shape == (7, 2 * width) and dx.shape == (7, 4)
    widths = (width, 6) if kind.startswith("lstm") else (width,)
    for one in (state, dstate0, layer(np.ones((7, 4), "float32"))[1]):
        assert [part.shape for part in parts_of(one)] == [(4, width) for width in widths]


# ---- arrays in -------------------------------------------------------------------------------------------------------


def misaligned(value: np.ndarray) -> np.ndarray:
    other = np.empty(value.nbytes + 1, np.uint8)[1:].view(value.dtype).reshape(value.shape)
    other[...] = value
    assert not other.flags.aligned and other.flags.c_contiguous
    return other


def test_lengths_may_lie_anywhere():
    problem = build(Case(lengths=True), "float32")
    other = replace(problem, call=problem.call | {"lengths": misaligned(problem.call["lengths"])})
    assert bits(run(other)) == bits(run(problem))


def test_ids_may_lie_anywhere():
    layer = make_layer(Case(), "float32")
    ids = np.arange(10).reshape(5, 2) % 4
    assert layer(fr.OneHot(misaligned(ids), 4))[0].tobytes() == layer(fr.OneHot(ids, 4))[0].tobytes()


@every_cell
def test_input_without_axes_is_refused(cell):
    with pytest.raises(
        ValueError, match=r"x must have 3 axes \(T, B, I\), or 2 axes \(T, I\) unbatched, got shape \(\)"
    ):
        make_layer(Case(cell), "float32")(np.array(0, "float32"))


# ---- explain ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@every_kind
def test_explain_tells_backend_instruction_set_kernel_plan_and_copies(kind, training):
    layer = problem_of(kind).layer
    text = layer.explain((5, 3, 4), training=training)
    first, *others = text.splitlines()
    assert first.startswith(f"{type(layer).__name__} of x (T, B, I) = (5, 3, 4): backend cpu, instruction set ")
    assert f"up to {fr.get_num_threads()} threads" in first
    cell = kind.removesuffix("_projection")
    for k in range(2):
        assert others[k].startswith(
            f"layer {k}: {cell}, float32, forward: directions one after the other, each 1 thread, "
        )
        assert ("; backward: directions one after the other" in others[k]) is training
    assert text.count("copies: ") == 1 + training


def test_explain_names_the_instruction_set_of_this_process():
    command = [sys.executable, "-c", "import fusedrnn as fr; print(fr.GRU(3, 5).explain((4, 2, 3)))"]
    environment = os.environ | {"FUSEDRNN_ISA": "scalar"}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "instruction set scalar," in text


def test_explain_takes_shapes_in_the_axes_of_the_caller():
    layer, turned = fr.GRU(3, 5, seed=0), fr.GRU(3, 5, batch_first=True, seed=0)
    assert turned.explain((2, 4, 3)) == layer.explain((4, 2, 3)) == layer.explain([4, 2, 3])
    assert turned.explain((4, 3)) == layer.explain((4, 3)) == layer.explain((4, 1, 3))
    assert layer.explain(np.zeros((4, 2, 3)).shape) == layer.explain((np.int64(4), 2, 3))
    assert turned.explain((2, 4), ids=True) == layer.explain((4, 2), ids=True) == layer.explain([4, 2], ids=True)
    assert turned.explain((4,), ids=True) == layer.explain((4,), ids=True) == layer.explain((4, 1), ids=True)


def test_explain_tells_of_ids():
    first, _, copies = fr.GRU(3, 5).explain((4, 2), ids=True).splitlines()
    assert first.startswith("GRU of one-hot x (T, B, I) = (4, 2, 3): backend cpu, ")
    assert copies.startswith("copies: ids ")


@pytest.mark.parametrize("x_shape", [(0, 2, 3), (4, 0, 3), (0, 0, 3), (0, 3)])
def test_explain_takes_nothing_to_do(x_shape):
    assert "1 thread" in fr.GRU(3, 5).explain(x_shape, training=True)


def test_explain_changes_nothing():
    problem = problem_of("lstm", dropout=0.5)
    before = bits(run(problem))
    problem.layer.explain((5, 3, 4), training=True)
    assert bits(run(problem)) == before


@pytest.mark.parametrize(
    ("x_shape", "kind", "message"),
    [
        ((4, 2, 9), ValueError, r"x_shape must have 3 axes, .* the last I = input_size = 3, got \(4, 2, 9\)"),
        ((3,), ValueError, "x_shape must have 3 axes, or 2 unbatched"),
        ((1, 4, 2, 3), ValueError, "x_shape must have 3 axes, or 2 unbatched"),
        ((), ValueError, "x_shape must have 3 axes, or 2 unbatched"),
        ((-4, 2, 3), ValueError, r"x_shape\[0\] must be in \[0, 2147483647\], got -4"),
        ((4, 2.0, 3), TypeError, r"x_shape\[1\] must be an integer, got 2.0"),
        ((4, None, 3), TypeError, r"x_shape\[1\] must be an integer, got None"),
        (3, TypeError, "x_shape must be a tuple of integers, got 3"),
        (None, TypeError, "x_shape must be a tuple of integers, got None"),
        (np.zeros((4, 2, 3)), TypeError, "x_shape must be a tuple of integers, got a float64 array"),
        ("423", TypeError, "x_shape must be a tuple of integers, got '423'"),
    ],
)
@every_cell
def test_explain_refuses_what_is_no_shape_of_x(cell, x_shape, kind, message):
    layer = make_layer(Case(cell, I=3))
    with pytest.raises(kind, match=f"^{MAKERS[cell].__name__}.explain: {message}"):
        layer.explain(x_shape)


def test_explain_refuses_a_training_that_is_not_true_or_false():
    with pytest.raises(TypeError, match=r"^GRU.explain: training must be True or False, got 1"):
        fr.GRU(3, 5).explain((4, 2, 3), training=1)


# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def _same_threads_afterwards():
    before = fr.get_num_threads()
    yield
    fr.set_num_threads(before)


@pytest.mark.usefixtures("_same_threads_afterwards")
@pytest.mark.parametrize("n", [1, 2, 7, 4096, np.int64(3)])
def test_the_number_of_threads_can_be_set(n):
    fr.set_num_threads(n)
    assert fr.get_num_threads() == n
    assert f"up to {n} threads" in fr.GRU(3, 5).explain((4, 2, 3))


@pytest.mark.parametrize("n", [1, 3])
def test_the_environment_sets_the_number_of_threads(n):
    command = [sys.executable, "-c", "import fusedrnn as fr; print(fr.get_num_threads())"]
    environment = os.environ | {"FUSEDRNN_NUM_THREADS": str(n)}
    assert int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) == n


@pytest.mark.usefixtures("_same_threads_afterwards")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WIDE)
def test_any_number_of_threads_gives_the_same_bits(case, dtype):
    problem = build(WIDE[case], dtype)
    results = []
    for n in (1, 2, 3, 7):
        fr.set_num_threads(n)
        results.append((bits(run(problem)), bits(inference(problem))))
    assert results[1:] == results[:1] * 3
    assert " threads by " in problem.layer.explain(problem.x.shape, training=True)
