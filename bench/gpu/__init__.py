"""The bench on a GPU: this library beside PyTorch, which calls cuDNN, in one process.

``main`` is ``fusedrnn bench --device cuda``; ``python -m fusedrnn.bench.gpu`` runs the tests on the GPU first and
always writes a file. The parts: `options` are those of the command, `cases` says what is timed and in which order,
`arrays` what both libraries get, `ours` and `pytorch` how each does it. `comparing` takes one case through both:
`checking` compares answers, `timing` takes turns by events of the GPU. `floors` is what the GPU should allow, `facts`
says which GPU it is, `gpu_tests` runs the tests, `results` and `report` make the tables and the JSON.
"""

from __future__ import annotations

from fusedrnn.bench.gpu.command import main

__all__ = ["main"]
