"""Does an RNN find a rule in random bits? Truncated backpropagation with the state carried along (002).

A drive of fair bits d decides a sequence y::

    y[t] = 1 - d[t - gap]          where d[t - gap] = d[t - gap - 1]
    y[t] = a fair bit              elsewhere

The network reads the drive and predicts y. In half of all places the rule says what comes, in the others nothing does:
who knows the rule is right in 3/4 of all places and has a cross entropy of ln(2)/2 = 0.34657 nats; who does not has
ln 2 = 0.69315. The document derives these two numbers, and its first formula has the logarithm of 1/2 where it means 1.

Gradients go back five steps, no further, although the state goes on from window to window. So with ``--gap 12`` the
rule reaches further back than the network can learn, and it learns nothing.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_device
from fusedrnn.data import SeriesSampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.iris import accuracy
from fusedrnn.examples.joined_kernel import joined_kernel
from fusedrnn.examples.system import (
    System,
    add_settings,
    draw_curves,
    end_other_ranks,
    open_run,
    option,
    read_settings,
    refuse_data,
    say,
)
from fusedrnn.layers import RNN, OneHot
from fusedrnn.models import SequenceModel
from fusedrnn.nn import Linear, SoftmaxCrossEntropy
from fusedrnn.optim import Adam, Group
from fusedrnn.random import part_seeds
from fusedrnn.train import Step, fit


@dataclass(frozen=True)
class Settings:
    """The document's numbers."""

    bits: int = option(500000, "bits in the sequence")
    length: int = option(2000, "bits in a row; there are bits / length rows side by side")
    steps: int = option(5, "steps through which gradients go back")
    gap: int = option(1, "steps between the drive's two bits and the one that they decide")
    hidden: int = option(6, "units of the RNN")
    rate: float = option(0.01, "learning rate of Adam")
    epochs: int = option(5, "passes over the sequence")


QUICK = {"bits": 200000}


def generate(count: int, gap: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The drive and the sequence that it decides, `count` bits each.

    Examples
    --------
    >>> from fusedrnn.examples.binary import generate
    >>> drive, y = generate(1000, 1, np.random.default_rng(0))
    >>> same = drive[1:-1] == drive[:-2]
    >>> bool((y[2:][same] == 1 - drive[1:-1][same]).all()), 0.4 < y.mean() < 0.6
    (True, np.True_)
    """
    drive, y = generator.integers(0, 2, (2, count))
    now, before = drive[1 : count - gap], drive[: count - gap - 1]  # at t - gap and t - gap - 1, for t > gap
    y[gap + 1 :] = np.where(now == before, 1 - now, y[gap + 1 :])
    return drive, y


def make(
    settings: Settings, seed: int, device: str = "cpu"
) -> tuple[SequenceModel, Adam, Callable[[Any, Any, int], Step]]:
    """Model, optimiser, and what a step computes of a batch: drive x and sequence y, both (T, B)."""
    seeds = part_seeds(seed, 2)
    model = SequenceModel(
        RNN(2, settings.hidden, init=joined_kernel(2, settings.hidden, gates=1), seed=seeds[0], device=device),
        Linear(settings.hidden, 2, init="keras", seed=seeds[1], device=device),
    )
    loss = SoftmaxCrossEntropy()
    # The document's cell has one bias vector.
    optimizer = Adam(model, settings.rate, groups=[Group("rnn.bias_hh*", frozen=True)])

    def compute(batch: Any, state: Any, step: int) -> Step:
        logits, state, saved = model.forward(OneHot(batch.x, 2), state, step=step, row_offset=batch.row_offset)
        value, saved_loss = loss.forward(logits, batch.y)
        _, grads = model.backward(saved, loss.backward(saved_loss), need_dx=False)
        figures = {"accuracy": accuracy(logits, batch.y)}
        return Step(value, batch.y.size, grads, state, figures)

    return model, optimizer, compute


def run(options: Namespace) -> dict[str, Any]:
    """Train on the bits, and measure what the network has found."""
    settings = read_settings(options, Settings, QUICK if options.quick else {})
    refuse_data(options, "binary", "it draws its own")
    for name in ("length", "steps", "gap", "hidden", "epochs"):
        checks.integer("binary", f"--{name}", getattr(settings, name), 1)
    checks.integer("binary", "--bits", settings.bits, max(settings.length, settings.gap + 2))
    rows = settings.bits // settings.length
    drive, y = (
        bits[: rows * settings.length].reshape(rows, -1).T
        for bits in generate(settings.bits, settings.gap, np.random.default_rng(options.seed))
    )

    device = chosen_device(options, "binary")
    model, optimizer, compute = make(settings, options.seed, device)
    sampler = SeriesSampler({"x": drive, "y": y}, settings.steps)
    folder = open_run(options, "binary", settings, sampler)
    say(f"{rows} rows of {settings.length} bits, gap {settings.gap}; {len(sampler)} steps an epoch")

    fit(
        model,
        optimizer,
        sampler,
        compute,
        epochs=settings.epochs,
        folder=folder,
        unit="bits",
        log_every=20,
        quiet=None,
    )
    end_other_ranks()
    there = of_device("binary", device)
    logits = there.host(model(OneHot(there.own(drive), 2))[0])
    final = {"loss": float(SoftmaxCrossEntropy()(logits, y)), "accuracy": accuracy(logits, y)}
    say(f"all {y.size} bits, last weights: loss {final['loss']:.5f}, accuracy {final['accuracy']:.4f}")
    draw_curves(
        folder,
        f"a rule in random bits, gap {settings.gap}",
        {"training": "loss"},
        ylabel="loss / nats",
        yscale="linear",
        levels={"the rule is known: ln(2)/2": math.log(2) / 2, "nothing is known: ln 2": math.log(2)},
    )
    return folder.final(final)


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, QUICK)


SYSTEM = System("binary", "an RNN finds the rule in random bits, or cannot with --gap 12", add_options, run)
