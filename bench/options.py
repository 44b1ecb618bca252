"""The options of ``fusedrnn bench``, and what they ask for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from fusedrnn.bench import cases, training_bench
from fusedrnn.bench.cases import Workload
from fusedrnn.bench.peers import PEERS
from fusedrnn.bench.training import TRAININGS, Training

Choice = TypeVar("Choice")


class BadInputError(ValueError):
    """An option that makes no sense; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Errors are exceptions, so that they come out as one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(message)


def names(option: str, text: str, allowed: Mapping[str, Choice]) -> dict[str, Choice]:
    """The named choices of a list with commas, in the order in which they are given."""
    given = [name.strip() for name in text.split(",")]
    wrong = [name for name in given if name not in allowed]
    if wrong:
        raise BadInputError(f"{option} must be names out of {','.join(allowed)}, got {','.join(map(repr, wrong))}")
    return {name: allowed[name] for name in given}


def _positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


def _add_files(command: argparse.ArgumentParser) -> None:
    """What is written and read; nothing is unless it is named."""
    command.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE")
    command.add_argument(
        "--history", type=Path, metavar="FILE", help="also append everything to FILE, one line of JSON a run"
    )
    command.add_argument("--show", type=Path, metavar="FILE", help="only print the runs that --history kept in FILE")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    command = Parser(
        prog="fusedrnn bench",
        description="Times fusedrnn and other libraries side by side: the same weights and input, answers checked "
        "first, every library in a process of its own, in alternating bursts. With --systems it trains the systems of "
        "`fusedrnn run` beside the same models in PyTorch.",
        epilog="Exit codes: 0 done, 1 fusedrnn itself gave a wrong answer or failed, 2 bad input, 130 stopped.",
    )
    command.add_argument(
        "--against", metavar="NAMES", help=f"peers, with commas, out of {','.join(PEERS)} (default: what is installed)"
    )
    command.add_argument(
        "--cells", default=",".join(cases.CELLS), metavar="NAMES", help="out of %(default)s (default: all)"
    )
    command.add_argument(
        "--cases", default=",".join(cases.CASES), metavar="NAMES", help="out of %(default)s (default: all)"
    )
    command.add_argument(
        "--mode", default=",".join(cases.MODES), metavar="NAMES", help="out of %(default)s (default: both)"
    )
    command.add_argument("--dtype", default="float32", choices=cases.DTYPES, help="type of number (default: float32)")
    command.add_argument(
        "--device",
        default="cpu",
        choices=("cpu", "cuda"),
        help="where to run (default: cpu); cuda has options of its own",
    )
    command.add_argument(
        "--repeat", type=_positive, default=7, metavar="N", help="bursts of each library (default: %(default)s)"
    )
    command.add_argument(
        "--threads", type=_positive, metavar="N", help="threads and cores of each library (default: its own choice)"
    )
    command.add_argument(
        "--systems",
        nargs="?",
        const=",".join(TRAININGS),
        metavar="NAMES",
        help=f"train systems in place of single layers, against PyTorch, out of {','.join(TRAININGS)} (default: all)",
    )
    command.add_argument(
        "--scaling", action="store_true", help="also time fusedrnn on one thread, and print what the others add"
    )
    _add_files(command)
    return command


def workloads_of(options: argparse.Namespace) -> list[Workload]:
    """Every cell, mode and case that was asked for, in the order of the table.

    Raises
    ------
    BadInputError
        A name is unknown, or threads are to be compared and there is but one.
    """
    if options.scaling and options.threads == 1:
        raise BadInputError("--threads must be >= 2 with --scaling, got 1")
    cells = names("--cells", options.cells, dict.fromkeys(cases.CELLS))
    modes = names("--mode", options.mode, dict.fromkeys(cases.MODES))
    chosen = names("--cases", options.cases, cases.CASES)
    return [Workload(case, cell, mode, options.dtype) for cell in cells for mode in modes for case in chosen.values()]


def choose_peers(against: str | None, must: bool) -> tuple[list[str], dict[str, str]]:
    """The peers out of `against` (None: all) that are installed, and for the others what to install.

    Raises
    ------
    BadInputError
        There `must` be one, and none of them is installed.
    """
    named = PEERS if against is None else names("--against", against, PEERS)
    absent = {name: f"not installed: {peer.install}" for name, peer in named.items() if peer.missing}
    present = [name for name in named if name not in absent]
    if must and not present:
        hints = "; ".join(PEERS[name].install for name in absent)
        raise BadInputError(f"--against must name a library that is installed, got {against}; to install: {hints}")
    return present, absent


def trainings_of(options: argparse.Namespace) -> list[Training]:
    """The systems that were asked for; none without ``--systems``.

    Raises
    ------
    BadInputError
        An option was given that has nothing to say about systems, or another peer than the only one that they have.
    """
    if options.systems is None:
        return []
    for name in ("cells", "cases", "mode", "dtype", "scaling"):
        if getattr(options, name) != parser().get_default(name):
            raise BadInputError(f"--{name} must be left out with --systems, got {getattr(options, name)}")
    if options.against not in (None, training_bench.PEER):
        raise BadInputError(f"--against must be {training_bench.PEER} with --systems, got {options.against}")
    return list(names("--systems", options.systems, TRAININGS).values())


def check_files(options: argparse.Namespace) -> None:
    """Refuse files that could not be written in the end."""
    for name in ("json", "history"):
        path: Path | None = getattr(options, name, None)
        if path is None:
            continue
        target = path if path.exists() else path.absolute().parent
        if path.is_dir() or not os.access(target, os.W_OK):
            raise BadInputError(f"--{name} must be a file in a folder that can be written, got {path}")


def check_show(options: argparse.Namespace) -> None:
    """Refuse options that have nothing to say about runs of the past."""
    for name, value in vars(parser().parse_args([])).items():
        if name != "show" and getattr(options, name) != value:
            raise BadInputError(f"--{name} must be left out with --show, got {getattr(options, name)}")


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options that have to do with what was found."""
    return {name: value for name, value in vars(options).items() if name not in ("json", "history", "show")}
