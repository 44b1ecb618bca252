"""A character model of song lyrics: one-hot input, an RNN, sampling two ways, clipping, greedy text (document 004).

::

    h[t]      = tanh(x[t] · W_xh + h[t-1] · W_hh + b_h)        x[t] is the one-hot vector of character t
    logits[t] = h[t] · W_hq + b_q
    loss      = mean over the batch of -log softmax(logits[t])[character t+1]

The product of a one-hot vector and a matrix is one row of the matrix, so nothing is multiplied: the row is looked up.

Consecutive sampling: each row of a batch goes on where the same row of the batch before ended, so the state goes on
too, from the start of an epoch to its end. Random sampling: windows are shuffled, so every batch starts from zero.
The document's listing makes a state once an epoch and never hands it on, its random branch calls a function with an
argument too many, and its loss takes logits for probabilities. This program does what the document says.

Lyrics are not part of this package: ``--data`` names a text. Without it the text is the interpreter's documentation.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

from fusedrnn import checks, initializers
from fusedrnn.data import ConsecutiveSampler, RandomSampler, Sampler, Vocabulary, documentation_text, read_text
from fusedrnn.examples.device import chosen_device
from fusedrnn.examples.system import (
    System,
    add_settings,
    draw_curves,
    end_other_ranks,
    given,
    open_run,
    option,
    read_settings,
    say,
)
from fusedrnn.models import LanguageModel
from fusedrnn.optim import SGD, Group
from fusedrnn.train import fit_language_model


@dataclass(frozen=True)
class Settings:
    """The document's numbers, with 250 epochs in place of 2500."""

    characters: int = option(10000, "how many characters of the text to use")
    hidden: int = option(256, "units of the RNN")
    batch: int = option(32, "rows of a batch")
    steps: int = option(35, "characters through which gradients go back")
    init: float = option(0.01, "standard deviation of the weights at the start; biases are zero")
    rate: float = option(100.0, "learning rate")
    clip: float = option(0.01, "largest global norm of the gradients")
    sampling: str = option("consecutive", "how windows follow each other", choices=("consecutive", "random"))
    epochs: int = option(250, "passes over the text")
    show_every: int = option(50, "epochs between texts shown")
    prefixes: tuple[str, ...] = option(("分开", "不分开"), "beginnings of the texts shown")
    length: int = option(50, "characters to add to a prefix")


QUICK = {"epochs": 50}


def make(settings: Settings, characters: int, seed: int, device: str = "cpu") -> tuple[LanguageModel, SGD]:
    """Model of so many different characters, and what moves its weights."""
    model = LanguageModel(
        characters,
        settings.hidden,
        cell="rnn",
        one_bias=True,
        init=initializers.by_name({"bias*": initializers.zeros()}, initializers.normal(settings.init)),
        seed=seed,
        device=device,
    )
    return model, SGD(model, settings.rate, groups=[Group(model.frozen, frozen=True)])


def usable_prefixes(options: Namespace, settings: Settings, text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The prefixes; where the user chose none and the text lacks the document's characters, its first two words."""
    if given(options, "prefixes") or all(set(prefix) <= set(vocabulary.tokens) for prefix in settings.prefixes):
        for prefix in settings.prefixes:
            if not len(vocabulary.encode(prefix)):  # a character that the text lacks is an error there
                raise ValueError("charlm: each of --prefixes must have at least one character, got ''")
        return settings.prefixes
    return tuple(dict.fromkeys(text.split()))[:2]


def run(options: Namespace) -> dict[str, Any]:
    """Train on a text and show what the model makes of the prefixes."""
    settings = read_settings(options, Settings, QUICK if options.quick else {})
    checks.integer("charlm", "--characters", settings.characters, 1)
    checks.integer("charlm", "--epochs", settings.epochs, 1)
    checks.integer("charlm", "--show-every", settings.show_every, 1)
    checks.integer("charlm", "--length", settings.length, 0)
    text = documentation_text() if options.data is None else read_text(options.data)
    text = text.replace("\n", " ")[: settings.characters]
    vocabulary = Vocabulary.from_text(text)
    prefixes = usable_prefixes(options, settings, text, vocabulary)
    ids = vocabulary.encode(text)
    sampler: Sampler
    if settings.sampling == "consecutive":
        sampler = ConsecutiveSampler(ids, settings.batch, settings.steps)
    else:
        sampler = RandomSampler(ids, settings.batch, settings.steps, seed=options.seed)

    model, optimizer = make(settings, len(vocabulary), options.seed, chosen_device(options, "charlm"))
    folder = open_run(options, "charlm", settings, sampler)
    say(f"{len(text)} characters, {len(vocabulary)} different; {len(sampler)} steps an epoch")

    def show(record: dict[str, Any]) -> None:
        if record["event"] == "epoch" and record["epoch"] % settings.show_every == 0:
            say(f"epoch {record['epoch']}, perplexity {record['perplexity']:.6f}")
            for prefix in prefixes:
                added = model.sample(vocabulary.encode(prefix), settings.length, greedy=True)
                say(f" - {prefix}{vocabulary.decode(added)}")

    result = fit_language_model(
        model,
        optimizer,
        sampler,
        epochs=settings.epochs,
        clip_norm=settings.clip,
        folder=folder,
        vocabulary=vocabulary,
        log_every=len(sampler),
        on_log=show,
        quiet=None,
    )
    end_other_ranks()
    draw_curves(folder, f"character model, {settings.sampling} sampling", {"training": "perplexity"})
    return folder.final({"perplexity": result.perplexity, "characters_per_second": round(result.tokens_per_second, 1)})


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_settings(parser, Settings, QUICK)


SYSTEM = System("charlm", "character model of a text: one-hot input, an RNN, two ways of sampling", add_options, run)
