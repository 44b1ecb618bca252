"""The fixture `gpu`: CuPy with a GPU, or else the emulated device on which every kernel runs on the host.

And Ctrl-C, which tests send to processes that they start.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import emulated
import pytest

from fusedrnn.backends import cuda

ROOT = Path(__file__).resolve().parents[1]

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def real_cupy() -> ModuleType | None:
    """CuPy, where it sees a GPU and the backend is built."""
    if importlib.util.find_spec("cupy") is None or importlib.util.find_spec("fusedrnn._cuda") is None:
        return None
    import cupy

    try:
        return cupy if cupy.cuda.runtime.getDeviceCount() else None
    except cupy.cuda.runtime.CUDARuntimeError:
        return None


def build_emulated(folder: Path) -> Path:
    """The module _cuda with the kernels as host code; skips with a reason where the tools for it are missing."""
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("no GPU, and cmake and ninja, which build the emulated one, are not installed")
    pybind11 = pytest.importorskip("pybind11", reason="no GPU, and pybind11, which the emulated one needs, is missing")
    command = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DFUSEDRNN_CUDA=EMULATED", "-DFUSEDRNN_WERROR=ON"]
    command += [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]
    command += [f"-DPython_EXECUTABLE={sys.executable}"]
    for step in (command, ["cmake", "--build", folder, "--target", "_cuda"]):
        done = subprocess.run(step, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("_cuda*.so"))


@pytest.fixture(scope="session")
def emulated_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The emulated module _cuda, built once, or the one that FUSEDRNN_EMULATED names."""
    named = os.environ.get(emulated.VARIABLE)
    path = Path(named) if named else build_emulated(tmp_path_factory.mktemp("emulated"))
    return emulated.load(path)


@pytest.fixture(scope="module")
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """CuPy: the real one, or the stand-in of tests/emulation, while the tests of a file run."""
    cupy = real_cupy()
    if cupy is not None:
        yield cupy
        return
    module = request.getfixturevalue("emulated_module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fusedrnn._cuda", module)
        _forget(patch)
        patch.syspath_prepend(emulated.EMULATION)
        cuda.parts.cache_clear()
        yield importlib.import_module("cupy")
        _forget(patch)
        cuda.parts.cache_clear()


def _forget(patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        patch.delitem(sys.modules, name)
