"""Every figure of the systems, over several seeds: ``python bench/systems.py --all --data DIR``.

Each system runs as a user would run it, ``fusedrnn run NAME``, in a process of its own, one after the other. Then its
figures stand in one table: by seed, their median, what they have to be, and the seconds that a run took.
``DIR`` holds ``ptb/ptb.zip``, ``jaychou/jaychou_lyrics.txt.zip``, ``mnist`` and ``mr``, as ``fusedrnn data fetch``
names them; without it, or where one is missing, those systems are left out and named below the table.

Classifiers of real sentences are compared with their twins in PyTorch, which train on the same rows in the same order
from the same weights: means over the seeds, at most one point below.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from fusedrnn.bench.table import align

SEEDS = 3
POINT = 0.01
PUBLISHED_STATES = ((0.53704957, 0.46211716), (0.85973818, 0.88366641))
PUBLISHED_OUTPUTS = (1.56128388, 2.72707101)


@dataclass(frozen=True)
class Figure:
    """What a run must show.

    Attributes
    ----------
    name : in the table
    low, high : where the median over the seeds must be
    read : the figure in the run's last record; None: the entry of that name
    """

    name: str
    low: float = -np.inf
    high: float = np.inf
    read: Callable[[dict[str, Any]], float] | None = None

    def of(self, record: dict[str, Any]) -> float:
        """The figure of a run."""
        return float(record[self.name] if self.read is None else self.read(record))

    def fits(self, value: float) -> bool:
        """Whether it is where it must be; NaN is not.

        Examples
        --------
        >>> Figure("accuracy", low=0.9).fits(0.89), Figure("accuracy", low=0.9).fits(0.9)
        (False, True)
        """
        return self.low <= value <= self.high

    @property
    def target(self) -> str:
        """Where it must be, in words.

        Examples
        --------
        >>> Figure("accuracy", low=0.9).target, Figure("loss", low=0.1, high=0.2).target
        ('>= 0.9', '0.1 to 0.2')
        """
        if self.low == self.high:
            return f"= {self.low:g}" if abs(self.low) < 1e6 else f"= {self.low:.0f}"
        if np.isinf(self.low):
            return f"<= {self.high:g}"
        return f">= {self.low:g}" if np.isinf(self.high) else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Entry:
    """One system with its options.

    Attributes
    ----------
    name, system : of the entry, of the system
    options : words of the command line
    figures : what it must show
    data : below the folder of the real data, "" for none
    twin : whether the accuracy is compared with that of a twin in PyTorch; then means count, over five seeds
    """

    name: str
    system: str
    options: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    data: str = ""
    twin: bool = False


def _published_error(record: dict[str, Any]) -> float:
    """How far `forward` is from the document's numbers, which have eight digits."""
    states = np.abs(np.subtract(record["states"], PUBLISHED_STATES)).max()
    return float(max(states, np.abs(np.subtract(record["outputs"], PUBLISHED_OUTPUTS)).max()))


def _exactly(name: str, value: float) -> Figure:
    return Figure(name, value, value)


def _around(name: str, value: float, margin: float) -> Figure:
    return Figure(name, round(value - margin, 9), round(value + margin, 9))


PTB, LYRICS = "ptb/ptb.zip", "jaychou/jaychou_lyrics.txt.zip"
TOKENS = {"train_tokens": 929589, "valid_tokens": 73760, "test_tokens": 82430, "vocabulary": 10000}

ENTRIES = (
    Entry("forward", "forward", (), (Figure("error", high=1e-8, read=_published_error),)),
    Entry("cells", "cells", (), (Figure("max_error", high=1e-10),)),
    Entry("rtrl", "rtrl", (), (Figure("max_error", high=1e-10),)),
    Entry("iris", "iris", (), (_around("right", 29.5, 0.5),)),
    Entry("sine-published", "sine", (), (Figure("rmse", high=0.01),)),
    Entry("sine-as-meant", "sine", ("--as-meant",), (Figure("rmse", high=0.03),)),
    Entry("binary-rule", "binary", (), (_around("loss", 0.34657, 0.005), _around("accuracy", 0.75, 0.005))),
    Entry("binary-gap-12", "binary", ("--gap", "12"), (_around("loss", 0.69315, 0.005),)),
    Entry("textrnn-published", "textrnn", ("--published",), (_exactly("accuracy", 0.75),)),
    Entry("ptb-reader", "ptb-reader", (), tuple(_exactly(*count) for count in TOKENS.items()), PTB),
    Entry("mnist-scaled", "mnist", (), (Figure("accuracy", low=0.9),), "mnist"),
    Entry("mnist-raw", "mnist", ("--raw",), (Figure("accuracy", low=0.74),), "mnist"),
    Entry("charlm-consecutive", "charlm", (), (Figure("perplexity", high=1.25),), LYRICS),
    Entry("charlm-random", "charlm", ("--sampling", "random"), (Figure("perplexity", high=1.4),), LYRICS),
    *(
        Entry(f"textrnn-{pool}", "textrnn", ("--pool", pool), (Figure("accuracy"),), "mr", twin=True)
        for pool in ("last", "final", "mean", "max")
    ),
    Entry("rcnn", "rcnn", (), (Figure("accuracy"),), "mr", twin=True),
    Entry(
        "ptb-document",
        "ptb",
        (),
        (Figure("valid_perplexity", high=195), Figure("test_perplexity", high=190)),
        PTB,
    ),
    Entry("ptb-small", "ptb", ("--config", "small"), (Figure("test_perplexity", high=118),), PTB),
)


