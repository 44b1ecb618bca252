"""NCCL of the emulation: sums over processes that MPI makes, of arrays that are named by their addresses.

As with the real one, a communicator is made by all that have the same id, no two of them on one GPU, and what is asked
for within a group is done at its end.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from . import Device, runtime

available = True
NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0
_TYPES = {NCCL_FLOAT32: np.dtype(np.float32), NCCL_FLOAT64: np.dtype(np.float64)}
_groups: list[list[Callable[[], None]]] = []  # what is asked for in those that are begun


class NcclError(RuntimeError):
    """What CuPy raises for an error of NCCL."""


def get_unique_id() -> bytes:
    """An id for a communicator."""
    return os.urandom(128)


def groupStart() -> None:  # noqa: N802
    """Put off what is asked for from here on."""
    _groups.append([])


def groupEnd() -> None:  # noqa: N802
    """Do it."""
    for work in _groups.pop():
        work()


class NcclCommunicator:
    """Processes that sum arrays; all of ``MPI.COMM_WORLD`` come to make one."""

    def __init__(self, ndev: int, commId: bytes, rank: int) -> None:
        from mpi4py import MPI

        self._comm: Any = None
        color = int.from_bytes(commId[:3])
        self._comm = MPI.COMM_WORLD.Split(color, rank)
        if (self._comm.Get_size(), self._comm.Get_rank()) != (ndev, rank):
            raise NcclError("ranks of one id are missing: the real one would wait for them")
        gpus = self._comm.allgather((MPI.Get_processor_name(), runtime.deviceGetPCIBusId(Device().id)))
        if len(set(gpus)) < len(gpus):
            raise NcclError("NCCL_ERROR_INVALID_USAGE: invalid usage (run with NCCL_DEBUG=WARN for details)")

    def allReduce(  # noqa: N802
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        """The sum of `count` numbers of all processes, in all of them."""
        if op != NCCL_SUM or stream != 0:
            raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: invalid argument")

        def work() -> None:
            from mpi4py import MPI

            total = _array(recvbuf, count, datatype)
            self._comm.Allreduce(_array(sendbuf, count, datatype).copy(), total, MPI.SUM)

        if _groups:
            _groups[-1].append(work)
        else:
            work()

    def __del__(self) -> None:
        self.destroy()

    def destroy(self) -> None:
        """Wait for the others, and end it."""
        if self._comm is not None:
            self._comm.Barrier()
            self._comm.Free()
            self._comm = None


def _array(address: int, count: int, datatype: int) -> np.ndarray:
    dtype = _TYPES[datatype]
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)
