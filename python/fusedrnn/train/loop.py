"""The training loop: batches come in, gradients go to the optimiser, until enough steps are made.

What a step computes is the caller's: a function of batch, carried state and number of the step that returns the loss
and its gradients, a `Step`. The loop does what is the same for all models. It clips and updates, counts, logs, shows
progress, writes checkpoints, remembers the best weights, stops early where asked to, and stops on Ctrl-C where it can
go on later to the same bits. For this, everything that changes while it runs lives in one place, `Run`, and changes
only between two steps.

Several processes, ranks, run the same loop. Each computes its rows of a batch, the gradients are averaged, and from
there on all do the same to equal weights; what must not be done twice, or cannot be, is rank 0's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any

from fusedrnn import checks
from fusedrnn.backends import is_on_gpu
from fusedrnn.data import Sampler
from fusedrnn.module import Module
from fusedrnn.optim import Optimizer, clip_by_global_norm
from fusedrnn.train import parallel
from fusedrnn.train.batches import moved
from fusedrnn.train.exchange import Exchange
from fusedrnn.train.folder import RunFolder
from fusedrnn.train.interrupts import interrupts_held, interrupts_passing
from fusedrnn.train.parallel import World
from fusedrnn.train.progress import Progress, progress
from fusedrnn.train.result import Best, FitResult
from fusedrnn.train.run import Position, Run
from fusedrnn.train.step import Step
from fusedrnn.train.unread import Outcome, check_finite

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def fit(
    model: Module,
    optimizer: Optimizer,
    sampler: Sampler,
    compute: Callable[[Any, Any, int], Step],
    *,
    epochs: int | None = None,
    total_steps: int | None = None,
    clip_norm: float | None = None,
    folder: RunFolder | None = None,
    described: Mapping[str, Any] = _NOTHING,
    unit: str = "rows",
    log_every: int = 100,
    checkpoint_every: int = 500,
    on_epoch: Callable[[int], Mapping[str, Any] | None] | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    derive: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    best: Best | None = None,
    quiet: bool | None = True,
    world: World | None = None,
) -> FitResult:
    """Train a model; stop and go on as you like.

    Parameters
    ----------
    model, optimizer : whose weights move, and what moves them
    sampler : of batches; it decides whether the state carries from one to the next
        A model on a GPU gets their arrays there, moved once a step, but for one that is called `lengths`: layers take
        lengths in host memory.
    compute : ``compute(batch, state, step) -> Step``; must not change the weights
        `state` is None at the start of an epoch and wherever ``sampler.carries_state`` is False.
    epochs, total_steps : when to stop; exactly one of the two
    clip_norm : > 0, largest norm of all gradients together, or None
    folder : where metrics and checkpoints go; opened with ``resume=True`` it is where the run goes on from
        The checkpoint holds weights, optimiser, carried state, position, best weights and `described`.
    described : for JSON, what whoever reads the checkpoint should know; its "model" must not differ when a run goes on
    unit : what `Step.counted` counts, for ``<unit>_per_second``
    log_every, checkpoint_every : in steps of training
        That of a layer's or a model's `forward` is another one, which `compute` hands on.
    on_epoch : called with the number of whole epochs made, from 1; what it returns joins the epoch's record
        It must not change the model.
    on_log : called with each record after it was written
    derive : further figures of a record that follow from those that it has
    best : which epoch's weights the model ends with; None: those of the last step
    quiet : True shows nothing, None shows progress on standard error
    world : the ranks that share the rows of each batch; None: all that a launcher started, ``World()``: this one alone
        Every rank calls `fit` with the same arguments and ends with the same weights. `compute` gets the rank's rows,
        with ``batch.row_offset``, and its loss must be a mean over them; `on_epoch` and `on_log` are called on rank 0.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        Arguments do not fit, the run in `folder` was made with another sampler or model, or the loss or a gradient is
        not finite; then the weights are as they were before the step (on a GPU see the notes). Of several ranks: the
        rows of a batch do not divide into equal parts, weights or kinds of device differ, or two share a GPU.
    KeyboardInterrupt
        Ctrl-C, after a checkpoint was written. The step at hand is finished first. It stops all ranks.

    Notes
    -----
    Records for metrics.jsonl: with ``"event": "step"`` the mean `loss` since the record before, `epoch_loss` since the
    epoch began, `gradient_norm` before clipping, `learning_rate` of the step to come and speed; with
    ``"event": "epoch"`` the epoch's mean `loss`. All carry `step` and `epoch`.

    On a GPU losses and norms are read when a record, a checkpoint or the end of an epoch needs them. So one that is not
    finite is found some steps later, but before a checkpoint is written; until then such gradients count as zero.

    Examples
    --------
    Twice the input, learnt by a linear map:

    >>> x = np.linspace(-1, 1, 64, dtype="float32")[:, None]
    >>> linear, loss = fr.nn.Linear(1, 1, seed=0), fr.nn.MeanSquaredError()
    >>> def compute(batch, state, step):
    ...     out, saved = linear.forward(batch.x)
    ...     value, saved_loss = loss.forward(out, batch.y)
    ...     dx, grads = linear.backward(saved, loss.backward(saved_loss))
    ...     return fr.train.Step(value, len(batch.x), grads)
    >>> sampler = fr.data.RowSampler({"x": x, "y": 2 * x}, batch_size=16, seed=0)
    >>> result = fr.train.fit(linear, fr.optim.Adam(linear, 0.05), sampler, compute, epochs=100)
    >>> result.steps, result.loss < 1e-3
    (400, True)
    """
    where = "fit"
    last_step = _last_step(where, epochs, total_steps, len(sampler))
    checks.integer(where, "log_every", log_every, 1)
    checks.integer(where, "checkpoint_every", checkpoint_every, 1)
    world = parallel.world() if world is None else world
    run = Run(model, optimizer, sampler, folder, described, unit, derive, world)
    # Several ranks hold Ctrl-C back throughout: where one stops, all must. Each step tells all who was asked to.
    with interrupts_held() if world.size > 1 else nullcontext():
        run.restore()
        run.check_ranks()
        exchange = Exchange(world, model.parameters())
        shown = quiet if world.rank == 0 else True
        try:
            with progress(max(last_step, run.position.step), "training", shown, initial=run.position.step) as bar:
                while not _done(run, last_step, best):
                    for batch in sampler.epoch(run.position.epoch, start=run.position.index):
                        record = _step(run, exchange, compute, world.share(batch, sampler), clip_norm, log_every)
                        _tell(run.position, unit, bar, derive)
                        _hand_on(run, record, on_log)
                        if run.position.step % checkpoint_every == 0:
                            run.save()
                        if run.position.step == last_step:
                            break
                    if run.position.index == len(sampler):
                        run.read()
                        figures = _evaluated(run, on_epoch)
                        with interrupts_held():
                            record = run.close_epoch(figures)
                            _keep_best(run, record, best)
                        _hand_on(run, record, on_log)
        except KeyboardInterrupt:
            run.save()
            raise
        run.save()
        exchange.close()
    if run.best:
        model.load_state_dict(run.best)
    at = run.position
    return FitResult(at.step, at.epoch, at.loss, at.count, at.seconds, at.speed, at.best_epoch)


def _last_step(where: str, epochs: int | None, total_steps: int | None, batches: int) -> int:
    if (epochs is None) == (total_steps is None):
        raise ValueError(
            f"{where}: exactly one of epochs and total_steps must be given, got {epochs} and {total_steps}"
        )
    if epochs is not None:
        return checks.integer(where, "epochs", epochs, 0) * batches
    return checks.integer(where, "total_steps", total_steps, 0)


def _done(run: Run, last_step: int, best: Best | None) -> bool:
    at = run.position
    if at.index == len(run.sampler):  # an epoch is read but not closed, which also happens when a run goes on there
        return False
    if best is not None and best.patience is not None and at.epoch - at.best_epoch >= best.patience:
        return True
    return at.step >= last_step


def _step(
    run: Run,
    exchange: Exchange,
    compute: Callable[[Any, Any, int], Step],
    batch: Any,
    clip_norm: float | None,
    log_every: int,
) -> dict[str, Any] | None:
    """One step, as a whole or not at all; returns a record where one is due."""
    at = run.position
    with interrupts_held() as held:
        started = time.perf_counter()
        state = run.state if at.index > 0 and run.sampler.carries_state else None
        step, stop = exchange.mean(lambda: compute(moved(batch, run.device), state, at.step), lambda: held.arrived)
        if not is_on_gpu(step.loss):
            check_finite("loss", step.loss, at.step)
        norm = clip_by_global_norm(step.grads, math.inf if clip_norm is None else clip_norm)
        run.optimizer.step(step.grads)
        run.state = step.state
        at.add(step.counted, time.perf_counter() - started)
        run.count(Outcome(at.step - 1, step.loss, norm, step.counted))
        record = run.log_step(norm, step.figures) if at.step % log_every == 0 else None
    if stop:
        raise KeyboardInterrupt
    return record


def _evaluated(run: Run, on_epoch: Callable[[int], Mapping[str, Any] | None] | None) -> dict[str, Any]:
    """What `on_epoch` finds at the end of the epoch at hand."""
    if on_epoch is None:
        return {}

    def evaluate() -> dict[str, Any]:
        with interrupts_passing():
            return dict(on_epoch(run.position.epoch + 1) or {})

    figures: dict[str, Any] = run.world.first(evaluate)
    return figures


def _hand_on(run: Run, record: dict[str, Any] | None, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    if record is None or on_log is None:
        return

    def tell() -> None:
        on_log(record)

    run.world.first(tell)


def _tell(at: Position, unit: str, bar: Progress, derive: Callable[[dict[str, Any]], Mapping[str, Any]] | None) -> None:
    figures = {"loss": at.epoch_loss} if at.epoch_count else {}  # on a GPU, losses that were read
    figures = dict(derive(figures)) if derive is not None and figures else figures
    shown = "".join(f", {name} {value:.4g}" for name, value in figures.items())
    bar.note(f"epoch {at.epoch + 1}{shown}, {at.speed:.0f} {unit}/s")
    bar.update()


def _keep_best(run: Run, record: Mapping[str, Any], best: Best | None) -> None:
    if best is None:
        return
    if best.figure not in record:
        raise ValueError(f"fit: best.figure must be one of {', '.join(record)}, got {best.figure!r}")
    at = run.position
    if best.better(record[best.figure], at.best):
        at.best, at.best_epoch, run.best = record[best.figure], at.epoch, run.model.state_dict()
