"""The bench: fusedrnn beside PyTorch, JAX, ONNX Runtime and NumPy, on the same problems, in one run.

``main`` is the command ``fusedrnn bench``. The parts: `options` are those of the command, `cases` says what is timed,
`peers` how each library does it, `worker` and `process` are the two ends of the pipe between them and the parent.
`comparing` takes one case through all libraries: `checking` compares answers, `timing` takes turns, `peak` is what the
processor can do meanwhile, `memory` what a process takes. `results`, `report`, `lengths`, `scaling` and `details` make
the tables, `history` keeps them, `files` writes them whole or not at all.

``--device cuda`` is a command with options of its own, in `gpu`.

With ``--systems`` it trains: `training` says what, `twins` holds the same systems in PyTorch, `training_bench` compares
losses and makes the table. `systems` is a command of its own, ``python bench/systems.py``: the figures of all systems.
`stepper` is another one, ``python bench/stepper.py``: the time of a single step.
"""

from __future__ import annotations

from fusedrnn.bench.command import main

__all__ = ["main"]
