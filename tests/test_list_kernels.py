"""The kernels over lists of arrays and the sum by id, against NumPy: the same bits, on every instruction set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import instruction_sets
import numpy as np
import pytest
from numeric import strided, unaligned
from optimisers import TWINS, scatter_add, sum_of_squares

import fusedrnn as fr
from fusedrnn import _core, optim
from fusedrnn import functional as F
from fusedrnn.module import Module
from fusedrnn.optim import kernels

DTYPES = ("float32", "float64")
THREADS = (1, 2, 3, 7)
# No axis, nothing, one, around vectors of every width, around blocks and parts of a thread, and more than all threads'.
SHAPES = [
    (),
    (0,),
    (3, 0),
    (1,),
    (7,),
    (8, 2),
    (31,),
    (33,),
    (255,),
    (257,),
    (2**14,),
    (2**14 + 1,),
    (5, 9001),
    (70000,),
]


class Arrays(Module):
    """Parameters of the shapes given, alternately of one dtype and of the other where two are given."""

    def __init__(self, *dtypes: str, shapes: list[tuple[int, ...]] = SHAPES, seed: int = 3) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)
        for k, shape in enumerate(shapes):
            self._add_parameter(f"p{k}", np.array(generator.standard_normal(shape), dtypes[k % len(dtypes)]))


def gradients(module: Module, step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([40, step])
    return {n: np.array(generator.standard_normal(v.shape), v.dtype) for n, v in module.parameters().items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = fr.get_num_threads()
    fr.set_num_threads(count)
    try:
        yield
    finally:
        fr.set_num_threads(before)


def bits(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in arrays.items()}


SETTINGS: list[tuple[Callable[..., optim.Optimizer], dict[str, Any]]] = [
    (optim.SGD, {}),
    (optim.SGD, {"weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9}),
    (optim.SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (optim.Adam, {}),
    (optim.Adam, {"weight_decay": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
    (optim.AdamW, {"weight_decay": 0.3}),
    (optim.Adagrad, {"weight_decay": 0.1}),
    (optim.Adagrad, {"initial_accumulator": 0.1, "eps": 0.0}),
    (optim.RMSprop, {"weight_decay": 0.1}),
    (optim.RMSprop, {"momentum": 0.9, "alpha": 0.9}),
    (optim.RMSprop, {"centered": True, "alpha": 0.8}),
    (optim.RMSprop, {"centered": True, "momentum": 0.8, "eps_in_root": True, "initial_square": 1.0}),
]
GROUPS = [
    optim.Group("p3", frozen=True),
    optim.Group("p9", lr_scale=0.5, weight_decay=0.0),
    optim.Group("p1?", lr_scale=2.0, weight_decay=0.2),
]


def trained(
    make: Callable[..., optim.Optimizer], settings: dict[str, Any], dtypes: tuple[str, ...], steps: int = 5
) -> dict[str, np.ndarray]:
    """Parameters and states after some steps with a rate that falls."""
    module = Arrays(*dtypes)
    optimizer = make(module, optim.exponential(0.1, 0.5, 2), groups=GROUPS, **settings)
    for step in range(steps):
        optimizer.step(gradients(module, step))
    return module.state_dict() | optimizer.state_dict()


@pytest.mark.parametrize("dtypes", [("float32",), ("float64",), DTYPES], ids="-".join)
@pytest.mark.parametrize(("make", "settings"), SETTINGS)
def test_steps_are_those_of_numpy_for_any_number_of_threads(
    make: Any, settings: dict[str, Any], dtypes: tuple[str, ...]
) -> None:
    expected = bits(trained(TWINS[make], settings, dtypes))
    for count in THREADS:
        with threads(count):
            assert bits(trained(make, settings, dtypes)) == expected, count


@pytest.mark.parametrize(("make", "settings"), SETTINGS)
def test_numbers_that_are_none_and_huge_ones_pass_as_in_numpy(make: Any, settings: dict[str, Any]) -> None:
    """Each value meets each in parameter and gradient; what is not a number stays where it is."""
    values = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 0.0, -0.0, 1.0, 1e-3], "float32")
    left, right = (part.reshape(-1).copy() for part in np.meshgrid(values, values))
    results = []
    for kind in (make, TWINS[make]):
        module = Arrays("float32", shapes=[left.shape])
        module.load_state_dict({"p0": left})
        optimizer = kind(module, 0.1, **settings)
        with np.errstate(all="ignore"):
            for _ in range(3):
                optimizer.step({"p0": right})
        results.append(module.state_dict() | optimizer.state_dict())
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)
    finite = np.isfinite(left) & np.isfinite(right) & (np.abs(right) <= 1) & (np.abs(left) <= 1e30)
    assert np.isfinite(results[0]["p0"][finite]).all()


def test_denormal_numbers_count_as_zero_and_the_callers_mode_is_back() -> None:
    """As in every kernel: a moment that decays to a denormal would cost a hundred cycles an element from then on."""
    tiny = np.float32(1e-40)
    module = Arrays("float32", shapes=[(100,)])
    module.load_state_dict({"p0": np.full(100, tiny)})
    optim.SGD(module, 1.0).step({"p0": np.full(100, tiny)})
    assert (module.parameters()["p0"] == 0).all()
    assert optim.clip_by_global_norm({"a": np.full(100, tiny)}, 1.0) == 0.0
    assert tiny * np.float32(0.5) != 0


@pytest.mark.parametrize("make", TWINS)
def test_gradients_that_lie_awkwardly_make_the_same_steps(make: Any) -> None:
    module, twin = Arrays("float32"), Arrays("float32")
    ours, theirs = make(module, 0.1, weight_decay=0.1), make(twin, 0.1, weight_decay=0.1)
    for step in range(2):
        grads = gradients(module, step)
        ours.step(grads)
        theirs.step({n: (unaligned if k % 2 else strided)(v) for k, (n, v) in enumerate(grads.items())})
    assert bits(module.state_dict()) == bits(twin.state_dict())


@pytest.mark.parametrize("count", THREADS)
def test_a_layer_under_two_names_takes_both_steps_one_after_the_other(count: int) -> None:
    class Tied(Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = fr.nn.Linear(300, 200, seed=5)

    results = []
    for kind in (optim.Adam, TWINS[optim.Adam]):
        module = Tied()
        optimizer = kind(module, 0.1)
        with threads(count):
            for step in range(3):
                optimizer.step(gradients(module, step))
        results.append(bits(module.state_dict() | optimizer.state_dict()))
    assert results[0] == results[1]


@pytest.mark.parametrize("count", THREADS)
def test_parameters_as_their_own_gradients(count: int) -> None:
    module = Arrays("float64")
    expected = {name: value - value * 0.25 for name, value in module.state_dict().items()}
    with threads(count):
        optim.SGD(module, 0.25).step(module.parameters())
    assert bits(module.state_dict()) == bits(expected)


# ---- sums of squares and scaling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", [("float32",), ("float64",), DTYPES], ids="-".join)
def test_sums_of_squares_have_the_documented_order(dtypes: tuple[str, ...]) -> None:
    arrays = list(gradients(Arrays(*dtypes), 0).values())
    expected = [sum_of_squares(array) for array in arrays]
    exact = [float(np.square(array.astype(np.longdouble)).sum()) for array in arrays]
    np.testing.assert_allclose(expected, exact, rtol=1e-14, atol=0)
    for count in THREADS:
        with threads(count):
            assert kernels.sums_of_squares(arrays) == expected
            assert kernels.sums_of_squares([strided(array) for array in arrays]) == expected
            assert kernels.sums_of_squares([unaligned(array) for array in arrays]) == expected
    assert kernels.sums_of_squares([]) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_sums_of_squares_overflow_to_infinity_and_keep_what_is_no_number(value: float) -> None:
    arrays = [np.ones(40000), np.ones(40000), np.ones(3)]
    arrays[1][39999] = value
    sums = kernels.sums_of_squares(arrays)
    assert [sums[0], sums[2]] == [40000.0, 3.0]
    np.testing.assert_equal(sums[1], np.nan if np.isnan(value) else np.inf)
    if value == 1e200:
        with pytest.raises(ValueError, match=r"grads\['b'\] must be finite, got values up to 1e\+200, whose norm"):
            optim.clip_by_global_norm({"a": arrays[0], "b": arrays[1]}, 1.0)
    assert (arrays[0] == 1).all()


@pytest.mark.parametrize("dtypes", [("float32",), ("float64",), DTYPES], ids="-".join)
def test_clip_scales_as_numpy_for_any_number_of_threads(dtypes: tuple[str, ...]) -> None:
    start = gradients(Arrays(*dtypes), 0)
    for count in THREADS:
        with threads(count):
            grads = {
                n: (value.copy(), strided(value), unaligned(value))[k % 3] for k, (n, value) in enumerate(start.items())
            }
            norm = optim.clip_by_global_norm(grads, 0.1)
        assert bits(grads) == bits({name: value * value.dtype.type(0.1 / norm) for name, value in start.items()})


@pytest.mark.parametrize("count", THREADS)
def test_an_array_under_two_names_is_scaled_twice(count: int) -> None:
    array = np.ones(100000)
    with threads(count):
        norm = optim.clip_by_global_norm({"a": array, "b": array[50000:], "c": array[:0]}, 1.0)
    assert norm == pytest.approx(150000**0.5, rel=1e-15)
    assert (array[:50000] == 1 / norm).all()
    assert (array[50000:] == 1 / norm * (1 / norm)).all()


# ---- sums by id ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "v", "d"), [(0, 3, 4), (5, 1, 1), (900, 50, 0), (1, 9, 33), (700, 2000, 200), (999, 77, 64)]
)
def test_sums_by_id_are_those_of_numpy_for_any_number_of_threads(n: int, v: int, d: int, dtype: str) -> None:
    generator = np.random.default_rng(6)
    ids = np.minimum(generator.zipf(1.5, n), v) - 1  # unevenly spread, as words are
    rows = generator.standard_normal((n, d)).astype(dtype)
    expected = scatter_add(ids, rows, v)
    for count in (*THREADS, 40):
        with threads(count):
            assert F.embedding_backward(ids, rows, v).tobytes() == expected.tobytes(), count


def test_sums_by_id_with_few_columns_share_out_rows() -> None:
    ids, rows = np.arange(40000) % 20000, np.ones((40000, 3), "float32")
    for count in (*THREADS, 40):
        with threads(count):
            assert (F.embedding_backward(ids, rows, 20000) == 2).all()


def test_sums_by_id_keep_numbers_that_are_none_to_their_row() -> None:
    rows = np.array([[np.nan], [np.inf], [-np.inf], [3e38], [3e38]], "float32")
    out = F.embedding_backward(np.array([0, 2, 3, 4, 4]), rows, 6)
    np.testing.assert_array_equal(out[:, 0], np.array([np.nan, 0, np.inf, -np.inf, np.inf, 0], "float32"))


# ---- the bindings check what they are given ------------------------------------------------------------------------

A, B = np.ones(3, "float32"), np.ones(3)
FIXED = np.ones(3, "float32")
FIXED.flags.writeable = False

ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: _core.update("sgdd", [], [], [], [], [], []),
        ValueError,
        "update: optimiser must be one of sgd, adam, adagra",
    ),
    (
        lambda: _core.update("sgd", [0.0], [], [], [None], [], []),
        ValueError,
        "update: numbers must have length 2, got 1",
    ),
    (
        lambda: _core.update("sgd", [0.0, 0.0], [A], [], [None], [0.1], [0.0]),
        ValueError,
        "update: gradients must have length 1, got 0",
    ),
    (
        lambda: _core.update("sgd", [0.0, 0.0], [], [], [], [], []),
        ValueError,
        "update: states must have length 1, got 0",
    ),
    (
        lambda: _core.update("sgd", [0.5, 0.0], [A], [A], [[]], [0.1], [0.0]),
        ValueError,
        "update: every state must have length 1, got 0",
    ),
    (
        lambda: _core.update("sgd", [0.0, 0.0], [A], [B], [None], [0.1], [0.0]),
        TypeError,
        "update: gradients must have dtype float32, got float64",
    ),
    (
        lambda: _core.update("sgd", [0.0, 0.0], [A], [A[:2]], [None], [0.1], [0.0]),
        ValueError,
        "update: gradients must have shape of its parameter = (3,), got (2,)",
    ),
    (
        lambda: _core.update("sgd", [0.0, 0.0], [FIXED], [A], [None], [0.1], [0.0]),
        ValueError,
        "update: parameters must be writable, got a read-only array",
    ),
    (lambda: _core.sums_of_squares([A, B]), TypeError, "sums_of_squares: arrays must have dtype float32, got float64"),
    (
        lambda: _core.sums_of_squares([[1.0]]),
        TypeError,
        "sums_of_squares: arrays must be a numpy array, got <class 'list'>",
    ),
    (lambda: _core.scale([FIXED], 2.0), ValueError, "scale: arrays must be writable, got a read-only array"),
    (lambda: _core.scale([np.ones((4, 4))[:, ::2]], 2.0), ValueError, "scale: arrays must be C-contiguous"),
    (
        lambda: _core.scatter_add(np.array([0, 2]), np.ones((2, 3)), np.ones((2, 3))),
        ValueError,
        "scatter_add: ids must be in [0, V) = [0, 2), got 2",
    ),
    (
        lambda: _core.scatter_add(np.array([0, 1]), np.ones((2, 3)), np.ones((2, 4))),
        ValueError,
        "scatter_add: out must have shape (V, D) = (2, 3), got (2, 4)",
    ),
    (
        lambda: _core.scatter_add(np.array([0]), np.ones((1, 3), int), np.ones((2, 3))),
        TypeError,
        "scatter_add: x must have dtype float32 or float64, got int64",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_bindings_refuse_what_does_not_fit(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert (A == 1).all()


# ---- instruction sets ----------------------------------------------------------------------------------------------


def digest() -> str:
    """Of steps of every optimiser, sums, scaled gradients and sums by id."""
    found = hashlib.sha256()
    for make, settings in SETTINGS:
        for value in trained(make, settings, DTYPES).values():
            found.update(value.tobytes())
    grads = gradients(Arrays(*DTYPES), 0)
    found.update(repr((kernels.sums_of_squares(grads.values()), optim.clip_by_global_norm(grads, 0.1))).encode())
    rows = np.random.default_rng(7).standard_normal((500, 65))
    found.update(F.embedding_backward(np.arange(500) % 9, rows, 9).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("isa", instruction_sets.ALL)
def test_every_instruction_set_gives_the_same_bits(isa: str) -> None:
    found = instruction_sets.python_with(isa, "-c", "import test_list_kernels; print(test_list_kernels.digest())")
    assert found.stdout.strip() == digest(), found.stderr
    instruction_sets.run_again(isa, __file__)
