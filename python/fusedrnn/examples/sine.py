"""The next value of a sine from the ten before it: two LSTM layers and a linear map of their last output (000).

The document cuts a sampled sine into windows of ten values. Its listing puts each window into an array of one more
axis, ``X.append([seq[i:i + 10]])``, so the network sees a single step of ten features, and recurrence is never used.
That is the default here, as published; with ``--as-meant`` a window is ten steps of one feature.

::

    loss = mean over the batch of (output - next value)²
    rmse = √(mean over the test windows of (output - next value)²)

The listing calls its square root "Mean Square Error", and one cell object stands for both layers, which no version of
TensorFlow since 1.1 accepts. Windows begin at 0 .. N - 12, one less than there are: kept, since the figures are theirs.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_device
from fusedrnn.data import RowSampler
from fusedrnn.examples.device import chosen_device
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
from fusedrnn.layers import LSTM
from fusedrnn.models import SequenceModel
from fusedrnn.nn import Linear, MeanSquaredError
from fusedrnn.optim import Adagrad, Group
from fusedrnn.random import part_seeds
from fusedrnn.train import Step, fit, plot


@dataclass(frozen=True)
class Settings:
    """The document's numbers."""

    as_meant: bool = option(False, "ten steps of one feature, not one step of ten features")
    window: int = option(10, "values before the one to predict")
    hidden: int = option(30, "units of each LSTM layer")
    layers: int = option(2, "LSTM layers")
    samples: int = option(10000, "values of the training sine, from 0 on, a hundredth apart")
    test_samples: int = option(1000, "values of the test sine, behind those")
    batch: int = option(32, "windows of a batch")
    steps: int = option(3000, "steps of training")
    rate: float = option(0.1, "learning rate of Adagrad")
    accumulator: float = option(0.1, "what Adagrad's sums of squares start from")


GAP = 0.01
QUICK = {"steps": 600}


def windows(first: float, last: float, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (N, width) of sin on `count` points of [first, last], and the values that follow, N = count - width - 1.

    Examples
    --------
    >>> from fusedrnn.examples.sine import windows
    >>> x, y = windows(0.0, 1.0, 11, 4)
    >>> x.shape, y.shape, bool(x[1, 3] == y[0, 0])
    ((6, 4), (6, 1), True)
    """
    values = np.sin(np.linspace(first, last, count, dtype=np.float32))
    x = np.lib.stride_tricks.sliding_window_view(values, width)[: count - width - 1]
    return x.copy(), values[width:-1, None].copy()


def as_steps(rows: np.ndarray, settings: Settings) -> np.ndarray:
    """Windows (B, window) as (T, B, features): one step of all values, or with `as_meant` a step for each.

    Examples
    --------
    >>> from fusedrnn.examples.sine import Settings, as_steps
    >>> as_steps(np.zeros((3, 10)), Settings()).shape, as_steps(np.zeros((3, 10)), Settings(as_meant=True)).shape
    ((1, 3, 10), (10, 3, 1))
    """
    return rows.reshape(len(rows), -1, 1 if settings.as_meant else settings.window).swapaxes(0, 1)


def make(
    settings: Settings, seed: int, device: str = "cpu"
) -> tuple[SequenceModel, Adagrad, Callable[[Any, Any, int], Step]]:
    """Model, optimiser, and what a step computes of a batch: windows x (B, window), the values y (B, 1) after them."""
    seeds = part_seeds(seed, 2)
    features = 1 if settings.as_meant else settings.window
    init = joined_kernel(features, settings.hidden, gates=4)
    model = SequenceModel(
        LSTM(features, settings.hidden, settings.layers, init=init, forget_bias=1.0, seed=seeds[0], device=device),
        Linear(settings.hidden, 1, init="keras", seed=seeds[1], device=device),
        read="last",
    )
    loss = MeanSquaredError()
    # The document's cells have one bias vector.
    frozen = Group("rnn.bias_hh*", frozen=True)
    optimizer = Adagrad(model, settings.rate, initial_accumulator=settings.accumulator, eps=0.0, groups=[frozen])

    def compute(batch: Any, state: None, step: int) -> Step:
        out, _, saved = model.forward(as_steps(batch.x, settings), step=step, row_offset=batch.row_offset)
        value, saved_loss = loss.forward(out, batch.y)
        _, grads = model.backward(saved, loss.backward(saved_loss), need_dx=False)
        return Step(value, len(batch.x), grads)

    return model, optimizer, compute


def run(options: Namespace) -> dict[str, Any]:
    """Train on a sine, predict how it goes on, and draw both."""
    settings = read_settings(options, Settings, QUICK if options.quick else {})
    refuse_data(options, "sine", "it draws its own")
    for name in ("window", "hidden", "layers", "batch", "steps"):
        checks.integer("sine", f"--{name}", getattr(settings, name), 1)
    for name in ("samples", "test_samples"):
        checks.integer("sine", f"--{name.replace('_', '-')}", getattr(settings, name), settings.window + 2)
    end, test_end = settings.samples * GAP, (settings.samples + settings.test_samples) * GAP
    x, y = windows(0.0, end, settings.samples, settings.window)
    x_test, y_test = windows(end, test_end, settings.test_samples, settings.window)

    device = chosen_device(options, "sine")
    model, optimizer, compute = make(settings, options.seed, device)
    sampler = RowSampler({"x": x, "y": y}, settings.batch, seed=options.seed)
    folder = open_run(options, "sine", settings, sampler)
    steps = len(as_steps(x_test, settings))
    say(f"{len(x)} windows to learn from, {len(x_test)} to test; each is {steps} steps")
    fit(
        model,
        optimizer,
        sampler,
        compute,
        total_steps=settings.steps,
        folder=folder,
        log_every=50,
        quiet=None,
    )
    end_other_ranks()
    there = of_device("sine", device)
    predicted = there.host(model(as_steps(there.own(x_test), settings))[0])
    rmse = float(np.sqrt(np.square(predicted.astype(np.float64) - y_test).mean()))
    time = np.linspace(end, test_end, settings.test_samples)[settings.window : -1]
    plot.loss_curve(
        folder.path / "prediction.png",
        {"truth": (time, y_test[:, 0]), "prediction": (time, predicted[:, 0])},
        "time",
        "value",
        f"the next value of a sine, root mean square error {rmse:.4f}",
    )
    draw_curves(folder, "two LSTM layers on a sine", {"training": "loss"}, ylabel="loss")
    return folder.final({"rmse": rmse})


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, QUICK)


SYSTEM = System("sine", "the next value of a sine from ten before it, two LSTM layers", add_options, run)
