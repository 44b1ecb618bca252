"""The bench: fusedrnn beside PyTorch, JAX, ONNX Runtime and NumPy, on the same problems, in one run.

``main`` is the command ``fusedrnn bench``. The parts: `cases` says what is timed, `peers` how each library does it,
`worker` and `process` are the two ends of the pipe between them and the parent, `checking` compares answers,
`timing` takes turns, `results` and `report` make the tables.
"""

from __future__ import annotations

from fusedrnn.bench.command import main

__all__ = ["main"]
