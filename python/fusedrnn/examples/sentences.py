"""What the classifiers of sentences share: data, training, evaluation, pictures.

A tenth of the sentences is held out. The vocabulary is made of the others, the most frequent words first; every other
word is ``<unk>``. Sentences are cut or padded at their ends to one number of words, and models get their lengths, so
that they never read the padding.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_device
from fusedrnn.data import (
    LabelledSentences,
    RowSampler,
    Vocabulary,
    documentation_sentences,
    pad_sentences,
    read_labelled,
    split_rows,
)
from fusedrnn.examples.system import draw_curves, end_other_ranks, option, say
from fusedrnn.functional import dense
from fusedrnn.models import RCNN, SequenceModel
from fusedrnn.optim import Adam, Group, exponential, l2_penalty
from fusedrnn.random import MAX_SEED
from fusedrnn.train import RunFolder, Step, fit, plot

UNKNOWN = "<unk>"
_EVALUATION_ROWS = 512


@dataclass(frozen=True)
class SentenceSettings:
    """What is the same for all of them."""

    words: int = option(40, "words of a sentence to read, its first ones")
    vocabulary: int = option(20000, "words to know, the most frequent ones of the training part")
    held_out: float = option(0.1, "share of the sentences to evaluate on, which training does not see")
    embed: int = option(100, "columns of the embedding")
    keep: float = option(0.5, "probability with which dropout keeps an output of a cell")
    forget_bias: float = option(1.0, "bias of the forget gates at the start")
    batch: int = option(64, "sentences of a batch")
    rate: float = option(0.001, "learning rate of Adam at the start")
    decay: float = option(0.9, "factor on the learning rate, once every --decay-every steps")
    decay_every: int = option(1000, "steps between two of those")
    l2: float = option(1e-4, "factor on the L2 penalty, which is half the sum of squares of the weights")
    epochs: int = option(6, "passes over the training part")

    def check(self, name: str, seed: int) -> None:
        """Raise ValueError for a number that is out of its range, `seed` too; `name` is the system's."""
        checks.integer(name, "--seed", seed, 0, MAX_SEED)
        for field in ("words", "embed", "batch", "decay_every", "epochs"):
            checks.integer(name, f"--{field.replace('_', '-')}", getattr(self, field), 1)
        checks.integer(name, "--vocabulary", self.vocabulary, 2)
        checks.real(name, "--held-out", self.held_out, 0.0, 1.0)
        checks.real(name, "--keep", self.keep, 0.0, 1.0)
        for field in ("rate", "decay", "l2"):
            checks.real(name, f"--{field}", getattr(self, field), 0.0, np.inf)


class Rows(NamedTuple):
    """Sentences as arrays.

    Attributes
    ----------
    ids : (B, T) int32 array
    lengths : (B,) int64 array
    labels : (B,) int64 array
    """

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


class Task(NamedTuple):
    """What there is to learn.

    Attributes
    ----------
    train, held_out : Rows
    words : number of ids
    names : of the classes, of which the labels are the first ones
    described : for the checkpoint, what says which word and label an id is
    """

    train: Rows
    held_out: Rows
    words: int
    names: tuple[str, ...]
    described: dict[str, Any]


def read_task(name: str, options: Namespace, settings: SentenceSettings) -> Task:
    """Read ``--data``, or sentences of Python's documentation, and hold some out; `name` is the system's."""
    if options.data is None:
        say("no --data, so the sentences are those of Python's documentation; `fusedrnn data list` has others")
    data = documentation_sentences() if options.data is None else read_labelled(options.data)
    train, held_out = split_rows(len(data.sentences), settings.held_out, options.seed)
    checks.integer(name, "--batch", settings.batch, 1, len(train))
    counted = Vocabulary.from_tokens(word for row in train for word in data.sentences[row])
    known = [word for word in counted.tokens if word != UNKNOWN][: settings.vocabulary - 1]
    vocabulary = Vocabulary([*known, UNKNOWN], unknown=UNKNOWN, by="word")
    say(
        f"{len(train)} sentences to learn from, {len(held_out)} held out; labels {', '.join(data.label_names)};"
        f" {len(known)} of {len(counted)} words known"
    )
    described = {"labels": data.label_names, "vocabulary": vocabulary.to_config()}
    learnt, evaluated = (_as_rows(data, rows, vocabulary, settings.words) for rows in (train, held_out))
    return Task(learnt, evaluated, len(vocabulary), data.label_names, described)


def _as_rows(data: LabelledSentences, rows: np.ndarray, vocabulary: Vocabulary, words: int) -> Rows:
    ids, lengths = pad_sentences([vocabulary.encode(data.sentences[row]) for row in rows], words)
    return Rows(np.ascontiguousarray(ids.T), lengths, data.labels[rows])


