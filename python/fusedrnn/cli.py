"""The command line: ``fusedrnn demo``, ``run``, ``list``, ``sample``, ``data``, ``bench``, ``info``.

Exit codes: 0 done, 2 bad input (one line on standard error), 130 stopped by Ctrl-C.

``mpiexec -n N fusedrnn run NAME`` trains with N processes; `fusedrnn.train.parallel` says what they share.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from fusedrnn import _core, checks
from fusedrnn.examples import SYSTEMS, demo
from fusedrnn.examples.datasets import BASE_URL, DATA_FILES, DATA_NAMES, fetch_data
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.system import add_common_options, choose_out, say
from fusedrnn.random import MAX_SEED
from fusedrnn.train import World, load_language_model, world
from fusedrnn.train.folder import CONFIG
from fusedrnn.train.launchers import launched

FAILED = 1
BAD_INPUT = 2
STOPPED = 130

OPTIONAL_PACKAGES = ("matplotlib", "sklearn", "pooch", "cupy", "mpi4py", "onnx", "onnxruntime", "torch", "jax", "keras")


class _Parser(argparse.ArgumentParser):
    """Errors take one line: no usage in front."""

    def error(self, message: str) -> NoReturn:
        # Of several processes, all of which have the same arguments, one says so.
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n" if launched().rank == 0 else None)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = _Parser(prog="fusedrnn", description="Recurrent networks as fused kernels.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="train a character LSTM on real text for about a minute, offline")
    demo.add_options(command)
    command.set_defaults(work=_demo)

    command = commands.add_parser("run", help="run one system of the documents")
    names = command.add_subparsers(dest="system", required=True, metavar="NAME")
    for system in SYSTEMS.values():
        one = names.add_parser(system.name, help=system.summary, description=system.summary)
        add_common_options(one, system.name)
        system.add_options(one)
    command.set_defaults(work=_run)

    command = commands.add_parser("list", help="the systems, one line each")
    command.set_defaults(work=_list)

    command = commands.add_parser("sample", help="text from a trained language model")
    command.add_argument("folder", type=Path, metavar="DIR", help="folder of a run, or a checkpoint file")
    command.add_argument("--prompt", required=True, metavar="TEXT", help="beginning of the text, at least one token")
    command.add_argument("--length", type=int, default=200, metavar="N", help="tokens to add (default: %(default)s)")
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="below 1 safer, above bolder (default: %(default)s)"
    )
    how.add_argument("--greedy", action="store_true", help="always take the most likely token")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing (default: %(default)s)")
    command.set_defaults(work=_sample)

    command = commands.add_parser("data", help="real data sets and where they come from")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("list", help="each file, its source, and its checksum")
    action.set_defaults(work=_data_list)
    action = actions.add_parser("fetch", help="download a data set and check it; nothing else here downloads")
    action.add_argument("name", choices=DATA_NAMES, metavar="NAME", help=f"one of {', '.join(DATA_NAMES)}")
    action.add_argument("--out", type=Path, metavar="DIR", help="folder for the files (default: data/NAME)")
    action.add_argument(
        "--base-url", default=BASE_URL, metavar="URL", help="a server with the same paths (default: %(default)s)"
    )
    action.set_defaults(work=_data_fetch)

    # Named here for the help alone: `main` hands its arguments on before they are parsed.
    commands.add_parser("bench", help="time this library and others side by side", add_help=False)

    command = commands.add_parser("info", help="version, instruction set, threads, CUDA, optional packages")
    command.set_defaults(work=_info)
    return top


def _demo(options: argparse.Namespace) -> None:
    _train(options, "demo", demo.run)


def _run(options: argparse.Namespace) -> None:
    system = SYSTEMS[options.system]
    for name, value in _train(options, system.name, system.run).items():
        if name not in ("final", "system"):
            say(f"{name}: {value}")


def _train(
    options: argparse.Namespace, name: str, run: Callable[[argparse.Namespace], dict[str, Any]]
) -> dict[str, Any]:
    """Run a system in its folder; when it is stopped, say how to go on."""
    chosen_device(options, name)  # before anything is read
    ranks = world()
    try:
        options.out = ranks.first(lambda: choose_out(options, name))
        return run(options)
    except KeyboardInterrupt as stopped:
        if options.out is not None and (options.out / CONFIG).exists():
            stopped.add_note(f"the same command with --out {options.out} --resume goes on")
        _end_others(ranks, stopped)
        raise
    except Exception as error:
        _end_others(ranks, error)
        raise


def _end_others(ranks: World, error: BaseException) -> None:
    """End all processes where one has met an error that the others have not: they would wait for it forever."""
    if ranks.size == 1:
        return
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a launcher sends it to each process, to some of them later
    if not ranks.all_failed():
        code, line = _reported(error)
        print(line, file=sys.stderr, flush=True)
        ranks.abort(code)


def _reported(error: BaseException) -> tuple[int, str]:
    """Exit code and text for an error."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED, "fusedrnn: stopped" + "".join(f"; {note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, (ValueError, TypeError, OSError)):
        return BAD_INPUT, f"fusedrnn: {' '.join(str(error).split())}"
    return FAILED, "".join(traceback.format_exception(error))


