"""A sentence as one of several classes: embedding, LSTM in both directions, linear map (document 001).

::

    y      = dropout(LSTM in both directions over embedding[ids])
    r      = y at the sentence's last word, or what else --pool says
    logits = r · W + b
    loss   = cross entropy of softmax(logits), or NCE  +  l2 · ½ Σ v² over embedding, kernels, W and b

The document reads ``output[:, -1, :]``. Of the direction that goes backwards this is what stands after a single word,
the last one: ``--pool last``. What was meant is the final state of each direction, ``--pool final``.

The document leaves variables out of the penalty by name, those with "bias" in it. The cells' bias is called so, that
of the last map is ``b_projection``, and is counted.

NCE draws 20 candidates among 10 classes. TensorFlow refuses that, since its candidates differ; here they are drawn
with replacement where there are fewer classes. All classes have logits anyway, so NCE is computed on these: its weights
are the identity and its biases zero.

``--published`` is the document's run: a batch of eight equal sentences of zeros with labels 1 0 1 1 1 2 1 1, a hundred
times. Equal sentences have one prediction, and the best one is 1, which is right in six of eight.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fusedrnn import checks, functional, initializers
from fusedrnn.backends import of_array
from fusedrnn.data import RowSampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.sentences import Classifier, Rows, SentenceSettings, Task, read_task, train
from fusedrnn.examples.system import System, add_settings, given, open_run, option, read_settings, refuse_data, say
from fusedrnn.layers import LSTM
from fusedrnn.models import SequenceModel
from fusedrnn.nn import Dropout, Embedding, Linear

LABELS = (1, 0, 1, 1, 1, 2, 1, 1)

PUBLISHED = {
    "words": 5,
    "vocabulary": 10000,
    "classes": 10,
    "keep": 1.0,
    "batch": len(LABELS),
    "rate": 0.01,
    "epochs": 100,
}


@dataclass(frozen=True)
class Settings(SentenceSettings):
    """The document's numbers where it has any for real sentences."""

    published: bool = option(
        False,
        "the document's run, a hundred times the same batch of zeros; its defaults are "
        + ", ".join(f"--{name} {value}" for name, value in PUBLISHED.items()),
    )
    hidden: int = option(100, "units of the LSTM in one direction")
    classes: int = option(0, "columns of the output, 0 for as many as there are labels")
    init: float = option(0.1, "standard deviation of the weights at the start")
    pool: str = option("last", "what of a sentence is read", choices=("last", "final", "mean", "max"))
    loss: str = option("softmax", "what is made small", choices=("softmax", "nce"))
    samples: int = option(20, "candidates of NCE")


def published_task(settings: Settings) -> Task:
    """The document's batch, to train on and to evaluate on."""
    rows = len(LABELS)
    batch = Rows(
        np.zeros((rows, settings.words), np.int32), np.full(rows, settings.words), np.array(LABELS, dtype=np.int64)
    )
    return Task(batch, batch, settings.vocabulary, tuple(map(str, range(max(LABELS) + 1))), {})


Loss = Callable[[np.ndarray, np.ndarray, int], tuple[Any, np.ndarray]]


def softmax_loss(logits: np.ndarray, labels: np.ndarray, number: int) -> tuple[Any, np.ndarray]:
    """Cross entropy of the softmax, and its gradient."""
    loss, saved = functional.softmax_cross_entropy_forward(logits, labels)
    return loss, functional.softmax_cross_entropy_backward(saved)


def nce_loss(logits: np.ndarray, labels: np.ndarray, number: int, *, samples: int, seed: int) -> tuple[Any, np.ndarray]:
    """Noise contrastive estimation among all logits (B, N), and its gradient; `number` of the step draws."""
    classes, own = logits.shape[1], of_array(logits).own
    identity, zeros = own(np.eye(classes, dtype=logits.dtype)), own(np.zeros(classes, logits.dtype))
    options: dict[str, Any] = {"num_sampled": samples, "unique": samples <= classes, "seed": seed, "step": number}
    loss, saved = functional.nce_forward(logits, identity, zeros, labels, **options)
    return loss, functional.nce_backward(saved)[0]


def build(settings: Settings, words: int, classes: int, seed: int, device: str = "cpu") -> Classifier:
    """The model with its loss, for `words` ids."""
    # Each part draws from a seed of its own: with one seed, equal draws would appear in several matrices.
    seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(5, np.uint64)]
    shared: dict[str, Any] = {"init": initializers.normal(settings.init), "device": device}
    sizes = (settings.embed, settings.hidden)
    model = SequenceModel(
        LSTM(*sizes, bidirectional=True, forget_bias=settings.forget_bias, **shared, seed=seeds[0]),
        Linear(2 * settings.hidden, classes, **shared, seed=seeds[1]),
        Embedding(words, settings.embed, **shared, seed=seeds[2]),
        settings.pool,
        Dropout(1 - settings.keep, seed=seeds[3]),
    )
    # The document's cells have one bias vector.
    frozen = tuple(name for name in model.parameters() if name.startswith("rnn.bias_hh"))
    with model.writable() as parameters:
        for name in frozen:
            parameters[name][:] = 0
    loss: Loss = softmax_loss
    if settings.loss == "nce":
        loss = partial(nce_loss, samples=settings.samples, seed=seeds[4])

    def step(
        ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray, number: int, row_offset: int = 0
    ) -> tuple[Any, dict[str, np.ndarray]]:
        logits, _, saved = model.forward(ids, lengths=lengths, step=number, row_offset=row_offset)
        value, dlogits = loss(logits, labels, number)
        return value, model.backward(saved, dlogits)[1]

    return Classifier(
        model,
        frozen,
        penalised=("inputs.weight", "rnn.weight*", "output.weight", "output.bias"),
        step=step,
        logits=lambda ids, lengths: model(ids, lengths=lengths)[0],
        loss=lambda logits, labels: float(softmax_loss(logits, labels, 0)[0]),
        choose=lambda logits: logits.argmax(axis=1),
    )


def run(options: Namespace) -> dict[str, Any]:
    """Train on most sentences, and predict the labels of the others."""
    settings = read_settings(options, Settings, PUBLISHED if given(options, "published") else {})
    settings.check("textrnn", options.seed)
    checks.integer("textrnn", "--hidden", settings.hidden, 1)
    checks.integer("textrnn", "--samples", settings.samples, 1)
    checks.real("textrnn", "--init", settings.init, 0.0, np.inf)
    if settings.published:
        refuse_data(options, "textrnn", "--published has its own")
        task = published_task(settings)
    else:
        task = read_task("textrnn", options, settings)
    labels = len(task.names)
    classes = labels if settings.classes == 0 else checks.integer("textrnn", "--classes", settings.classes, labels)
    task = task._replace(names=(*task.names, *map(str, range(labels, classes))))
    classifier = build(settings, task.words, classes, options.seed, chosen_device(options, "textrnn"))
    sampler = RowSampler(task.train._asdict(), settings.batch, seed=options.seed, shuffle=not settings.published)
    folder = open_run(options, "textrnn", settings, sampler)
    title = f"TextRNN, {settings.loss}, {settings.pool}" + (", as published" if settings.published else "")
    every = {"log_every": 1, "show_every": 10} if settings.published else {}
    found = train(classifier, task, settings, sampler, folder, title, **every)
    if settings.published:
        say(f"labels      {' '.join(map(str, LABELS))}\npredictions {' '.join(map(str, found.predictions))}")
    return folder.final({"accuracy": found.accuracy})


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, quick={})


SYSTEM = System("textrnn", "sentences by class: an LSTM in both directions, softmax or NCE", add_options, run)
