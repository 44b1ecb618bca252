"""Sums over several processes in host memory: MPI's, one message for the array and for what is told with it.

====================  ============================================================================
in the buffer         what
====================  ============================================================================
the array             as it is
N · 4 (1 + K)         what each of the N processes has to tell: its loss and K numbers
====================  ============================================================================

The sum is one of the array's floats, which cannot hold a loss of more bits. So each number of the tail is a float64
that travels as four pieces of 16 bits, in places of its process's own where all others have zeros: sums that are exact
in every type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fusedrnn.backends.processes import Processes

_PIECES = np.dtype(np.float64).itemsize // np.dtype(np.uint16).itemsize


class CpuSums:
    """See `fusedrnn.backends.Sums`; `told` is how many numbers K each process tells."""

    def __init__(self, processes: Processes, size: int, dtype: np.dtype, told: int) -> None:
        self._processes = processes
        self._buffer = np.zeros(size + processes.size * (1 + told) * _PIECES, dtype)
        self.array = self._buffer[:size]
        self._told = self._buffer[size:].reshape(processes.size, -1)

    def mean(
        self, loss: float, numbers: Sequence[float], check: Callable[[np.ndarray], None]
    ) -> tuple[float, np.ndarray]:
        from mpi4py import MPI

        self._told[...] = 0
        self._told[self._processes.rank] = np.array((loss, *numbers), np.float64).view(np.uint16)
        self._processes.comm.Allreduce(MPI.IN_PLACE, self._buffer)
        found = self._told.astype(np.uint16).view(np.float64)
        check(found[:, 1:])
        self.array /= self._processes.size
        return float(found[:, 0].mean()), found[:, 1:]

    def close(self) -> None:
        """Nothing was taken."""
