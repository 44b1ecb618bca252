"""A sentence as one of several classes: words in their context, convolved and pooled (document 001).

::

    x[t]   = (embedding of word t, LSTM in both directions at word t)
    r      = mean and maximum over the windows of relu(conv_k(x)), for k = 1 ... 4
    logits = r · W + b
    loss   = cross entropy of sigmoid(logits) or of softmax(logits)  +  l2 · ½ Σ v² over all weights but biases

The document builds the model and does not train it; training is that of `textrnn`, with its dropout on the outputs of
the cells. Keras' maxima and means go over the padding too; here they end where a sentence ends, and a sentence that is
shorter than a kernel is padded with zeros to its width.

``--activation sigmoid``, the document's default, is for two labels: one number, the logit of the second label. With
more labels there is one number for each, which asks whether it is this one. By default two labels take the sigmoid,
more take the softmax.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.backends import of_array
from fusedrnn.data import RowSampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.sentences import Classifier, SentenceSettings, read_task, train
from fusedrnn.examples.system import System, add_settings, open_run, option, read_settings
from fusedrnn.examples.textrnn import softmax_loss
from fusedrnn.models import RCNN


@dataclass(frozen=True)
class Settings(SentenceSettings):
    """The document's numbers; it has none for training."""

    hidden: int = option(128, "units of the LSTM in one direction")
    filters: int = option(128, "filters of each convolution")
    kernels: int = option(4, "the convolutions see 1, 2, ... this many words")
    activation: str = option("auto", "of the output", choices=("auto", "sigmoid", "softmax"))


QUICK = {"epochs": 2}


def sigmoid_loss(logits: np.ndarray, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    """Cross entropy of the sigmoid of logits (B, 1) or (B, N), added up over columns, and its gradient."""
    columns = logits.shape[1]
    right = labels[:, None] == (of_array(labels).own(np.arange(columns)) if columns > 1 else 1)
    loss, saved = functional.binary_cross_entropy_forward(logits, right)
    return loss * columns, functional.binary_cross_entropy_backward(saved, columns)


def build(settings: Settings, words: int, labels: int, seed: int, device: str = "cpu") -> Classifier:
    """The model with its loss, for `words` ids."""
    sigmoid = settings.activation == "sigmoid" or (settings.activation == "auto" and labels == 2)
    model = RCNN(
        words,
        1 if sigmoid and labels == 2 else labels,
        embed_size=settings.embed,
        hidden_size=settings.hidden,
        filters=settings.filters,
        kernel_sizes=range(1, settings.kernels + 1),
        dropout=1 - settings.keep,
        one_bias=True,
        init="keras",
        forget_bias=settings.forget_bias,
        seed=seed,
        device=device,
    )
    loss: Callable[[np.ndarray, np.ndarray], tuple[Any, np.ndarray]] = (
        sigmoid_loss if sigmoid else lambda logits, labels: softmax_loss(logits, labels, 0)
    )

    def step(
        ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray, number: int, row_offset: int = 0
    ) -> tuple[Any, dict[str, np.ndarray]]:
        logits, saved = model.forward(ids, lengths=lengths, step=number, row_offset=row_offset)
        value, dlogits = loss(logits, labels)
        return value, model.backward(saved, dlogits)

    return Classifier(
        model,
        model.frozen,
        penalised=[name for name in model.parameters() if "bias" not in name],
        step=step,
        logits=lambda ids, lengths: model(ids, lengths=lengths),
        loss=lambda logits, labels: float(loss(logits, labels)[0]),
        choose=lambda logits: logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.int64),
    )


def run(options: Namespace) -> dict[str, Any]:
    """Train on most sentences, and predict the labels of the others."""
    settings = read_settings(options, Settings, QUICK if options.quick else {})
    settings.check("rcnn", options.seed)
    for name in ("hidden", "filters", "kernels"):
        checks.integer("rcnn", f"--{name}", getattr(settings, name), 1)
    task = read_task("rcnn", options, settings)
    classifier = build(settings, task.words, len(task.names), options.seed, chosen_device(options, "rcnn"))
    sampler = RowSampler(task.train._asdict(), settings.batch, seed=options.seed)
    folder = open_run(options, "rcnn", settings, sampler)
    found = train(classifier, task, settings, sampler, folder, "RCNN")
    return folder.final({"accuracy": found.accuracy})


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, QUICK)


SYSTEM = System("rcnn", "sentences by class: LSTM in both directions, convolutions, mean and maximum", add_options, run)