def _list(options: argparse.Namespace) -> None:
    width = max(map(len, SYSTEMS))
    for system in SYSTEMS.values():
        say(f"{system.name:{width}}  {system.summary}")


def _sample(options: argparse.Namespace) -> None:
    seed = checks.integer("sample", "--seed", options.seed, 0, MAX_SEED)
    trained = load_language_model(options.folder)
    if trained.vocabulary is None:
        raise ValueError(f"sample: {options.folder} must be of a run that kept its vocabulary, got one without")
    prompt = trained.vocabulary.encode(options.prompt)
    added = trained.model.sample(
        prompt,
        options.length,
        temperature=options.temperature,
        greedy=options.greedy,
        generator=np.random.default_rng(seed),
    )
    say(trained.vocabulary.decode(np.concatenate([prompt, added])))


def _data_list(options: argparse.Namespace) -> None:
    for entry in DATA_FILES:
        say(f"{entry.data}: {entry.file}, read by {entry.systems}\n  from {entry.source}\n  sha256 {entry.sha256}")


def _data_fetch(options: argparse.Namespace) -> None:
    folder = Path("data", options.name) if options.out is None else options.out
    for path in fetch_data(options.name, folder, base_url=options.base_url):
        say(str(path))


def _bench(arguments: Sequence[str]) -> int:
    # Its options are its own, and its imports are needed by nothing else.
    from fusedrnn.bench import main as bench

    return bench(arguments)


def _info(options: argparse.Namespace) -> None:
    import fusedrnn as fr
    from fusedrnn.backends import cuda

    facts = {
        "fusedrnn": fr.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "instruction set": _core.isa(),
        "threads": fr.get_num_threads(),
        "CUDA": cuda.missing() or cuda.BACKEND.summary(),
    }
    facts |= {package: _version(package) for package in OPTIONAL_PACKAGES}
    for name, value in facts.items():
        say(f"{name:15}  {value}")


def _version(package: str) -> str:
    """The version of a package, found without importing it."""
    if importlib.util.find_spec(package) is None:
        return "not installed"
    distributions = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(distributions[0]) if distributions else "installed"


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show what this package warns of as one line on standard error, without the place in the code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plain(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category is UserWarning:
                print(f"fusedrnn: {message}", file=sys.stderr)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.filterwarnings("always", category=UserWarning, module="fusedrnn")
        warnings.showwarning = show_plain
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : arguments after the program's name; None takes those of the process

    Returns
    -------
    int
        The exit code: 0, 2 or 130.

    Raises
    ------
    SystemExit
        The arguments cannot be parsed (code 2), help was asked for (code 0), or this process is one of several, not
        rank 0, and has done its part (code 0).

    Examples
    --------
    >>> from fusedrnn.cli import main
    >>> main(["sample", "no/such/folder", "--prompt", "The "])
    2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bench"]:
        return _bench(arguments[1:])
    options = parser().parse_args(arguments)
    try:
        with _plain_warnings():
            options.work(options)
    except (ValueError, TypeError, OSError, KeyboardInterrupt) as error:
        code, line = _reported(error)
        # Of several processes that all end here, one says why.
        if launched().rank == 0:
            print(line, file=sys.stderr)
        return code
    return 0
