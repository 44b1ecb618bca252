"""Softmax regression on Fisher's irises: the smallest model that is trained by the same loop as the others (000).

::

    logits = x · Wᵀ + b                      four measurements in centimetres, three species
    loss   = mean over the rows of -log softmax(logits)[species]

The document's listing applies a softmax to the output of the layer and then hands it to a loss that applies another
one, so that no probability can exceed e / (e + 2), about 0.58. Here it is applied once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array, of_device
from fusedrnn.data import RowSampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.system import (
    System,
    add_settings,
    draw_curves,
    end_other_ranks,
    needed,
    open_run,
    option,
    read_settings,
    refuse_data,
    say,
)
from fusedrnn.nn import Linear, SoftmaxCrossEntropy
from fusedrnn.optim import Adam
from fusedrnn.train import Step, fit


@dataclass(frozen=True)
class Settings:
    """The document's numbers."""

    steps: int = option(800, "steps, each over all rows of the training part")
    rate: float = option(0.01, "learning rate of Adam")
    held_out: float = option(0.2, "share of the rows held out")
    split: int = option(0, "seed of the split, scikit-learn's random_state")


def make(
    settings: Settings, columns: int, species: int, seed: int, device: str = "cpu"
) -> tuple[Linear, Adam, Callable[[Any, Any, int], Step]]:
    """Model, optimiser, and what a step computes of a batch: measurements x (B, columns), species y (B,)."""
    linear = Linear(columns, species, init="keras", seed=seed, device=device)
    loss = SoftmaxCrossEntropy()

    def compute(batch: Any, state: None, step: int) -> Step:
        logits, saved = linear.forward(batch.x)
        value, saved_loss = loss.forward(logits, batch.y)
        _, grads = linear.backward(saved, loss.backward(saved_loss))
        return Step(value, len(batch.x), grads, figures={"training_accuracy": accuracy(logits, batch.y)})

    return linear, Adam(linear, settings.rate), compute


def run(options: Namespace) -> dict[str, Any]:
    """Train on the measurements of most flowers and name the species of the others."""
    settings = read_settings(options, Settings)
    refuse_data(options, "iris", "its data comes with scikit-learn")
    checks.integer("iris", "--steps", settings.steps, 1)
    checks.real("iris", "--held-out", settings.held_out, 0.01, 0.99)
    checks.integer("iris", "--split", settings.split, 0, 2**32 - 1)
    iris = needed("iris", "sklearn.datasets", "scikit-learn").load_iris()
    split = needed("iris", "sklearn.model_selection", "scikit-learn").train_test_split
    x_train, x_test, y_train, y_test = split(
        iris.data.astype("float32"), iris.target, test_size=settings.held_out, random_state=settings.split
    )

    device = chosen_device(options, "iris")
    linear, optimizer, compute = make(settings, x_train.shape[1], len(iris.target_names), options.seed, device)
    sampler = RowSampler({"x": x_train, "y": y_train}, len(x_train), seed=options.seed, shuffle=False)
    folder = open_run(options, "iris", settings, sampler)
    say(f"{len(x_train)} flowers to learn from, {len(x_test)} held out; species: {', '.join(iris.target_names)}")

    fit(
        linear,
        optimizer,
        sampler,
        compute,
        total_steps=settings.steps,
        folder=folder,
        log_every=20,
        checkpoint_every=settings.steps,
        quiet=None,
    )
    end_other_ranks()
    there = of_device("iris", device)
    logits = there.host(linear(there.own(x_test)))
    draw_curves(folder, "softmax regression on irises", {"training": "loss"}, ylabel="loss / nats")
    right = int((logits.argmax(axis=1) == y_test).sum())
    return folder.final({"accuracy": accuracy(logits, y_test), "right": right, "rows": len(y_test)})


def accuracy(logits: np.ndarray, targets: np.ndarray) -> Any:
    """Share of the rows whose largest logit is that of the target; on a GPU an array without axes.

    Examples
    --------
    >>> from fusedrnn.examples.iris import accuracy
    >>> accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    """
    found: Any = of_array(logits).number((logits.argmax(axis=-1) == targets).mean())
    return found


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, quick={})


SYSTEM = System("iris", "softmax regression with Adam on Fisher's irises", add_options, run)
