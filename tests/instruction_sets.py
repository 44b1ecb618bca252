"""Tests of a file once more, in a process of its own that is told which instruction set to use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusedrnn import _core

ALL = ("scalar", "avx2", "avx512")


def python_with(isa: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of the tests; skip the test where this process has the set, or the processor has not."""
    if _core.isa() == isa or "FUSEDRNN_ISA" in os.environ:
        pytest.skip("this process tests that one already")
    probe = _run(isa, "-c", "from fusedrnn import _core; print(_core.isa())")
    if probe.returncode != 0:
        pytest.skip(f"this processor has no {isa}: {probe.stderr.strip().splitlines()[-1]}")
    assert probe.stdout.strip() == isa
    return _run(isa, *words)


def run_again(isa: str, file: str, *options: str) -> None:
    """The tests of `file` pass there as well; `options` are those of pytest."""
    again = python_with(isa, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, file)
    assert again.returncode == 0, again.stdout[-3000:]


def _run(isa: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"FUSEDRNN_ISA": isa}
    folder = Path(__file__).parent
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False, cwd=folder
    )
