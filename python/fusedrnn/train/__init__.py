"""Training: the loop, language models, checkpoints, run folders, progress and plots."""

from __future__ import annotations

from fusedrnn.train import checkpoint, plot
from fusedrnn.train.folder import RunFolder
from fusedrnn.train.language import (
    LanguageResult,
    TrainedModel,
    fit_language_model,
    language_step,
    load_language_model,
)
from fusedrnn.train.loop import fit
from fusedrnn.train.parallel import World, world
from fusedrnn.train.progress import Progress, progress
from fusedrnn.train.result import Best, FitResult
from fusedrnn.train.step import Step

__all__ = [
    "Best",
    "FitResult",
    "LanguageResult",
    "Progress",
    "RunFolder",
    "Step",
    "TrainedModel",
    "World",
    "checkpoint",
    "fit",
    "fit_language_model",
    "language_step",
    "load_language_model",
    "plot",
    "progress",
    "world",
]
