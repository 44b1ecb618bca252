"""A picture as a sequence of its lines: linear map, LSTM, linear map of the final state (003).

::

    u[t]   = x[t] · W1 + b1                 line t of the picture, to 128 columns
    h      = final state of an LSTM over u
    logits = h · W2 + b2

The document starts both linear maps from N(0, 1) and feeds pixels of 0 to 255 as they are, which saturates every gate;
``--raw`` does that too. By default pixels are divided by the largest value that they can have.

``--data`` is a folder or file of MNIST, IDX or CSV, also gzipped or zipped. Where it holds a training and a test part,
the test part is held out; else the last fifth is. Without it the pictures are scikit-learn's digits, 8 lines of 8.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks, initializers
from fusedrnn.backends import of_device
from fusedrnn.data import LabelledImages, RowSampler, read_images
from fusedrnn.data.image_files import PARTS, parts_in
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.iris import accuracy
from fusedrnn.examples.system import (
    System,
    add_settings,
    draw_curves,
    end_other_ranks,
    needed,
    open_run,
    option,
    read_settings,
    say,
)
from fusedrnn.layers import LSTM
from fusedrnn.models import SequenceModel
from fusedrnn.nn import Linear, SoftmaxCrossEntropy
from fusedrnn.optim import Adam, Group
from fusedrnn.random import part_seeds
from fusedrnn.train import Step, fit


@dataclass(frozen=True)
class Settings:
    """The document's numbers."""

    raw: bool = option(False, "pixels as they are, not divided by the largest value")
    hidden: int = option(128, "units of the LSTM, and columns of the map before it")
    batch: int = option(128, "pictures of a batch")
    steps: int = option(300, "steps of training")
    rate: float = option(0.001, "learning rate of Adam")
    held_out: float = option(0.2, "share of the pictures held out, the last ones")


def read(options: Namespace, held_out: float) -> tuple[LabelledImages, LabelledImages, float]:
    """The pictures to learn from, those held out, and the largest value that a pixel can have."""
    if options.data is None:
        digits = needed("mnist", "sklearn.datasets", "scikit-learn").load_digits()
        everything, brightest = LabelledImages(digits.images.astype(np.uint8), digits.target.astype(np.int64)), 16.0
    elif parts_in("mnist", options.data) == PARTS:
        train, test = (read_images(options.data, part=part) for part in PARTS)
        if train.images.shape[1:] != test.images.shape[1:]:
            sizes = f"{train.images.shape[1:]} and {test.images.shape[1:]}"
            raise ValueError(f"mnist: pictures of both parts must have one size, got {sizes} in {options.data}")
        if test.labels.max() > train.labels.max():
            came = f"{test.labels.max()} beside {train.labels.max()}"
            raise ValueError(f"mnist: labels of the test part must occur in training, got {came} in {options.data}")
        return train, test, 255.0
    else:
        everything, brightest = read_images(options.data), 255.0
    rows = len(everything.labels)
    count = rows - round(held_out * rows)
    if not 0 < count < rows:
        raise ValueError(f"mnist: --held-out must leave a picture on both sides of {rows}, got {held_out}")
    train, test = (LabelledImages(*(part[side] for part in everything)) for side in (slice(count), slice(count, None)))
    return train, test, brightest


def make(
    settings: Settings, columns: int, classes: int, seed: int, device: str = "cpu"
) -> tuple[SequenceModel, Adam, Callable[[Any, Any, int], Step]]:
    """Model, optimiser, and what a step computes of a batch: pictures x (B, lines, columns), labels y (B,)."""
    normal = initializers.normal(1.0)
    seeds = part_seeds(seed, 3)
    model = SequenceModel(
        LSTM(settings.hidden, settings.hidden, init="keras", forget_bias=1.0, seed=seeds[0], device=device),
        Linear(settings.hidden, classes, init=normal, seed=seeds[1], device=device),
        Linear(columns, settings.hidden, init=normal, seed=seeds[2], device=device),
        read="final",
    )
    loss = SoftmaxCrossEntropy()
    # The document's cell has one bias vector.
    optimizer = Adam(model, settings.rate, groups=[Group("rnn.bias_hh*", frozen=True)])

    def compute(batch: Any, state: None, step: int) -> Step:
        logits, _, saved = model.forward(batch.x.swapaxes(0, 1), step=step, row_offset=batch.row_offset)
        value, saved_loss = loss.forward(logits, batch.y)
        _, grads = model.backward(saved, loss.backward(saved_loss), need_dx=False)
        return Step(value, len(batch.y), grads, figures={"accuracy": accuracy(logits, batch.y)})

    return model, optimizer, compute


def run(options: Namespace) -> dict[str, Any]:
    """Train on most pictures and read the digits of the others."""
    settings = read_settings(options, Settings)
    for name in ("hidden", "batch", "steps"):
        checks.integer("mnist", f"--{name}", getattr(settings, name), 1)
    held_out = checks.real("mnist", "--held-out", settings.held_out, 0.0, 1.0, open_low=True)
    train, test, brightest = read(options, held_out)
    scale = np.float32(1.0 if settings.raw else brightest)
    x_train, x_test = (part.images.astype("float32") / scale for part in (train, test))

    columns, classes = x_train.shape[2], int(train.labels.max()) + 1
    device = chosen_device(options, "mnist")
    model, optimizer, compute = make(settings, columns, classes, options.seed, device)
    sampler = RowSampler({"x": x_train, "y": train.labels}, settings.batch, seed=options.seed)
    folder = open_run(options, "mnist", settings, sampler)
    say(f"{len(x_train)} pictures to learn from, {len(x_test)} held out; {x_train.shape[1]} lines of {columns}")

    def tell(record: dict[str, Any]) -> None:
        if record["event"] == "step" and record["step"] % 100 == 0:
            say(f"step {record['step']}: loss {record['loss']:.4f}, accuracy on the batch {record['accuracy']:.4f}")

    fit(
        model,
        optimizer,
        sampler,
        compute,
        total_steps=settings.steps,
        folder=folder,
        log_every=20,
        on_log=tell,
        quiet=None,
    )
    end_other_ranks()
    there = of_device("mnist", device)
    logits = there.host(model(there.own(x_test).swapaxes(0, 1))[0])
    draw_curves(folder, "digits, line by line", {"training": "loss"}, ylabel="loss / nats")
    return folder.final({"accuracy": accuracy(logits, test.labels)})


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, quick={})


SYSTEM = System("mnist", "digits line by line: a picture as a sequence", add_options, run)
