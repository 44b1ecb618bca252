"""The options of ``fusedrnn bench --device cuda``, and what they ask for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fusedrnn.bench.cases import CELLS, MODES, Case, Workload
from fusedrnn.bench.gpu.cases import DTYPES, case_named, workloads
from fusedrnn.bench.options import BadInputError, Parser, check_files, names

BUDGET_S = 540.0
DEFAULT_DTYPES = ("float32", "tf32", "bfloat16", "float16")
JSON = Path("fusedrnn-gpu.json")  # of the one command


def _seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds > 0, got {text!r}")
    return value


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    command = Parser(
        prog="fusedrnn bench --device cuda",
        description="Times fusedrnn and PyTorch (cuDNN) on the GPU: the same weights and input, answers checked first, "
        "in turn in one process, by events of the GPU.",
        epilog="Exit codes: 0 done, 1 fusedrnn itself gave a wrong answer or failed, or a test did, 2 bad input or no "
        "GPU, 130 stopped.",
    )
    command.add_argument("--device", default="cuda", choices=("cuda",), help="where to run")
    command.add_argument("--against", choices=("torch",), help="whom to time beside (default: torch, if installed)")
    command.add_argument("--cells", default=",".join(CELLS), metavar="NAMES", help="out of %(default)s (default: all)")
    command.add_argument("--mode", default=",".join(MODES), metavar="NAMES", help="out of %(default)s (default: both)")
    command.add_argument(
        "--cases",
        metavar="NAMES",
        help="such as h512-b32-t100 or h512-b64-t1000-packed, with commas: units, rows, steps (default: a table)",
    )
    command.add_argument(
        "--dtype",
        metavar="NAMES",
        help=f"types of number out of {','.join(DTYPES)}, where tf32 is float32 whose products may be rounded to TF32 "
        f"(default: {','.join(DEFAULT_DTYPES)})",
    )
    command.add_argument(
        "--budget-s", type=_seconds, default=BUDGET_S, metavar="N", help="seconds for everything (default: %(default)g)"
    )
    command.add_argument("--with-tests", action="store_true", help="first run pytest -m gpu of the checkout")
    command.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE, again after each case")
    return command


def _cases_of(text: str | None) -> list[Case] | None:
    """The cases of a list with commas; None: the table."""
    if text is None:
        return None
    given = [name.strip() for name in text.split(",")]
    found = [case_named(name) for name in given]
    wrong = [name for name, case in zip(given, found, strict=True) if case is None]
    if wrong:
        raise BadInputError(f"--cases must be names like h512-b32-t100, got {','.join(map(repr, wrong))}")
    return [case for case in found if case is not None]


def dtypes_of(options: argparse.Namespace) -> list[str]:
    """The types of number that were asked for.

    Raises
    ------
    BadInputError
        One is unknown, or needs a module that is not installed.
    """
    missing = find_spec("ml_dtypes") is None
    if options.dtype is None:
        return [name for name in DEFAULT_DTYPES if not (missing and name == "bfloat16")]
    chosen = list(names("--dtype", options.dtype, dict.fromkeys(DTYPES)))
    if missing and "bfloat16" in chosen:
        raise BadInputError("--dtype bfloat16 needs a module that is not installed: pip install ml_dtypes")
    return chosen


def workloads_of(options: argparse.Namespace) -> list[list[Workload]]:
    """What was asked for, in the order in which it is timed; a group has the modes of one case.

    Raises
    ------
    BadInputError
        A name is unknown.
    """
    cells = names("--cells", options.cells, dict.fromkeys(CELLS))
    modes = names("--mode", options.mode, dict.fromkeys(MODES))
    return workloads(list(cells), dtypes_of(options), list(modes), _cases_of(options.cases))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, all checked.

    Raises
    ------
    BadInputError
        One of them makes no sense.

    Examples
    --------
    >>> parse(["--budget-s", "60"]).budget_s
    60.0
    """
    options = parser().parse_args(argv)
    workloads_of(options)
    check_files(options)
    return options


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options that have to do with what was found."""
    return {name: value for name, value in vars(options).items() if name != "json"}
