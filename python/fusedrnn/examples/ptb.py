"""A word language model on the Penn Treebank (document 000).

A word's vector goes through two LSTM layers, and a linear map gives one number for each word that may come next.
The text is read in windows of 35 words; the state goes on from window to window, gradients go back through one window
only. What the document writes and what does it here:

=====================================================  ======================================================
``BasicLSTMCell(200)``, forget bias 1, one bias        ``LanguageModel(forget_bias=1.0, one_bias=True)``
``DropoutWrapper(output_keep_prob=.5)``, twice         ``dropout=0.5``: on the embedding and after each layer
``random_uniform_initializer(-.05, .05)``              ``initializers.uniform``, with zeros for LSTM biases
``reduce_sum(loss) / batch_size``                      ``reduction="sum_over_steps"``
``clip_by_global_norm(gradients, 5)``                  ``clip_norm=5.0``
``EVAL_BATCH_SIZE = 1``, ``EVAL_NUM_STEP = 1``         ``evaluate_perplexity``: one row, state carried throughout
=====================================================  ======================================================

``--config small``, ``medium`` and ``large`` are the settings of TensorFlow's PTB tutorial, whose published test
perplexities are 115.91, 82.07 and 78.29.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

from fusedrnn import checks, initializers
from fusedrnn.data import ConsecutiveSampler
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.ptb_reader import read_words
from fusedrnn.examples.system import (
    System,
    add_settings,
    draw_curves,
    end_other_ranks,
    open_run,
    option,
    read_settings,
    say,
)
from fusedrnn.models import LanguageModel, evaluate_perplexity
from fusedrnn.models.language_model import Reduction
from fusedrnn.optim import SGD, Group, halve_from
from fusedrnn.train import fit_language_model


@dataclass(frozen=True)
class Settings:
    """The document's numbers."""

    layers: int = option(2, "LSTM layers")
    hidden: int = option(200, "units of a layer, and columns of the embedding")
    batch: int = option(20, "rows of a batch")
    steps: int = option(35, "words through which gradients go back")
    init: float = option(0.05, "weights start uniform between -X and X")
    forget_bias: float = option(1.0, "bias of the forget gates at the start")
    keep: float = option(0.5, "probability with which dropout keeps a value")
    clip: float = option(5.0, "largest global norm of the gradients")
    rate: float = option(1.0, "learning rate of the first epochs")
    full_rate_epochs: int = option(1, "epochs at that rate")
    decay: float = option(1.0, "factor on the learning rate for each epoch after those")
    epochs: int = option(2, "passes over the training part")
    limit: int = option(0, "words of each part to use, 0 for all")


CONFIGS: dict[str, dict[str, Any]] = {
    "document": {},
    "small": {
        "steps": 20, "init": 0.1, "forget_bias": 0.0, "keep": 1.0,
        "full_rate_epochs": 4, "decay": 0.5, "epochs": 13,
    },
    "medium": {
        "hidden": 650, "init": 0.05, "forget_bias": 0.0, "keep": 0.5,
        "full_rate_epochs": 6, "decay": 0.8, "epochs": 39,
    },
    "large": {
        "hidden": 1500, "init": 0.04, "forget_bias": 0.0, "keep": 0.35, "clip": 10.0,
        "full_rate_epochs": 14, "decay": 1 / 1.15, "epochs": 55,
    },
}  # fmt: skip
QUICK = {"epochs": 1, "limit": 100_000}
REDUCTION: Reduction = "sum_over_steps"


def make(settings: Settings, words: int, batches: int, seed: int, device: str = "cpu") -> tuple[LanguageModel, SGD]:
    """Model of so many words, and what moves its weights, with `batches` of them an epoch."""
    uniform = initializers.uniform(-settings.init, settings.init)
    model = LanguageModel(
        words,
        settings.hidden,
        embed_size=settings.hidden,
        num_layers=settings.layers,
        dropout=1 - settings.keep,
        one_bias=True,
        init=initializers.by_name({"bias_ih*": initializers.zeros(), "bias_hh*": initializers.zeros()}, uniform),
        forget_bias=settings.forget_bias,
        seed=seed,
        device=device,
    )
    rate = halve_from(settings.rate, settings.full_rate_epochs, batches, factor=settings.decay)
    return model, SGD(model, rate, groups=[Group(model.frozen, frozen=True)])


def run(options: Namespace) -> dict[str, Any]:
    """Train on the training part, watch the validation part, and report the test part."""
    settings = read_settings(options, Settings, CONFIGS[options.config], QUICK if options.quick else {})
    checks.integer("ptb", "--epochs", settings.epochs, 1)
    checks.integer("ptb", "--limit", settings.limit, 0)
    checks.real("ptb", "--keep", settings.keep, 0.0, 1.0)
    data = read_words(options.data)
    train, valid, test = (ids[: settings.limit or None] for ids in data[:3])
    sampler = ConsecutiveSampler(train, settings.batch, settings.steps)
    device = chosen_device(options, "ptb")
    model, optimizer = make(settings, len(data.vocabulary), len(sampler), options.seed, device)
    folder = open_run(options, "ptb", settings, sampler)
    say(f"{len(train)} words to train on, {len(data.vocabulary)} different; {len(sampler)} steps an epoch")

    def after_epoch(epoch: int, model: LanguageModel) -> dict[str, float]:
        return {"valid_perplexity": evaluate_perplexity(model, valid)}

    def tell(record: dict[str, Any]) -> None:
        if record["event"] == "epoch":
            say(
                f"epoch {record['epoch']}: perplexity {record['perplexity']:.2f} in training,"
                f" {record['valid_perplexity']:.2f} on the validation part"
            )

    result = fit_language_model(
        model,
        optimizer,
        sampler,
        epochs=settings.epochs,
        reduction=REDUCTION,
        clip_norm=settings.clip,
        folder=folder,
        vocabulary=data.vocabulary,
        on_epoch=after_epoch,
        on_log=tell,
        quiet=None,
    )
    end_other_ranks()
    epochs = [record for record in folder.records() if record.get("event") == "epoch"]
    draw_curves(folder, "Penn Treebank", {"training": "recent_perplexity", "validation": "valid_perplexity"})
    return folder.final(
        {
            "valid_perplexity": epochs[-1]["valid_perplexity"],
            "test_perplexity": evaluate_perplexity(model, test),
            "words_per_second": round(result.tokens_per_second, 1),
        }
    )


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    parser.add_argument(
        "--config",
        choices=CONFIGS,
        default="document",
        help="settings of the document, or of TensorFlow's PTB tutorial; other options change single ones"
        " (default: %(default)s)",
    )
    add_settings(parser, Settings, QUICK)


SYSTEM = System("ptb", "word language model on the Penn Treebank, two LSTM layers", add_options, run)
