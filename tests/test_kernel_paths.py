"""Paths within the kernels that no result shows, since every path has the same bits: programs that count them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

COUNTED = Path(__file__).parent / "counted"
CSRC = Path(__file__).parent.parent / "csrc"


@pytest.mark.parametrize("name", ["products", "shares"])
def test_kernels_take_the_paths_that_they_should(tmp_path: Path, name: str) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler named c++")
    options = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{COUNTED}", f"-I{CSRC}"]
    program = tmp_path / name
    subprocess.run([compiler, *options, str(COUNTED / f"{name}.cpp"), "-o", str(program)], check=True)
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout
