"""What the systems of the documents share: settings as options, the common options, the run's folder, curves.

A system states its settings once, as a frozen dataclass whose fields are made by `option`. The command line, its
help, the checks and ``config.json`` follow from that::

    @dataclass(frozen=True)
    class Settings:
        hidden: int = option(256, "units of the hidden layer")

    def run(options):
        settings = read_settings(options, Settings, QUICK if options.quick else {})
        folder = open_run(options, "example", settings)
"""

from __future__ import annotations

import itertools
import math
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tqdm import tqdm

from fusedrnn import checks
from fusedrnn.data import Sampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.random import MAX_SEED
from fusedrnn.train import RunFolder, plot, world
from fusedrnn.train.launchers import launched

Settings = TypeVar("Settings")

DEFAULT_PARENT = Path("runs")


@dataclass(frozen=True)
class System:
    """One program of the documents.

    Attributes
    ----------
    name : as in ``fusedrnn run NAME``
    summary : one line for ``fusedrnn list``
    add_options : adds the system's own options to a parser
    run : takes the parsed options, common ones included, and returns the final figures

    Examples
    --------
    >>> from fusedrnn.examples import SYSTEMS
    >>> SYSTEMS["forward"].summary
    'forward pass of a 2-unit RNN by hand, step by step'
    """

    name: str
    summary: str
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], dict[str, Any]]


def option(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] | None = None,
    parse: Callable[[str], tuple[Any, ...]] | None = None,
) -> Any:
    """A field of a settings class.

    Parameters
    ----------
    default : int, float, str, False for a flag, or a tuple for an option that takes several words
    text : help, with the unit
    choices : the strings allowed
    parse : for a tuple, what turns one word of the command line into a tuple of values; left out, it is kept as it is
    """
    return field(default=default, metadata={"text": text, "choices": choices, "parse": parse})


def add_settings(parser: ArgumentParser, kind: type, quick: Mapping[str, Any]) -> None:
    """Add an option for each field of the settings class `kind`; `quick` is what ``--quick`` changes, for the help."""
    for entry in fields(kind):
        default, metadata = entry.default, entry.metadata
        shown = _shown(default) + (f"; with --quick {_shown(quick[entry.name])}" if entry.name in quick else "")
        arguments: dict[str, Any] = {"help": f"{metadata['text']} (default: {shown})".replace("%", "%%")}
        if isinstance(default, bool):
            arguments = {"help": metadata["text"].replace("%", "%%"), "action": "store_true"}
        elif metadata["choices"]:
            arguments |= {"choices": metadata["choices"]}
        elif isinstance(default, tuple):
            arguments |= {"type": metadata["parse"] or _one_word, "nargs": "+", "metavar": "X"}
        else:
            parse, metavar = {int: (int, "N"), float: (finite, "X")}.get(type(default), (str, "TEXT"))
            arguments |= {"type": parse, "metavar": metavar}
        # Suppressed where not given, so that what the user gave can be told from what is left open.
        parser.add_argument(f"--{entry.name.replace('_', '-')}", default=SUPPRESS, **arguments)


def finite(word: str) -> float:
    """The number in a word of the command line, neither infinite nor NaN.

    Examples
    --------
    >>> finite("1e-3")
    0.001
    """
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentTypeError(f"must be a finite number, got {word!r}")
    return number


def _one_word(word: str) -> tuple[str]:
    return (word,)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def given(options: Namespace, name: str) -> bool:
    """Whether the user set an option of `add_settings`."""
    return hasattr(options, name)


def read_settings(options: Namespace, kind: type[Settings], *presets: Mapping[str, Any]) -> Settings:
    """The settings of a run: defaults, over them each preset, over those what the user gave.

    Examples
    --------
    >>> from argparse import ArgumentParser
    >>> from fusedrnn.examples import ptb
    >>> parser = ArgumentParser()
    >>> ptb.add_options(parser)
    >>> settings = read_settings(parser.parse_args(["--clip", "2"]), ptb.Settings, ptb.CONFIGS["small"])
    >>> settings.clip, settings.epochs, settings.hidden
    (2.0, 13, 200)
    """
    values: dict[str, Any] = {}
    for preset in presets:
        values |= preset
    for entry in fields(kind):  # type: ignore[arg-type]
        if given(options, entry.name):
            value = getattr(options, entry.name)
            values[entry.name] = tuple(itertools.chain(*value)) if isinstance(entry.default, tuple) else value
    return kind(**values)


def add_run_options(parser: ArgumentParser, name: str) -> None:
    """Options of everything that makes a run: ``--seed``, ``--out``, ``--resume``."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder of the run (default: {DEFAULT_PARENT / name}, with a number behind it where that exists)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, to the same bits")


def add_common_options(parser: ArgumentParser, name: str) -> None:
    """Options of every system: those of a run, ``--data``, ``--device`` and ``--quick``."""
    add_run_options(parser, name)
    parser.add_argument("--data", type=Path, metavar="PATH", help="file or folder of the data")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a run of less than two minutes on two cores")


def choose_out(options: Namespace, name: str) -> Path:
    """The folder of the run: what the user named, or a fresh one.

    Raises
    ------
    ValueError
        A run is to be resumed and the user did not say which.
    """
    if options.out is not None:
        return Path(options.out)
    if options.resume:
        raise ValueError(f"{name}: --resume must come with --out DIR, the folder of the run to go on with, got none")
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in map(DEFAULT_PARENT.joinpath, names) if not path.exists())


def open_run(options: Namespace, name: str, settings: Any, sampler: Sampler | None = None, **more: Any) -> RunFolder:
    """Make or reopen the folder of a run; what decides the run goes into its ``config.json``.

    Parameters
    ----------
    options : with ``out`` chosen
    name : of the system
    settings : instance of the settings class
    sampler : of the batches to train on, which must divide among the ranks; None where nothing is trained
    more : further entries of the configuration
    """
    seed = checks.integer(name, "--seed", options.seed, 0, MAX_SEED)
    config = {"system": name, "seed": seed, "device": chosen_device(options, name), **asdict(settings), **more}
    if sampler is not None:
        world().check_share(sampler)
    folder = RunFolder(options.out, config, resume=options.resume)
    say(f"folder of this run: {folder.path}")
    return folder


def needed(name: str, module: str, package: str) -> Any:
    """Import what only some systems need, or say in one line how to get it.

    Examples
    --------
    >>> needed("iris", "math", "python").pi > 3
    True
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{name}: {package} must be installed, whose data this system reads, got none;"
            f" pip install 'fusedrnn[examples]' brings it"
        ) from missing


def refuse_data(options: Namespace, name: str, why: str) -> None:
    """One line for a system that takes no ``--data``, where the user gave it."""
    if options.data is not None:
        raise ValueError(f"{name}: --data must be left out, for {why}, got {options.data}")


def refuse_ranks(name: str) -> None:
    """One line for a system that several processes cannot share, where a launcher started several.

    Examples
    --------
    >>> refuse_ranks("forward")
    """
    if world().size > 1:
        raise ValueError(f"{name}: there must be one process, for nothing here is trained, got {world().size} of them")


def end_other_ranks() -> None:
    """End this process unless it is the only one or rank 0: what follows training is done once.

    Examples
    --------
    >>> end_other_ranks()
    """
    if world().rank > 0:
        raise SystemExit(0)


def say(text: str = "") -> None:
    """Print a line on standard output, above the progress bar if there is one; of several processes rank 0 does."""
    if launched().rank == 0:
        tqdm.write(text)


def draw_curves(
    folder: RunFolder,
    title: str,
    names: Mapping[str, str],
    *,
    ylabel: str = "perplexity",
    yscale: Any = "log",
    levels: Mapping[str, float] = MappingProxyType({}),
) -> Path | None:
    """Draw figures of metrics.jsonl over the step into a PNG file in the folder.

    Parameters
    ----------
    folder : RunFolder
    title : str
    names : label in the legend to key in the records
    ylabel, yscale : of the y axis
    levels : name to y, dashed lines to compare with

    Returns
    -------
    Path, or None where matplotlib is not installed (a warning says so) or there is nothing to draw
    """
    records = folder.records()
    series = {}
    for label, key in names.items():
        found = [record for record in records if record.get(key) is not None]
        # Where steps and epochs have a figure of one name, those of steps are the finer ones.
        fine = [record for record in found if record.get("event") == "step"]
        points = [(record["step"], record[key]) for record in fine or found]
        if points:
            series[label] = ([step for step, _ in points], [value for _, value in points])
    if not series:
        return None
    path = folder.path / f"{ylabel.split()[0]}.png"
    return plot.loss_curve(path, series, "step", ylabel, title, yscale=yscale, levels=levels)