@dataclass(frozen=True)
class Classifier:
    """A model, and how it is trained and read.

    Attributes
    ----------
    model : RCNN or SequenceModel
    frozen : names of its parameters that stay as they are
    penalised : patterns for the names of those that the L2 penalty counts
    step : ``step(ids, lengths, labels, number, row_offset) -> loss, grads`` with ids (T, B), lengths and labels (B,)
        Ids and labels are on the device of the model, and so are loss and gradients; lengths are in host memory.
    logits : ``logits(ids, lengths)`` for inference, (B, N), with ids as for `step`
    loss : ``loss(logits, labels)``, their cross entropy
    choose : ``choose(logits)``, the labels (B,) that they stand for
    """

    model: RCNN | SequenceModel
    frozen: Sequence[str]
    penalised: Sequence[str]
    step: Callable[..., tuple[Any, dict[str, np.ndarray]]]
    logits: Callable[[np.ndarray, np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray, np.ndarray], float]
    choose: Callable[[np.ndarray], np.ndarray]

    def compute(self, rows: Any, l2: float, number: int, row_offset: int = 0) -> Step:
        """Loss with penalty and gradients for a batch of `Rows`, the first of which is number `row_offset` of all."""
        ids = dense(rows.ids.T)
        loss, grads = self.step(ids, rows.lengths, rows.labels, number, row_offset)
        penalty, grads = l2_penalty(self.model, grads, l2, self.penalised)
        grads = {name: value for name, value in grads.items() if name not in self.frozen}
        return Step(loss + penalty, len(rows.labels), grads)

    def optimizer(self, settings: SentenceSettings) -> Adam:
        """Adam, whose rate falls by steps."""
        rate = exponential(settings.rate, settings.decay, settings.decay_every)
        return Adam(self.model, rate, groups=[Group(self.frozen, frozen=True)])


class Evaluation(NamedTuple):
    """How good a classifier is on some rows.

    Attributes
    ----------
    loss : mean cross entropy in nats, without penalty
    accuracy : share of the rows whose label it finds
    predictions : (B,) labels
    confusion : (N, N) how many rows of a class it takes for which one
    """

    loss: float
    accuracy: float
    predictions: np.ndarray
    confusion: np.ndarray


def evaluate(classifier: Classifier, rows: Rows, classes: int) -> Evaluation:
    """Predict the labels of rows, which are in host memory."""
    parts, there = [], of_device("evaluate", classifier.model.device)
    for start in range(0, len(rows.labels), _EVALUATION_ROWS):
        part = slice(start, start + _EVALUATION_ROWS)
        ids = there.own(np.ascontiguousarray(rows.ids[part].T))
        parts.append(there.host(classifier.logits(ids, rows.lengths[part])))
    logits = np.concatenate(parts)
    predictions = classifier.choose(logits)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (rows.labels, predictions), 1)
    accuracy = float((predictions == rows.labels).mean())
    return Evaluation(classifier.loss(logits, rows.labels), accuracy, predictions, confusion)


def train(
    classifier: Classifier,
    task: Task,
    settings: SentenceSettings,
    sampler: RowSampler,
    folder: RunFolder,
    title: str,
    *,
    log_every: int = 10,
    show_every: int = 1,
) -> Evaluation:
    """Train, show how it goes, draw the pictures.

    Parameters
    ----------
    classifier, task, settings : what the run is made of
    sampler : of ``task.train``
    folder : of the run
    title : of the pictures
    log_every : steps between records
    show_every : epochs between lines on the screen

    Returns
    -------
    Evaluation
        On the held-out rows, by the weights of the last step.
    """

    def after_epoch(epoch: int) -> dict[str, float]:
        found = evaluate(classifier, task.held_out, len(task.names))
        return {"evaluation_loss": found.loss, "accuracy": found.accuracy}

    def tell(record: dict[str, Any]) -> None:
        if record["event"] == "epoch" and record["epoch"] % show_every == 0:
            say(
                f"epoch {record['epoch']}: loss {record['loss']:.4f} with the penalty; evaluation"
                f" {record['evaluation_loss']:.4f} without, accuracy {record['accuracy']:.4f}"
            )

    fit(
        classifier.model,
        classifier.optimizer(settings),
        sampler,
        lambda batch, state, number: classifier.compute(batch, settings.l2, number, batch.row_offset),
        epochs=settings.epochs,
        folder=folder,
        described=task.described,
        unit="sentences",
        log_every=log_every,
        on_epoch=after_epoch,
        on_log=tell,
        # Under a name of its own, for the mean of an epoch would be a step in the curve.
        derive=lambda record: {"recent_loss" if record.get("event") == "step" else "loss": record["loss"]},
        quiet=None,
    )
    end_other_ranks()
    curves = {"training, with the L2 penalty": "recent_loss", "evaluation, without it": "evaluation_loss"}
    draw_curves(folder, title, curves, ylabel="loss / nats", yscale="linear")
    found = evaluate(classifier, task.held_out, len(task.names))
    plot.confusion_matrix(folder.path / "confusion.png", found.confusion, task.names, title)
    return found
