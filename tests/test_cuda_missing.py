"""``device="cuda"`` where something is missing for it: one clear error that says what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import fusedrnn as fr
from fusedrnn.backends import cuda


class NoDriverError(RuntimeError):
    """As CuPy raises it."""


def no_driver() -> int:
    raise NoDriverError("cudaErrorInsufficientDriver")


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Neither CuPy nor the extension module, until the test puts one there."""
    for name in ("cupy", "fusedrnn._cuda"):
        monkeypatch.setitem(sys.modules, name, None)
    cuda.parts.cache_clear()
    yield monkeypatch
    cuda.parts.cache_clear()


def cupy_with(monkeypatch: pytest.MonkeyPatch, count: object) -> None:
    module, module.cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    module.cuda.runtime = ModuleType("cupy.cuda.runtime")
    module.cuda.runtime.CUDARuntimeError = NoDriverError
    module.cuda.runtime.getDeviceCount = count
    monkeypatch.setitem(sys.modules, "cupy", module)


def message_of() -> str:
    with pytest.raises(RuntimeError) as caught:
        fr.LSTM(3, 5, device="cuda")
    return str(caught.value)


def test_without_cupy(nothing_loaded: pytest.MonkeyPatch) -> None:
    assert message_of() == (
        "LSTM: device must be 'cpu' here, got 'cuda': the module cupy is missing; pip install 'fusedrnn[cuda13]'"
    )


def test_without_the_extension_module(nothing_loaded: pytest.MonkeyPatch) -> None:
    cupy_with(nothing_loaded, lambda: 1)
    assert message_of() == (
        "LSTM: device must be 'cpu' here, got 'cuda': this build has no CUDA backend; install from source where nvcc "
        "is found (FUSEDRNN_CUDA=ON)"
    )


@pytest.mark.parametrize(
    ("count", "reason"),
    [(lambda: 0, "there is no GPU"), (no_driver, "no GPU can be used (cudaErrorInsufficientDriver)")],
)
def test_without_a_gpu(nothing_loaded: pytest.MonkeyPatch, count: object, reason: str) -> None:
    cupy_with(nothing_loaded, count)
    nothing_loaded.setitem(sys.modules, "fusedrnn._cuda", ModuleType("fusedrnn._cuda"))
    assert message_of() == f"LSTM: device must be 'cpu' here, got 'cuda': {reason}"
