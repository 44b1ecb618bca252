"""``fusedrnn demo``: a character LSTM against the best n-gram, on real text, offline, in about a minute.

The text is the interpreter's own documentation. Its first nine tenths are to learn from; the last tenth is held out
and judges both models by the same predictions: every character but the first, given all that stands before it.

* The n-grams count. One pass gives all orders from 1 to 6; the best of them on the held-out text is the one to beat.
* The LSTM reads 32 stretches of the text side by side, 40 characters at a time. Adam's rate rises for 50 steps and
  then falls along a cosine; dropout between LSTM and output keeps it from learning the text by heart.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.data import ConsecutiveSampler, Vocabulary, documentation_split
from fusedrnn.examples.system import (
    add_run_options,
    add_settings,
    draw_curves,
    end_other_ranks,
    open_run,
    option,
    read_settings,
    say,
)
from fusedrnn.models import LanguageModel, WittenBell, evaluate_perplexity
from fusedrnn.optim import Adam, cosine, linear_warmup
from fusedrnn.train import fit_language_model

LONGEST_GRAM = 6
PROMPTS = ("The ", "If the ", "class ")
SAMPLE_LENGTH = 240
# Reads the held-out text in many stretches at once: fast enough for every epoch, and a little too high.
STRETCHES = 32


@dataclass(frozen=True)
class Settings:
    """What makes a good model in a minute."""

    train_steps: int = option(2400, "steps of training")
    hidden: int = option(320, "units of the LSTM")
    batch: int = option(32, "rows of a batch")
    steps: int = option(40, "characters through which gradients go back")
    dropout: float = option(0.3, "probability of dropping an output of the LSTM")
    rate: float = option(0.025, "highest learning rate")
    warmup: int = option(50, "steps until then")
    clip: float = option(1.0, "largest global norm of the gradients")
    temperature: float = option(0.7, "of the samples: lower is safer, higher is bolder")


def run(options: Namespace) -> dict[str, Any]:
    """Count n-grams, train the LSTM, let both predict the held-out text."""
    settings = read_settings(options, Settings)
    checks.integer("demo", "--train-steps", settings.train_steps, 1)
    train_text, held_out_text = documentation_split()
    vocabulary = Vocabulary.from_text(train_text + held_out_text)
    train, held_out = vocabulary.encode(train_text), vocabulary.encode(held_out_text)
    sampler = ConsecutiveSampler(train, settings.batch, settings.steps)
    folder = open_run(options, "demo", settings, sampler)
    say(
        f"text: the documentation of this Python, {len(vocabulary)} different characters;"
        f" {len(train)} to learn from, {len(held_out)} held out"
    )

    n_grams = WittenBell(LONGEST_GRAM).fit(train, len(vocabulary)).perplexities(held_out)
    best = int(np.argmin(n_grams))
    shown = ", ".join(f"{order}: {value:.2f}" for order, value in enumerate(n_grams, 1))
    say(f"to beat: Witten-Bell n-grams, held-out perplexity by order: {shown}")

    model = LanguageModel(
        len(vocabulary), settings.hidden, dropout=settings.dropout, forget_bias=1.0, seed=options.seed
    )
    rate = linear_warmup(cosine(settings.rate, settings.train_steps), settings.warmup)
    say(
        f"LSTM: {settings.hidden} units, {sum(each.size for each in model.parameters().values())} weights,"
        f" {settings.train_steps} steps of {settings.batch} x {settings.steps} characters"
    )

    def tell(record: dict[str, Any]) -> None:
        if record["event"] == "step":
            say(
                f"step {record['step']:5} of {settings.train_steps}: perplexity {record['recent_perplexity']:6.2f},"
                f" {record['tokens_per_second']:.0f} characters/s"
            )
        else:
            say(f"epoch {record['epoch']}: held-out perplexity {record['held_out_perplexity']:.2f}")

    result = fit_language_model(
        model,
        Adam(model, rate, betas=(0.9, 0.99)),
        sampler,
        total_steps=settings.train_steps,
        clip_norm=settings.clip,
        folder=folder,
        vocabulary=vocabulary,
        on_epoch=lambda epoch, model: {
            "held_out_perplexity": evaluate_perplexity(model, held_out, batch_size=STRETCHES)
        },
        on_log=tell,
    )
    end_other_ranks()
    perplexity = evaluate_perplexity(model, held_out)

    generator = np.random.default_rng(options.seed)
    for prompt in PROMPTS:
        added = model.sample(
            vocabulary.encode(prompt), SAMPLE_LENGTH, temperature=settings.temperature, generator=generator
        )
        say(f"\n--- sample after {prompt!r} ---\n{prompt}{vocabulary.decode(added)}")
    path = draw_curves(
        folder,
        "character LSTM on the documentation of Python",
        {"training": "recent_perplexity", "held out": "held_out_perplexity"},
        levels={f"best n-gram, held out (order {best + 1})": n_grams[best]},
    )
    figures = {
        "perplexity": perplexity,
        "ngram_perplexity": n_grams[best],
        "ngram_order": best + 1,
        "characters_per_second": round(result.tokens_per_second, 1),
    }
    record = folder.final(figures)
    say(f"\nwritten to {folder.path}: checkpoint, metrics, settings{', loss curve ' + path.name if path else ''}")
    say(f"more text: fusedrnn sample {folder.path} --prompt 'The '")
    say(f"held-out perplexity: LSTM {perplexity:.3f}, best Witten-Bell n-gram (order {best + 1}) {n_grams[best]:.3f}")
    return record


def add_options(parser: ArgumentParser) -> None:
    """The options of the settings above."""
    add_run_options(parser, "demo")
    add_settings(parser, Settings, quick={})
