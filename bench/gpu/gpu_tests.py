"""The tests on the GPU, before anything is timed: ``pytest -m gpu`` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TAIL = 4000  # characters of what pytest printed
MOST_NAMES = 50


@dataclass(frozen=True)
class Tested:
    """What the tests came to.

    Attributes
    ----------
    good : all that were run passed, and there were some
    summary : one line
    failed : names of the tests that failed, the first of them
    tail : the end of what pytest printed
    """

    good: bool
    summary: str
    seconds: float
    counts: dict[str, int]
    failed: list[str]
    tail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def find_tests() -> Path | None:
    """The root of a checkout with tests: the current folder, or that of the source tree that runs; None: there is none.

    The package that they test is the one that is installed.
    """
    places = (Path.cwd(), Path(__file__).resolve().parents[2])
    return next((place for place in places if (place / "tests" / "conftest.py").is_file()), None)


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Counts and failed tests of a report in the format of JUnit."""
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors")}
    counts["skipped"] = sum(int(suite.get("skipped", 0)) for suite in suites)
    cases = [case for suite in suites for case in suite.iter("testcase")]
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return counts, [f"{case.get('classname')}::{case.get('name')}" for case in bad]


def run_tests(root: Path | None, limit_s: float) -> Tested:
    """Run the tests that are marked gpu in a checkout, for at most `limit_s` seconds.

    Examples
    --------
    >>> run_tests(None, 1.0).summary
    'not run: neither this folder nor the package lies in a checkout with tests'
    """
    if root is None:
        why = "not run: neither this folder nor the package lies in a checkout with tests"
        return Tested(False, why, 0.0, {}, [])
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fusedrnn-tests-") as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        try:
            done = subprocess.run(
                command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired as ended:
            text = ended.stdout.decode(errors="replace") if isinstance(ended.stdout, bytes) else ended.stdout or ""
            return Tested(False, f"stopped after {limit_s:.0f} s", time.monotonic() - start, {}, [], text[-TAIL:])
        seconds = time.monotonic() - start
        counts, failed = read_report(report) if report.exists() else ({}, [])
    bad = counts.get("failures", 0) + counts.get("errors", 0)
    passed = counts.get("tests", 0) - bad - counts.get("skipped", 0)
    summary = f"{passed} passed, {bad} failed, {counts.get('skipped', 0)} skipped, {seconds:.0f} s"
    if not counts:
        last = (done.stdout.strip().splitlines() or [""])[-1]
        summary = f"not run: pytest ended with exit code {done.returncode}: {last}"
    good = done.returncode == 0 and passed > 0
    return Tested(good, summary, seconds, counts, failed[:MOST_NAMES], done.stdout[-TAIL:])