class RunError(Exception):
    """A run ended with an error; the message is its last line."""


def _run(command: Sequence[str], folder: Path) -> str:
    """What a command of this interpreter prints; it runs in `folder`."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RunError(f"ended with code {done.returncode}" + (f": {lines[-1]}" if lines else ""))
    return done.stdout


def run_system(entry: Entry, data: Path | None, seed: int) -> dict[str, Any]:
    """The last record of a run of the system.

    Raises
    ------
    RunError
        The run ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="fusedrnn-systems-") as folder:
        words = [*entry.options, "--seed", str(seed), *_data_words(entry, data)]
        _run(["fusedrnn", "run", entry.system, *words, "--out", "run"], Path(folder))
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def twin_accuracy(entry: Entry, data: Path | None, seed: int) -> float:
    """The accuracy that the twin in PyTorch has after the same training.

    Raises
    ------
    RunError
        The run ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="fusedrnn-systems-") as folder:
        words = [*entry.options, "--seed", str(seed), *_data_words(entry, data)]
        printed = _run(["fusedrnn.bench.twins.accuracy", entry.system, *words], Path(folder))
    return float(json.loads(printed.splitlines()[-1])["accuracy"])


def _data_words(entry: Entry, data: Path | None) -> list[str]:
    return ["--data", str((data / entry.data).resolve())] if entry.data and data else []


def lines_of(entry: Entry, data: Path | None, seeds: int) -> tuple[list[list[str]], bool]:
    """The entry's lines of the table, one a figure, and whether all of them are as they must be."""
    records, seconds, accuracies = [], [], []
    label = " ".join([entry.system, *entry.options])
    try:
        for seed in range(seeds):
            print(f"{label}, seed {seed}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            records.append(run_system(entry, data, seed))
            seconds.append(time.perf_counter() - start)
            if entry.twin:
                accuracies.append(twin_accuracy(entry, data, seed))
    except RunError as failure:
        print(f"{label}: {failure}", file=sys.stderr, flush=True)
        return [[label, "-", "-", "-", "-", "failed", "-"]], False
    lines, good = [], True
    for figure in entry.figures:
        if entry.twin:
            figure = Figure(figure.name, low=statistics.fmean(accuracies) - POINT)
        values = [figure.of(record) for record in records]
        middle = (statistics.fmean if entry.twin else statistics.median)(values)
        good &= figure.fits(middle)
        lines.append(
            [
                label,
                figure.name,
                " ".join(f"{value:.6g}" for value in values),
                f"{middle:.6g}",
                figure.target,
                "ok" if figure.fits(middle) else "SHORT",
                f"{statistics.median(seconds):.1f}",
            ]
        )
    return lines, good


def why_not(entry: Entry, data: Path | None) -> str:
    """Why an entry cannot run here, or nothing."""
    if entry.data and data is None:
        return f"--data must name a folder with {entry.data}, got none"
    if entry.data and data is not None and not (data / entry.data).exists():
        return f"--data must name a folder with {entry.data}, got {data} without"
    if entry.twin and find_spec("torch") is None:
        return "PyTorch is not installed, whose accuracy it is compared with"
    return ""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    command = argparse.ArgumentParser(
        prog="systems.py", description="Every figure of the systems over several seeds, in one table."
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="run everything")
    which.add_argument(
        "--only",
        metavar="NAMES",
        help=f"systems or entries, with commas, out of {', '.join(entry.name for entry in ENTRIES)}",
    )
    command.add_argument(
        "--seeds", type=int, metavar="N", help=f"seeds 0 to N - 1 (default: {SEEDS}, 5 where means are compared)"
    )
    command.add_argument("--data", type=Path, metavar="DIR", help="folder of the real data sets (default: without)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 where every figure is as it must be, 1 where one falls short, 2 on bad options."""
    command = parser()
    options = command.parse_args(argv)
    if options.seeds is not None and options.seeds < 1:
        command.error(f"--seeds must be >= 1, got {options.seeds}")
    named = [name.strip() for name in options.only.split(",")] if options.only else []
    known = {name for entry in ENTRIES for name in (entry.name, entry.system)}
    wrong = [name for name in named if name not in known]
    if wrong:
        command.error(f"--only must be names out of {', '.join(sorted(known))}, got {', '.join(wrong)}")
    chosen = [entry for entry in ENTRIES if options.all or {entry.name, entry.system} & set(named)]
    left_out = {entry.name: why for entry in chosen if (why := why_not(entry, options.data))}
    start, table, good = time.perf_counter(), [], True
    for entry in chosen:
        if entry.name not in left_out:
            lines, fits = lines_of(entry, options.data, options.seeds or (5 if entry.twin else SEEDS))
            table += lines
            good &= fits
    head = ["system", "figure", "by seed", "median", "target", "", "seconds"]
    print(align([head, *table], left=3))
    print(f"\nSeconds are the median of a run; all of it took {time.perf_counter() - start:.0f} s.")
    if any(entry.twin and entry.name not in left_out for entry in chosen):
        print("Where the target is the mean of the twin's accuracy less a point, the median is a mean too.")
    for name, why in left_out.items():
        print(f"{name}: not run: {why}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
