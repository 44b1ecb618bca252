"""``fusedrnn bench``: this library beside others, on the same problems, in one run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from fusedrnn.bench import history, machine, report, training_bench
from fusedrnn.bench.cases import Workload
from fusedrnn.bench.comparing import compare
from fusedrnn.bench.files import write_json
from fusedrnn.bench.options import (
    BadInputError,
    Parser,
    check_files,
    check_show,
    choose_peers,
    parser,
    settings_of,
    trainings_of,
    workloads_of,
)
from fusedrnn.bench.peers import ONE_THREAD, OURS, OURSELVES, PADDED, WITH_LENGTHS
from fusedrnn.bench.process import WorkerError, WorkerProcess


def _greet(workers: dict[str, WorkerProcess]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of all libraries, and why some cannot take part although they are installed."""
    versions: dict[str, str] = {}
    broken: dict[str, str] = {}
    for name, worker in workers.items():
        try:
            versions |= worker.request("hello")["versions"]
        except WorkerError as failure:
            broken[name] = f"cannot be imported: {failure}"
    return versions, broken


class _Found(NamedTuple):
    """What there is to print and to write, and whether nothing of ours went wrong."""

    text: str
    content: dict[str, Any]
    good: bool


def _taking_part(workload: Workload, workers: Mapping[str, WorkerProcess]) -> dict[str, WorkerProcess]:
    """Those who are asked for a workload: with lengths only who takes them, without no run that leaves them out."""
    ragged = workload.case.ragged
    return {name: worker for name, worker in workers.items() if (name in WITH_LENGTHS if ragged else name != PADDED)}


def _measure(
    options: argparse.Namespace,
    workers: Mapping[str, WorkerProcess],
    here: Mapping[str, Any],
    absent: Mapping[str, str],
    folder: Path,
) -> _Found:
    """Compare everything that was asked for."""
    settings = settings_of(options)
    if trainings := trainings_of(options):
        trained = training_bench.run(trainings, workers, options.repeat)
        good = all(row.outcomes[OURS].status == "timed" for row in trained)
        content = training_bench.as_json(trained, here, absent, settings)
        return _Found(training_bench.text(trained, here, absent), content, good)
    rows, workloads = [], workloads_of(options)
    for number, workload in enumerate(workloads, 1):
        print(f"[{number}/{len(workloads)}] {workload.label}", file=sys.stderr, flush=True)
        rows.append(compare(workload, _taking_part(workload, workers), options.repeat, folder))
    columns = [name for name in workers if name not in OURSELVES]
    ours = [outcome for row in rows for name, outcome in row.outcomes.items() if name in OURSELVES]
    content = report.as_json(rows, columns, here, absent, settings)
    return _Found(
        report.text(rows, columns, here, absent), content, good=all(outcome.status == "timed" for outcome in ours)
    )


def _extra_workers(options: argparse.Namespace) -> dict[str, WorkerProcess]:
    """Ourselves in the other ways that the options ask for."""
    extra = {}
    if options.systems is None and any(workload.case.ragged for workload in workloads_of(options)):
        extra[PADDED] = WorkerProcess(PADDED, options.threads)
    if options.scaling:
        extra[ONE_THREAD] = WorkerProcess(OURS, 1)
    return extra


def _compare_all(options: argparse.Namespace) -> int:
    """The command, once its options are parsed, unless it only shows runs of the past."""
    workloads_of(options)  # wrong names are told before work starts
    trainings = trainings_of(options)
    against = options.against or (training_bench.PEER if trainings else None)
    present, absent = choose_peers(against, must=options.against is not None)
    check_files(options)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fusedrnn-bench-")))
        libraries = [OURS, *present]
        workers = {name: stack.enter_context(WorkerProcess(name, options.threads)) for name in libraries}
        versions, broken = _greet(workers)
        for name in broken:
            workers.pop(name).close()
        if OURS in broken or (options.against and len(workers) == 1):
            raise BadInputError("; ".join(f"{name} {why}" for name, why in broken.items()))
        workers |= {name: stack.enter_context(worker) for name, worker in _extra_workers(options).items()}
        found = _measure(options, workers, machine.describe(versions), absent | broken, folder)
    print(found.text)
    if options.json:
        write_json(options.json, found.content)
    if options.history:
        history.append(options.history, found.content)
    return 0 if found.good else 1


def _run(options: argparse.Namespace) -> int:
    """The command, once its options are parsed."""
    if options.show is None:
        return _compare_all(options)
    check_show(options)
    print(history.text(history.read(options.show)))
    return 0


def _on_gpu(argv: Sequence[str]) -> bool:
    """Whether the arguments ask for ``--device cuda``, a command with options of its own."""
    device = Parser(add_help=False)
    device.add_argument("--device")
    return device.parse_known_args(argv)[0].device == "cuda"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fusedrnn bench`` with the arguments `argv` (None: those of the process); returns the exit code.

    Examples
    --------
    >>> main(["--cells", "transformer"])
    2
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        if _on_gpu(argv):
            from fusedrnn.bench.gpu import main as gpu

            return gpu(argv)
        return _run(parser().parse_args(argv))
    except (BadInputError, history.HistoryError, OSError) as problem:
        print(f"fusedrnn bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fusedrnn bench: stopped", file=sys.stderr)
        return 130
