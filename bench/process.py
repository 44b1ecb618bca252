"""The parent's end of a worker: starts the process of one library and sends it requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

# Variables by which numerical libraries are told their number of threads; they read them when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "FUSEDRNN_NUM_THREADS",
)
CLOSE_S = 2.0


class WorkerError(Exception):
    """A worker could not do what it was asked, or is no longer there."""


@contextmanager
def _cores(threads: int | None) -> Iterator[None]:
    """A process started inside may use no more cores than threads: some libraries only go by the cores they see."""
    if threads is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class WorkerProcess:
    """A library in a process of its own, kept alive between requests.

    Parameters
    ----------
    name : fusedrnn itself or a name of `peers.PEERS`
    threads : how many threads (and cores) the library gets; None leaves both to the library
    timeout_s : a worker that takes longer to answer is killed

    Examples
    --------
    >>> with WorkerProcess("numpy") as worker:
    ...     list(worker.request("hello")["versions"])
    ['numpy']
    """

    def __init__(self, name: str, threads: int | None = None, timeout_s: float = 300.0) -> None:
        self.name = name
        self._threads = threads
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._used = False
        # A file, not a pipe: nobody reads it while the worker runs, and a full pipe would stop the worker.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        if self._threads is not None:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        arguments = [self.name] if self._threads is None else [self.name, str(self._threads)]
        with _cores(self._threads):
            return subprocess.Popen(
                [sys.executable, "-m", "fusedrnn.bench.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then closes its workers
            )

    def renew(self) -> None:
        """Let the next request find a process that has done nothing yet; it begins to start right away."""
        if self._used:
            self._end()
        if self._process is None:
            self._process = self._start()

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        """Send one request and wait for its reply. The process starts with the first one, and anew after an end.

        Raises
        ------
        WorkerError
            The worker answered with an error, ended, or took too long; the message says which.
        """
        if self._process is None:
            self._process = self._start()
        self._used |= request != "hello"
        process = self._process
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, expire)
        timer.start()
        try:
            line = _exchange(process, json.dumps({"request": request, **fields}))
        finally:
            timer.cancel()
        if not line:
            self._end()
            raise WorkerError(
                f"no answer within {self._timeout_s:g} s" if expired.is_set() else self._last_words(process.returncode)
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def _last_words(self, code: int) -> str:
        """Why a worker ended: its exit code and the last line that it wrote to standard error."""
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return f"ended with code {code}" + (f": {lines[-1]}" if lines else "")

    def _end(self) -> None:
        """End the process: at first by closing its input, then by force."""
        process, self._process = self._process, None
        self._used = False
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # it has ended already, with a request unread
                pipe.close()
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process, if there is one."""
        self._end()
        self._log.close()


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    """Write one line to a process and read one back; an empty string when the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()
