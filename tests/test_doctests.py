"""The examples in the docstrings run and show what comes out; everything public has a docstring, and an example."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Peers and twins need other libraries.
PEERS = ("fusedrnn.bench.peers.", "fusedrnn.bench.twins.", "fusedrnn.bench.gpu.pytorch")
LEFT_OUT = ("fusedrnn.__main__", "fusedrnn.bench.gpu.__main__", "fusedrnn._core", *PEERS)


def _module_names(path: Iterable[str] = fr.__path__, prefix: str = "fusedrnn.") -> Iterator[str]:
    for found in pkgutil.iter_modules(path, prefix):
        if not found.name.startswith(LEFT_OUT):
            yield found.name
            if found.ispkg:
                yield from _module_names(importlib.import_module(found.name).__path__, f"{found.name}.")


def _public_names(module: ModuleType) -> list[str]:
    """Of __all__; of a module without one, the names without underscore that it defines."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and n[0] != "_"]
    return list(getattr(module, "__all__", own))


def _public_modules(start: ModuleType = fr) -> Iterator[ModuleType]:
    """Those that a user reaches from `import fusedrnn` by public names."""
    yield start
    for name in _public_names(start):
        value = getattr(start, name)
        if isinstance(value, ModuleType):
            yield from _public_modules(value)


def _objects(wanted: Any) -> dict[str, Any]:
    """Public classes or functions by the name of the place that defines them."""
    values = [getattr(module, name) for module in PUBLIC_MODULES for name in _public_names(module)]
    values = [value for value in values if wanted(value) and value.__module__.startswith("fusedrnn")]
    return {f"{value.__module__}.{value.__qualname__}": value for value in values}


def _methods() -> Iterator[tuple[str, Any]]:
    """Public methods and properties of public classes, named after the class in the package that defines them."""
    owners = {owner for cls in CLASSES.values() for owner in inspect.getmro(cls)}
    for owner in sorted(owners, key=str):
        for name, value in vars(owner).items() if owner.__module__.startswith("fusedrnn") else ():
            documented = inspect.isroutine(value) or inspect.isdatadescriptor(value) or hasattr(value, "__wrapped__")
            slot = inspect.ismemberdescriptor(value) or name in getattr(owner, "_fields", ())
            if documented and not slot and (name == "__call__" or name[0] != "_"):
                yield f"{owner.__module__}.{owner.__qualname__}.{name}", getattr(owner, name)


MODULES = ["fusedrnn", *_module_names()]
PUBLIC_MODULES = list(_public_modules())
CLASSES = _objects(inspect.isclass)
FUNCTIONS = _objects(inspect.isfunction)
METHODS = dict(_methods())


def test_all_parts_of_the_package_are_looked_at():
    assert {"fusedrnn", "fusedrnn.layers", "fusedrnn.optim.adam", "fusedrnn.cli", "fusedrnn.bench.cases"} <= set(
        MODULES
    )
    names = {module.__name__ for module in PUBLIC_MODULES}
    assert {"fusedrnn.functional", "fusedrnn.initializers", "fusedrnn.reference", "fusedrnn.train.plot"} <= names
    assert {"fusedrnn.layers.LSTM", "fusedrnn.nn.linear.Linear", "fusedrnn.layers.LSTMState"} <= CLASSES.keys()
    assert {"fusedrnn.threads.set_num_threads", "fusedrnn.functional.linear.linear_forward"} <= FUNCTIONS.keys()
    assert {"fusedrnn.recurrent.Recurrent.__call__", "fusedrnn.module.Module.writable"} <= METHODS.keys()


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads, printing = fr.get_num_threads(), np.get_printoptions()
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np, "fr": fr}, optionflags=OPTIONS)
    assert result.failed == 0
    assert fr.get_num_threads() == threads
    assert np.get_printoptions() == printing


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_docstring(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_names_of_all_exist_and_come_once(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert [one for one in names if not hasattr(module, one)] == []
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("where", [*CLASSES, *FUNCTIONS])
def test_everything_public_has_a_docstring(where):
    value = (CLASSES | FUNCTIONS)[where]
    assert value.__doc__
    # Dataclasses and named tuples without one get a docstring that is their signature.
    assert not value.__doc__.startswith(f"{value.__name__}(")


@pytest.mark.parametrize("where", METHODS)
def test_every_public_method_has_a_docstring(where):
    assert inspect.getdoc(METHODS[where])


@pytest.mark.parametrize("where", [*CLASSES, *FUNCTIONS])
def test_every_public_class_and_function_has_an_example(where):
    _, heading, examples = inspect.cleandoc((CLASSES | FUNCTIONS)[where].__doc__ or "").partition(
        "Examples\n--------\n"
    )
    assert heading
    assert ">>> " in examples
