"""Ctrl-C within a single call: it stops within half a second, on all threads, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import long_calls
import pytest

LAYERS = [
    *("forward-units", "forward-rows", "forward-directions", "forward-wave", "forward-lanes"),
    *("backward-units", "backward-rows", "backward-directions", "backward-wave"),
]
HALF_A_SECOND = 0.5


def run(program: str, call: str, threads: int) -> dict[str, Any]:
    line = [sys.executable, long_calls.__file__, program, call, str(threads)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", [*LAYERS, "matmul"])
def test_a_call_stops_within_half_a_second(call: str, threads: int) -> None:
    found = run("interrupted", call, threads)
    assert min(found["late"]) < HALF_A_SECOND  # of a few tries, for a machine that has other things to do as well
    assert found["same"] and found["denormals"]


@pytest.mark.parametrize(("call", "threads"), [("forward-units", 2), ("forward-directions", 2), ("backward-rows", 1)])
def test_a_handler_that_raises_nothing_lets_the_call_go_on(call: str, threads: int) -> None:
    found = run("handled", call, threads)
    assert found["within"] == [True]  # the handler ran, and ran in the midst of the call
    assert found["late"][0] < HALF_A_SECOND
    assert found["handler"] == [True]
    assert found["same"]


def test_what_a_handler_raises_comes_out_of_the_call() -> None:
    found = run("raised", "forward-rows", 2)
    assert found["text"] == "from the handler"


@pytest.mark.parametrize("call", ["forward-units", "backward-rows"])
def test_other_threads_of_python_are_not_disturbed(call: str) -> None:
    found = run("beside", call, 2)
    assert len(found["late"]) == 2
    assert found["count"] > 0
    assert found["same"]
