"""Two processes that keep the same cores busy: nobody slows down more than threefold."""

from __future__ import annotations

import subprocess
import sys

import pytest

MOST = 3.0  # two processes share the cores, so twice is what there is
TRIES = 3  # for a machine that has other things to do as well

# Prints the milliseconds of a call; both processes begin when they are told.
CALLS = """
import sys, time
import numpy as np
import fusedrnn as fr
T, B, H = map(int, sys.argv[1:])
lstm = fr.LSTM(H, H, seed=0)
x = np.random.default_rng(0).standard_normal((T, B, H), dtype=np.float32)
lstm(x)
print("ready", flush=True)
sys.stdin.readline()
begin, calls = time.perf_counter(), 0
while time.perf_counter() < begin + 1:
    y, state, saved = lstm.forward(x)
    lstm.backward(saved, y)
    calls += 1
print(1e3 * (time.perf_counter() - begin) / calls, flush=True)
sys.stdin.readline()
"""


def milliseconds(count: int, sizes: tuple[int, int, int]) -> list[float]:
    """Of a call in each of `count` processes at the same time."""
    line = [sys.executable, "-c", CALLS, *map(str, sizes)]
    processes = [subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]

    def told(answer_of: subprocess.Popen[str]) -> str:
        assert answer_of.stdout is not None
        return answer_of.stdout.readline()

    def tell(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    assert [told(process) for process in processes] == ["ready\n"] * count
    for process in processes:
        tell(process)
    found = [float(told(process)) for process in processes]
    for process in processes:
        process.communicate("\n")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(100, 1, 256), (35, 20, 200), (50, 64, 512)], ids=str)
def test_two_processes_slow_each_other_down_threefold_at_most(sizes: tuple[int, int, int]) -> None:
    ratios = []
    for _ in range(TRIES):
        alone = milliseconds(1, sizes)[0]
        ratios.append(max(milliseconds(2, sizes)) / alone)
        if ratios[-1] <= MOST:
            return
    raise AssertionError(f"slowed down by {ratios}")
