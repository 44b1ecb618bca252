"""What each process of `test_parallel.py` runs: ``mpiexec -n N python ranks.py PROGRAM OUT ...``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fusedrnn as fr
from fusedrnn import cli
from fusedrnn.data import ConsecutiveSampler, RandomSampler, RowSampler
from fusedrnn.examples import binary, charlm, sine, textrnn
from fusedrnn.models import LanguageModel
from fusedrnn.optim import SGD, Adam, Group
from fusedrnn.train import RunFolder, Step, World, fit, language, world

STEPS, ROWS, VOCABULARY = 50, 8, 23
IDS = np.random.default_rng(5).integers(0, VOCABULARY, 2000)


class Case(NamedTuple):
    """What `fit` needs."""

    model: Any
    optimizer: Any
    sampler: Any
    compute: Callable[[Any, Any, int], Step]
    clip_norm: float | None = None


def words(dtype: str, device: str = "cpu", dropout: float = 0.5) -> Case:
    """As `ptb`, with dropout on the embedding, between the layers and on the output."""
    drawn: Any = {"dropout": dropout, "forget_bias": 1.0, "seed": 1}
    model = LanguageModel(VOCABULARY, 8, embed_size=6, num_layers=2, one_bias=True, dtype=dtype, device=device, **drawn)
    optimizer = SGD(model, 0.5, groups=[Group(model.frozen, frozen=True)])

    def compute(batch: Any, state: Any, step: int) -> Step:
        return fr.train.language_step(model, batch, state, step=step, reduction="sum_over_steps")

    return Case(model, optimizer, ConsecutiveSampler(IDS, ROWS, 7), compute, clip_norm=2.0)


def characters(dtype: str, device: str = "cpu") -> Case:
    """As `charlm` with random sampling: one-hot input."""
    model = LanguageModel(VOCABULARY, 8, cell="rnn", one_bias=True, seed=1, dtype=dtype, device=device)
    optimizer = SGD(model, 1.0, groups=[Group(model.frozen, frozen=True)])

    def compute(batch: Any, state: Any, step: int) -> Step:
        return fr.train.language_step(model, batch, state, step=step)

    return Case(model, optimizer, RandomSampler(IDS, ROWS, 7, seed=3), compute, clip_norm=0.5)


def a_sine(dtype: str, device: str = "cpu") -> Case:
    """`sine`: rows of a table."""
    x, y = sine.windows(0.0, 20.0, 2000, 10)
    return Case(*_cast(sine.make(sine.Settings(), 0, device), dtype, RowSampler({"x": x, "y": y}, ROWS, seed=2)))


def bits(dtype: str, device: str = "cpu") -> Case:
    """`binary`: many series side by side, and a state that is carried."""
    drive, y = (row.reshape(ROWS, -1).T for row in binary.generate(ROWS * 200, 1, np.random.default_rng(0)))
    # From seed 0 the bias of the output comes through zero just at the end, where its rounding is large beside it.
    return Case(
        *_cast(binary.make(binary.Settings(), 1, device), dtype, fr.data.SeriesSampler({"x": drive, "y": y}, 5))
    )


def sentences(dtype: str, device: str = "cpu") -> Case:
    """`textrnn`: lengths, NCE and dropout."""
    classifier = textrnn.build(
        textrnn.Settings(embed=5, hidden=4, loss="nce", samples=6, pool="mean"), 50, 3, 2, device
    )
    generator = np.random.default_rng(1)
    rows = {
        "ids": generator.integers(0, 50, (90, 6)).astype("int32"),
        "lengths": generator.integers(1, 7, 90),
        "labels": generator.integers(0, 3, 90),
    }
    optimizer = SGD(classifier.model, 0.1, groups=[Group(classifier.frozen, frozen=True)])

    def compute(batch: Any, state: Any, step: int) -> Step:
        return classifier.compute(batch, 1e-3, step, batch.row_offset)

    return Case(classifier.model, optimizer, RowSampler(rows, ROWS, seed=4), compute)


def _cast(made: tuple[Any, Any, Any], dtype: str, sampler: Any) -> tuple[Any, Any, Any, Any]:
    if dtype != "float32":
        raise ValueError(f"this system has float32 alone, got {dtype}")
    model, optimizer, compute = made
    return model, optimizer, sampler, compute


CASES: dict[str, tuple[Callable[[str, str], Case], str]] = {
    "words": (words, "float32"),
    "words64": (words, "float64"),
    "characters": (characters, "float32"),
    "characters64": (characters, "float64"),
    "sine": (a_sine, "float32"),
    "bits": (bits, "float32"),
    "sentences": (sentences, "float32"),
}


def train(
    name: str, out: Path, *, device: str = "cpu", total_steps: int = STEPS, resume: bool = False, **options: Any
) -> Case:
    """Train a case in a folder of its own."""
    make, dtype = CASES[name]
    case = make(dtype, device)
    folder = RunFolder(out / name, {"system": name}, resume=resume)
    options = {"log_every": 10, "checkpoint_every": 10, "total_steps": total_steps} | options
    fit(case.model, case.optimizer, case.sampler, case.compute, clip_norm=case.clip_norm, folder=folder, **options)
    return case


def all_cases(out: Path) -> None:
    """Train every case, and keep the weights that this rank has."""
    for name in CASES:
        case = train(name, out)
        np.savez(out / f"{name}-{world().rank}.npz", **case.model.state_dict())


def some_steps(out: Path, name: str, total_steps: str, resume: str) -> None:
    """Train to a number of steps, from the start or from where the folder is."""
    train(name, out, total_steps=int(total_steps), resume=resume == "resume")


def dies(out: Path) -> None:
    """The last rank is killed in step 35."""
    case = words("float32")

    def compute(batch: Any, state: Any, step: int) -> Step:
        if step == 35 and world().rank == world().size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return case.compute(batch, state, step)

    folder = RunFolder(out / "words", {"system": "words"})
    fit(case.model, case.optimizer, case.sampler, compute, total_steps=STEPS, checkpoint_every=10, folder=folder)


def differs(out: Path, what: str) -> None:
    """Something is other on one rank than on the others; each keeps its error and its weights."""
    rank = world().rank
    model = fr.nn.Linear(3, 1, seed=rank if what in ("seed", "alone") else 0)
    table = {"x": np.ones((40, 3), "float32"), "y": np.ones((40, 1), "float32")}
    sampler = RowSampler(table, 4, seed=rank if what == "sampler" else 0)
    loss = fr.nn.MeanSquaredError()

    def compute(batch: Any, state: Any, step: int) -> Step:
        if what == "nudge" and rank == 1 and step == 5:
            with model.writable() as parameters:
                parameters["weight"][0, 0] += 1e-6
        if what == "compute" and rank == 1 and step == 5:
            raise OSError(28, "No space left", "there")
        prediction, saved = model.forward(batch.x)
        value, saved_loss = loss.forward(prediction, batch.y)
        count = len(batch.x) + (rank if what == "count" else 0)
        return Step(float(value), count, model.backward(saved, loss.backward(saved_loss))[1])

    def on_epoch(epoch: int) -> dict[str, Any]:
        if what == "evaluation":
            raise KeyError("evaluation")
        if what == "interrupt":
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("Ctrl-C ends an evaluation at once")
        return {}

    options: dict[str, Any] = {"epochs": 2, "checkpoint_every": 7, "on_epoch": on_epoch}
    if what == "alone":
        options["world"] = World()
    try:
        fit(model, Adam(model, 0.01), sampler, compute, **options)
    except (ValueError, OSError, KeyError, KeyboardInterrupt) as error:
        (out / f"error{rank}").write_text(f"{type(error).__name__}: {error}")
    (out / f"weights{rank}").write_bytes(model.parameters()["weight"].tobytes())


def command(out: Path, trouble: str, *arguments: str) -> None:
    """The command line with something that goes wrong on one rank; its exit code goes into a file."""
    rank, whole_step = world().rank, language.language_step

    def step(*given: Any, **named: Any) -> Step:
        if trouble == "interrupt" and rank == 1 and named["step"] == 30:
            signal.raise_signal(signal.SIGINT)
        if trouble == "error" and rank == 1 and named["step"] == 30:
            raise ValueError("step: the disk must\nhold data, got none")
        return whole_step(*given, **named)

    def text() -> str:
        if rank == 1:
            raise OSError("text: the file must be there, got none")
        return whole_text()

    def curves(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("in a plot")

    language.language_step = step  # type: ignore[assignment]
    whole_text = charlm.documentation_text
    if trouble == "text":
        charlm.documentation_text = text
    elif trouble == "plot":
        charlm.draw_curves = curves
    code: Any = "none"
    try:
        code = cli.main(list(arguments))
    except SystemExit as ended:
        code = ended.code
    finally:
        (out / f"code{rank}").write_text(str(code))
    sys.exit(code)


def commands(out: Path, *lines: str) -> None:
    """Many commands, one after another, each with a folder of its own; every rank writes their exit codes."""
    for number, line in enumerate(lines):
        arguments = [*line.split(), "--out", str(out / f"run{number}")]
        (out / f"code{number}.{world().rank}").write_text(str(cli.main(arguments)))


PROGRAMS = {each.__name__: each for each in (all_cases, some_steps, dies, differs, command, commands)}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
