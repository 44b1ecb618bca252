"""``python -m fusedrnn.bench.gpu``: tests on the GPU, then the bench, one JSON of both."""

from __future__ import annotations

import sys

from fusedrnn.bench.gpu.command import run_all

if __name__ == "__main__":
    sys.exit(run_all(sys.argv[1:]))
