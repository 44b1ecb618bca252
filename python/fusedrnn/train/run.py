"""What changes while a model is trained: how it is counted, logged, saved and restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fusedrnn.backends import Backend, is_on_gpu, of_array, of_device
from fusedrnn.data import Sampler
from fusedrnn.module import Module
from fusedrnn.optim import Optimizer
from fusedrnn.train.folder import RunFolder
from fusedrnn.train.interrupts import interrupts_held
from fusedrnn.train.parallel import World, digest
from fusedrnn.train.unread import Outcome, Unread

Tensors = dict[str, np.ndarray]
Record = dict[str, Any]


@dataclass
class Position:
    """Where a run stands between two steps, and what it has counted so far.

    A loss is counted with how many predictions (or rows) it is the mean of.
    """

    step: int = 0
    epoch: int = 0  # whole epochs made
    index: int = 0  # batches of the epoch at hand that are done
    count: int = 0
    seconds: float = 0.0
    epoch_sum: float = 0.0  # over the epoch at hand
    epoch_count: int = 0
    recent_sum: float = 0.0  # since the last record
    recent_count: int = 0
    last_epoch_loss: float | None = None  # mean over the last whole epoch
    best: float | None = None  # of the watched figure
    best_epoch: int = 0

    def add(self, count: int, seconds: float) -> None:
        """One more step of `count` predictions."""
        self.step += 1
        self.index += 1
        self.count += count
        self.seconds += seconds

    def add_loss(self, loss: float, count: int) -> None:
        """What a step came to: the mean `loss` of its `count` predictions."""
        self.epoch_sum += loss * count
        self.epoch_count += count
        self.recent_sum += loss * count
        self.recent_count += count

    @property
    def epoch_loss(self) -> float:
        """Mean loss of the epoch so far; there must have been a step."""
        return self.epoch_sum / self.epoch_count

    @property
    def loss(self) -> float:
        """Mean loss of the last whole epoch, or of what there was of the first one."""
        return self.epoch_sum / max(self.epoch_count, 1) if self.last_epoch_loss is None else self.last_epoch_loss

    @property
    def speed(self) -> float:
        """Predictions a second."""
        return self.count / self.seconds if self.seconds else 0.0


@dataclass
class Run:
    """All that changes while a model is trained, and how it goes into a checkpoint and comes back.

    With several ranks each has one, equal but for `state`, which is that of the rank's rows; the files are rank 0's.
    """

    model: Module
    optimizer: Optimizer
    sampler: Sampler
    folder: RunFolder | None
    described: Mapping[str, Any]  # goes into the checkpoint as it is; "model" must be equal when a run goes on
    unit: str  # what is counted
    derive: Callable[[Record], Mapping[str, Any]] | None  # further figures of a record
    world: World
    position: Position = field(default_factory=Position)
    state: Any = None  # carried from batch to batch
    best: Tensors = field(default_factory=dict)  # the weights of the best epoch
    device: Backend = field(init=False)  # of the model
    unread: Unread = field(init=False)

    def __post_init__(self) -> None:
        self.device = _device_of(self.model)
        self.unread = Unread(self.device)

    def count(self, outcome: Outcome) -> None:
        """Count what a step came to, on a GPU later."""
        self.unread.add(outcome)
        if self.device.checks_values or self.unread.full:
            self.read()

    def read(self) -> None:
        """Wait for what steps came to, if it is on a GPU; the time is theirs."""
        with interrupts_held():
            started = time.perf_counter()
            for outcome in self.unread.read():
                self.position.add_loss(outcome.loss, outcome.counted)
            if not self.device.checks_values:
                self.position.seconds += time.perf_counter() - started

    def log_step(self, norm: Any, figures: Mapping[str, Any]) -> Record:
        """Write what happened since the record before."""
        self.read()
        at = self.position
        record = {
            "event": "step",
            "step": at.step,
            "epoch": at.epoch + 1,
            "loss": at.recent_sum / at.recent_count,
            "epoch_loss": at.epoch_loss,
            "gradient_norm": float(norm),
            "learning_rate": self.optimizer.lr,
            f"{self.unit}_per_second": round(at.speed, 1),
        }
        at.recent_sum, at.recent_count = 0.0, 0
        seen = {name: float(value) if is_on_gpu(value) else value for name, value in figures.items()}
        return self._write(record, self.world.mean_figures(seen))

    def close_epoch(self, figures: Mapping[str, Any]) -> Record:
        """Write the figures of the epoch, whose losses have been read, and move to the next one."""
        at = self.position
        record = {"event": "epoch", "step": at.step, "epoch": at.epoch + 1, "loss": at.epoch_loss}
        written = self._write(record, figures)
        at.last_epoch_loss = at.epoch_loss
        at.epoch, at.index, at.epoch_sum, at.epoch_count = at.epoch + 1, 0, 0.0, 0
        return written

    def _write(self, record: Record, figures: Mapping[str, Any]) -> Record:
        if self.derive is not None:
            record |= self.derive(record)
        for name in record.keys() & figures.keys():
            raise ValueError(f"fit: figures must leave {', '.join(record)} to the loop, got {name}")
        record |= figures
        folder = self.folder
        if folder is not None:
            self.world.first(lambda: folder.log(record))
        return record

    def save(self) -> None:
        """Write the checkpoint, of the whole batch however many ranks share it; all of them come here together."""
        self.read()
        self._check_weights()
        if self.folder is None:
            return
        carried = self.state if self.sampler.carries_state else None
        state = self.world.gather_rows(_on_host(_state_parts(carried)))
        folder = self.folder
        self.world.first(lambda: self._save(folder, state))

    def _save(self, folder: RunFolder, state: tuple[np.ndarray, ...]) -> None:
        tensors = _named("model", self.model.parameters()) | _named("optimizer", self.optimizer.state_dict())
        tensors |= _named("state", {str(index): part for index, part in enumerate(state)})
        tensors |= _named("best", self.best)
        tensors = dict(zip(tensors, _on_host(tensors.values()), strict=True))
        position = {"position": asdict(self.position), "sampler": self.sampler.config()}
        folder.save(tensors, {**self.described, **position})

    def check_ranks(self) -> None:
        """Raise ValueError on all ranks unless they draw the same batches and have the same weights, on one device."""
        self.world.check_device(self.device.name)
        advice = "a sampler needs the same text, sizes and seed on each"
        self.world.check_equal("batches", lambda: repr(self.sampler.config()).encode(), advice)
        self._check_weights()

    def _check_weights(self) -> None:
        advice = f"this is step {self.position.step}; a model needs the same seed on each, and only fit may move it"
        parameters = self.model.parameters()

        def value() -> bytes:
            return digest(dict(zip(parameters, _on_host(parameters.values()), strict=True)))

        self.world.check_equal("weights", value, advice)

    def restore(self) -> None:
        """Take everything from the folder's checkpoint, where the folder was opened to resume and has one."""
        restored = None if self.folder is None else self.folder.load()
        if restored is None:
            return
        tensors, meta = restored
        _expect_equal("sampler", meta["sampler"], self.sampler.config())
        _expect_equal("model", meta.get("model", {}), self.described.get("model", {}))
        self.model.load_state_dict(part(tensors, "model"))
        self.optimizer.load_state_dict(part(tensors, "optimizer"))
        parts = part(tensors, "state")
        own = self.world.own_rows([parts[name] for name in sorted(parts)])
        self.state = _joined(tuple(self.device.own(value) for value in own))
        self.best = part(tensors, "best")
        self.position = Position(**meta["position"])


def _device_of(model: Module) -> Backend:
    """Where the parameters of a model are; the CPU where it has none."""
    return next(map(of_array, model.parameters().values()), of_device("fit", "cpu"))


def _on_host(arrays: Iterable[Any]) -> list[np.ndarray]:
    """Arrays of any device in host memory."""
    return [of_array(array).host(array) for array in arrays]


def _expect_equal(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [f"{key} was {was.get(key)!r}, now {now[key]!r}" for key in now if was.get(key) != now[key]]
    if differing:
        raise ValueError(f"fit: a resumed run must have the {name} it began with, got {'; '.join(differing)}")


def _named(prefix: str, tensors: Mapping[str, np.ndarray]) -> Tensors:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def part(tensors: Mapping[str, np.ndarray], prefix: str) -> Tensors:
    """The tensors whose names begin with the prefix and a dot, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _state_parts(state: Any) -> tuple[np.ndarray, ...]:
    """The arrays of a state: none, h, or h and c."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def _joined(parts: tuple[np.ndarray, ...]) -> Any:
    """The state that has these arrays."""
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else parts
