"""What takes a GPU to be seen: very many launches, memory that ends, another process beside, NVIDIA's checkers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Case, build
from test_cuda_layers import TIERS, run

import fusedrnn as fr

pytestmark = pytest.mark.gpu

TESTS = Path(__file__).parent
LAUNCHES, LAUNCHES_EMULATED = 100_000, 100
SECONDS = 300.0  # that a process may take: one that hangs takes longer

BESIDE = """
import cupy
import fusedrnn as fr

lstm = fr.LSTM(64, 512, device="cuda", seed=0)
x = cupy.ones((50, 16, 64), "float32")
first = lstm(x)[0].get()
print("runs", flush=True)
for _ in range(300):
    assert (lstm(x)[0].get() == first).all()
"""


@pytest.fixture
def real(gpu: Any) -> Any:
    if gpu.__version__ == "emulated":
        pytest.skip("the emulated GPU has no end of its memory, no process beside, and none of NVIDIA's checkers")
    return gpu


@pytest.mark.parametrize("tier", TIERS)
def test_very_many_launches(gpu: Any, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    """None hangs, and the last one gives the bits of the first; the tier's blocks meet twice in each."""
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    layer = fr.LSTM(5, 40, device="cuda", seed=0)
    x = gpu.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32"))
    first = gpu.asnumpy(layer(x)[0])
    for _ in range(LAUNCHES_EMULATED if gpu.__version__ == "emulated" else LAUNCHES):
        y, _ = layer(x)
    assert np.array_equal(gpu.asnumpy(y), first)


def test_memory_that_ends_is_an_error_and_no_more(real: Any) -> None:
    layer = fr.LSTM(64, 256, device="cuda", seed=0)
    x = real.ones((100, 32, 64), "float32")
    expected = real.asnumpy(layer(x)[0])
    pool = real.get_default_memory_pool()
    pool.free_all_blocks()
    limit = pool.get_limit()
    pool.set_limit(size=pool.used_bytes() + (1 << 20))
    try:
        with pytest.raises(real.cuda.memory.OutOfMemoryError):
            layer.forward(x)
    finally:
        pool.set_limit(size=limit)
    assert np.array_equal(real.asnumpy(layer(x)[0]), expected)


@pytest.mark.parametrize("tier", ["cluster", "grid"])
def test_another_process_beside(real: Any, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    """Both want all multiprocessors; each gets its turn, and its bits."""
    problem = build(Case(T=40, B=20, I=30, H=200), "float32", device="cuda")
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    expected = run(real, problem)
    monkeypatch.delenv("FUSEDRNN_TIER")
    with subprocess.Popen([sys.executable, "-c", BESIDE], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "runs\n"
            monkeypatch.setenv("FUSEDRNN_TIER", tier)
            for _ in range(50):
                found = run(real, problem)
                assert all(np.array_equal(expected[name], found[name]) for name in expected)
            assert other.wait(timeout=SECONDS) == 0
        finally:
            other.kill()


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_checkers_find_nothing(tool: str) -> None:
    checker = shutil.which("compute-sanitizer")
    if checker is None:
        pytest.skip("compute-sanitizer, which comes with CUDA's tools, is not on PATH")
    command = [
        checker,
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        "--target-processes",
        "all",
        sys.executable,
        "-m",
        "pytest",
    ]
    small = ["-q", "-p", "no:cacheprovider", str(TESTS / "test_cuda_tiers.py"), "-k", "one_launch or tf32_rounds"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, timeout=4 * SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
