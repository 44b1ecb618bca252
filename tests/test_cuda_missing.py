"""``device="cuda"`` where something is missing for it: one clear error that says what."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import fusedrnn as fr
from fusedrnn.backends import cuda

ROOT = Path(__file__).resolve().parents[1]


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


def no_nvrtc() -> int:
    raise RuntimeError("CuPy failed to load\n libnvrtc.so.13")


def cupy_with(monkeypatch: pytest.MonkeyPatch, count: object, nvrtc: object = lambda: (0, 0)) -> None:
    module, module.cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    module.cuda.runtime = ModuleType("cupy.cuda.runtime")
    module.cuda.runtime.CUDARuntimeError = NoDriverError
    module.cuda.runtime.getDeviceCount = count
    module.cuda.cublas = SimpleNamespace()
    module.cuda.nvrtc = SimpleNamespace(getVersion=nvrtc)
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


def test_without_a_library_that_is_loaded_late(nothing_loaded: pytest.MonkeyPatch) -> None:
    nothing_loaded.setitem(sys.modules, "fusedrnn._cuda", ModuleType("fusedrnn._cuda"))
    cupy_with(nothing_loaded, lambda: 1, no_nvrtc)
    remedy = "pip install 'fusedrnn[cuda13]'"
    assert message_of() == (
        "LSTM: device must be 'cpu' here, got 'cuda': a library of CUDA cannot be loaded "
        f"(CuPy failed to load libnvrtc.so.13); {remedy}"
    )

    def load(name: str) -> object:
        raise ImportError(f"lib{name}.so.13: cannot open shared object file")

    del sys.modules["cupy"].cuda.cublas
    sys.modules["cupy"].cuda.__getattr__ = load
    assert message_of() == (
        "LSTM: device must be 'cpu' here, got 'cuda': a library of CUDA cannot be loaded "
        f"(libcublas.so.13: cannot open shared object file); {remedy}"
    )


def test_with_a_cupy_that_cannot_be_loaded(nothing_loaded: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    nothing_loaded.delitem(sys.modules, "cupy")
    nothing_loaded.syspath_prepend(tmp_path)
    assert message_of() == (
        "LSTM: device must be 'cpu' here, got 'cuda': CuPy or the backend cannot be loaded "
        "(libcudart.so.13: cannot open shared object file)"
    )


def test_the_extras_bring_all_that_a_gpu_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for version in (12, 13):
        needed = [f"cupy-cuda{version}x[ctk]>=14", "ml_dtypes>=0.5", "numpy>=2.1.2"]
        assert extras[f"cuda{version}"][:3] == needed
    assert extras["cuda13"][3:] == ["nvidia-nccl-cu13>=2.27.7,<3"]  # for several GPUs
