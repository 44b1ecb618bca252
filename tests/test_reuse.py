"""Arrays of the package lie in memory that is used again, and never in memory that somebody still holds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fusedrnn import _core

FLOAT = np.dtype("float32")
MEGABYTE = (1 << 18,)
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
needs_reuse = pytest.mark.skipif(SANITIZED, reason="under AddressSanitizer nothing is used again, so that it sees more")
needs_bad_alloc = pytest.mark.skipif(SANITIZED, reason="GCC's AddressSanitizer ends a process that asks for too much")


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7, 5), (70, 100), (200, 333), MEGABYTE, (5 << 18,)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_an_array_is_like_any_other(shape, dtype):
    array = _core.empty(shape, np.dtype(dtype))
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 3
    assert (array.copy() == 3).all()
    if array.nbytes >= 1 << 14:
        assert address(array) % 64 == 0


@needs_reuse
def test_freed_memory_is_used_again_and_only_then():
    first = _core.empty(MEGABYTE, FLOAT)
    second = _core.empty(MEGABYTE, FLOAT)
    assert not np.shares_memory(first, second)
    at = address(first)
    view = first[10:]
    del first
    assert address(_core.empty(MEGABYTE, FLOAT)) != at  # the view still holds it
    del view
    gc.collect()
    seen = [_core.empty(MEGABYTE, FLOAT) for _ in range(3)]
    assert at in {address(array) for array in seen}


LARGE = """
from pathlib import Path
import numpy as np
from fusedrnn import _core

resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
arrays = [_core.empty((80 << 18,), np.dtype("float32")) for _ in range(5)]
for array in arrays:
    array[...] = 1
held = resident()
del array, arrays
print(held - resident())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's account of memory")
def test_what_is_too_large_to_keep_goes_back_to_the_system():
    """In a process of its own: where malloc has large holes it takes memory from there, and puts it back there."""
    gone = int(subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True).stdout)
    assert gone > 100 << 20  # of 400 MiB no more than 256 are kept


@needs_reuse
def test_sizes_that_nobody_asks_for_any_more_make_room():
    del_me = [_core.empty((32 << 18,), FLOAT) for _ in range(8)]  # all that may be kept
    del del_me
    array = _core.empty((48 << 18,), FLOAT)
    at = address(array)
    del array
    assert address(_core.empty((48 << 18,), FLOAT)) == at


def test_tracemalloc_counts_it():
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traced = lambda: sum(t.size for t in tracemalloc.take_snapshot().filter_traces([arrays]).traces)  # noqa: E731
    tracemalloc.start()
    try:
        before = traced()
        array = _core.empty(MEGABYTE, FLOAT)
        assert traced() - before == array.nbytes
        del array
        assert traced() == before
    finally:
        tracemalloc.stop()


def test_many_threads_never_get_the_same_block():
    failures = []

    def work(number):
        generator = np.random.default_rng(number)
        for _ in range(200):
            array = _core.empty((int(generator.integers(1 << 14, 1 << 18)),), FLOAT)
            array[...] = number
            if not (array == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _child(queue):
    queue.put(float(_core.empty(MEGABYTE, FLOAT).fill(2) or 2))


def test_a_child_of_fork_has_memory_of_its_own():
    kept = _core.empty(MEGABYTE, FLOAT)
    kept[...] = 1
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == 2
    child.join(30)
    assert child.exitcode == 0
    assert (kept == 1).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "message"),
    [
        ((-1,), "float32", ValueError, r"empty: shape must have no negative axis, got \(-1,\)"),
        ((1 << 40, 1 << 40), "float32", OverflowError, "more than 2"),
        pytest.param((1 << 50,), "float32", MemoryError, None, marks=needs_bad_alloc),
        ((3,), "object", TypeError, "empty: dtype must be one of numbers"),
    ],
)
def test_bad_requests_are_errors(shape, dtype, error, message):
    with pytest.raises(error, match=message):
        _core.empty(shape, np.dtype(dtype))
