"""Training a language model by truncated backpropagation through time.

The text is read in windows of T steps. After each window the weights move once::

    state = None                                                  zero at the start of an epoch
    for x, y in windows:                                          y is x shifted by one
        loss, state, saved = model.forward(x, y, state)           state goes on, gradients do not
        grads = model.backward(saved)                             T steps back, no further
        clip_by_global_norm(grads, clip_norm)
        optimizer.step(grads)

`language_step` computes the loss and the gradients of one window; the loop itself is `fusedrnn.train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from fusedrnn.data import Batch, Sampler, Vocabulary
from fusedrnn.models.language_model import LanguageModel, Reduction, State
from fusedrnn.models.perplexity import perplexity
from fusedrnn.optim import Optimizer
from fusedrnn.train import checkpoint
from fusedrnn.train.folder import CHECKPOINT, RunFolder
from fusedrnn.train.loop import fit
from fusedrnn.train.parallel import World
from fusedrnn.train.run import part
from fusedrnn.train.step import Step

OnEpoch = Callable[[int, LanguageModel], Mapping[str, Any] | None]
OnLog = Callable[[dict[str, Any]], None]


def language_step(
    model: LanguageModel,
    batch: Batch,
    state: State = None,
    *,
    step: int,
    reduction: Reduction = "mean",
    checkpoint_every: int | None = None,
) -> Step:
    """Forward and backward of one window.

    Parameters
    ----------
    model : LanguageModel
    batch : Batch, x and y (T, B) on the model's device
        Its row in the whole batch is a coordinate of the dropout masks.
    state : of the recurrent layers after the batch before; None: zeros
    step : number of the step, from 0; dropout masks depend on it
    reduction : of the loss whose gradient is followed, see `LanguageModel.forward`
    checkpoint_every : in steps of the window, see `LanguageModel.forward`

    Returns
    -------
    Step, whose loss is the mean of a prediction in nats, whatever `reduction` is

    Examples
    --------
    >>> model = fr.models.LanguageModel(5, 4, seed=1)
    >>> optimizer = fr.optim.SGD(model, 1.0)
    >>> batch = next(fr.data.ConsecutiveSampler(np.arange(40) % 5, batch_size=2, steps=6).epoch(0))
    >>> losses = []
    >>> for number in range(20):
    ...     step = fr.train.language_step(model, batch, step=number)
    ...     optimizer.step(step.grads)
    ...     losses.append(step.loss)
    >>> losses[-1] < losses[0]
    True
    """
    loss, state, saved = model.forward(
        batch.x,
        batch.y,
        state,
        step=step,
        row_offset=batch.row_offset,
        reduction=reduction,
        checkpoint_every=checkpoint_every,
    )
    nats = loss / (len(batch.x) if reduction == "sum_over_steps" else 1)
    return Step(nats, batch.x.size, model.backward(saved), state)


class LanguageResult(NamedTuple):
    """How the training of a language model went.

    Attributes
    ----------
    steps, epochs : how many were made
    perplexity : of the training text as it was predicted during the last whole epoch, or during what there was of
        the first one
    tokens : predictions made
    seconds : spent in training steps
    tokens_per_second : their quotient

    Examples
    --------
    >>> result = fr.train.LanguageResult(10, 1, perplexity=5.0, tokens=640, seconds=2.0, tokens_per_second=320.0)
    >>> result.tokens == result.seconds * result.tokens_per_second
    True
    """

    steps: int
    epochs: int
    perplexity: float
    tokens: int
    seconds: float
    tokens_per_second: float


def fit_language_model(
    model: LanguageModel,
    optimizer: Optimizer,
    sampler: Sampler,
    *,
    epochs: int | None = None,
    total_steps: int | None = None,
    clip_norm: float | None = None,
    reduction: Reduction = "mean",
    folder: RunFolder | None = None,
    vocabulary: Vocabulary | None = None,
    log_every: int = 100,
    checkpoint_every: int = 500,
    on_epoch: OnEpoch | None = None,
    on_log: OnLog | None = None,
    quiet: bool | None = True,
    world: World | None = None,
) -> LanguageResult:
    """Train a language model; stop and go on as you like.

    Parameters
    ----------
    model : LanguageModel
    optimizer : of the model's parameters
    sampler : what cuts the text into batches; it decides whether the state carries from batch to batch
    epochs, total_steps : when to stop; exactly one of the two
    clip_norm : > 0, largest norm of all gradients together, or None
    reduction : {"mean", "sum_over_steps"}, of the loss whose gradient is followed
    folder : where metrics and checkpoints go; opened with ``resume=True`` it is where the run goes on from
    vocabulary : of the ids, for whoever reads the checkpoint
    log_every, checkpoint_every : in steps of training
        Where windows are so long that `forward` needs its own `checkpoint_every`, use `fit` with a `compute` that
        hands it to `language_step`.
    on_epoch : called with the number of whole epochs made, from 1, and the model after each of them
        What it returns joins the epoch's line in metrics.jsonl. It must not change the model.
    on_log : called with each record after it was written
    quiet : True shows nothing, None shows progress on standard error
    world : the ranks that share the rows of each batch, as for `fit`

    Returns
    -------
    LanguageResult

    Raises
    ------
    ValueError, KeyboardInterrupt
        As `fit` does.

    Notes
    -----
    Records are those of `fit`, with `recent_perplexity`, `epoch_perplexity` and `tokens_per_second` in those of a step
    and `perplexity` in those of an epoch.

    Examples
    --------
    >>> text = "the quick brown fox jumps over the lazy dog. " * 20
    >>> vocabulary = fr.data.Vocabulary.from_text(text)
    >>> sampler = fr.data.ConsecutiveSampler(vocabulary.encode(text), batch_size=4, steps=15)
    >>> model = fr.models.LanguageModel(len(vocabulary), 24, seed=1)
    >>> result = fr.train.fit_language_model(model, fr.optim.Adam(model, 0.02), sampler, epochs=8, clip_norm=5.0)
    >>> result.steps, result.epochs, result.perplexity < len(vocabulary)
    (112, 8, True)
    """

    def compute(batch: Batch, state: State, step: int) -> Step:
        return language_step(model, batch, state, step=step, reduction=reduction)

    result = fit(
        model,
        optimizer,
        sampler,
        compute,
        epochs=epochs,
        total_steps=total_steps,
        clip_norm=clip_norm,
        folder=folder,
        described={
            "model": model.config(),
            "vocabulary": None if vocabulary is None else vocabulary.to_config(),
        },
        unit="tokens",
        log_every=log_every,
        checkpoint_every=checkpoint_every,
        on_epoch=None if on_epoch is None else lambda epoch: on_epoch(epoch, model),
        on_log=on_log,
        derive=_perplexities,
        quiet=quiet,
        world=world,
    )
    return LanguageResult(
        result.steps, result.epochs, perplexity(result.loss), result.counted, result.seconds, result.per_second
    )


def _perplexities(record: dict[str, Any]) -> dict[str, float]:
    if record.get("event") == "step":
        return {
            "recent_perplexity": perplexity(record["loss"]),
            "epoch_perplexity": perplexity(record["epoch_loss"]),
        }
    return {"perplexity": perplexity(record["loss"])}


class TrainedModel(NamedTuple):
    """A model read from a run's folder.

    Attributes
    ----------
    model : LanguageModel
    vocabulary : Vocabulary, or None where the run did not give one
    steps : how many steps it was trained

    Examples
    --------
    >>> trained = fr.train.TrainedModel(fr.models.LanguageModel(10, 6, seed=0), vocabulary=None, steps=0)
    >>> model, vocabulary, steps = trained
    """

    model: LanguageModel
    vocabulary: Vocabulary | None
    steps: int


def load_language_model(path: str | PathLike[str], *, device: str = "cpu") -> TrainedModel:
    """Rebuild a trained language model and its vocabulary from a run's folder alone.

    Parameters
    ----------
    path : folder of a run, or a checkpoint file
    device : "cpu" or "cuda", wherever the run was

    Returns
    -------
    TrainedModel

    Raises
    ------
    FileNotFoundError
        There is no checkpoint.
    ValueError
        The checkpoint is damaged, or not one of a language model.

    Examples
    --------
    >>> import tempfile
    >>> vocabulary = fr.data.Vocabulary.from_text("so it goes ")
    >>> sampler = fr.data.ConsecutiveSampler(vocabulary.encode("so it goes " * 20), batch_size=2, steps=8)
    >>> model = fr.models.LanguageModel(len(vocabulary), 6, seed=1)
    >>> with tempfile.TemporaryDirectory() as out:
    ...     folder = fr.train.RunFolder(out, {"system": "example"})
    ...     result = fr.train.fit_language_model(
    ...         model, fr.optim.SGD(model, 0.5), sampler, epochs=1, folder=folder, vocabulary=vocabulary
    ...     )
    ...     trained = fr.train.load_language_model(out)
    >>> trained.vocabulary == vocabulary, trained.steps
    (True, 13)
    """
    path = Path(path)
    file = path / CHECKPOINT if path.is_dir() else path
    tensors, meta = checkpoint.load(file)
    # What describes a language model holds a vocabulary, or None for it.
    if not isinstance(meta.get("model"), dict) or "position" not in meta or "vocabulary" not in meta:
        raise ValueError(
            f"load_language_model: {file} must be the checkpoint of a language model, got one of another kind"
        )
    model = LanguageModel.from_config(meta["model"], device=device)
    model.load_state_dict(part(tensors, "model"))
    vocabulary = meta["vocabulary"]
    return TrainedModel(
        model, None if vocabulary is None else Vocabulary.from_config(vocabulary), meta["position"]["step"]
    )
