"""Sums over several processes that have a GPU each: NCCL's, through CuPy, on CuPy's current stream.

Two things go different ways in a step:

===========  =====================================================================================
`numbers`    over MPI from host to host, before: who fails says so while nobody has queued a sum,
             for a sum that one process does not queue leaves the others waiting on their GPUs
the array    over NCCL from GPU to GPU, and with it the losses, which no host has seen
===========  =====================================================================================

So no host waits for a GPU. NCCL itself takes no two processes on one GPU: the check is ours, before it is asked.
"""

from __future__ import annotations

import ctypes
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedrnn.backends.cuda_parts import Array, parts, stream
from fusedrnn.backends.processes import Processes


class CudaSums:
    """See `fusedrnn.backends.Sums`; raises as `check_gpus` does."""

    def __init__(self, where: str, processes: Processes, size: int, dtype: np.dtype) -> None:
        check_gpus(where, processes)
        cupy, _ = parts()
        self._processes = processes
        self._nccl = _nccl()
        self._communicator = self._nccl.NcclCommunicator(
            processes.size, processes.first(self._nccl.get_unique_id), processes.rank
        )
        # It is never freed, for CuPy would then destroy it, which waits for the other processes: one that meets an
        # error of its own, or has to end, would hang. `close` destroys it where all come together.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._communicator))
        self.array = cupy.zeros(size, dtype)
        self._loss = cupy.zeros((), np.float64)

    def mean(
        self, loss: Any, numbers: Sequence[float], check: Callable[[np.ndarray], None]
    ) -> tuple[Array, np.ndarray]:
        told = np.empty((self._processes.size, len(numbers)))
        self._processes.comm.Allgather(np.array(numbers, np.float64), told)
        check(told)
        with self.array.device:
            self._loss[...] = loss
            self._nccl.groupStart()
            try:
                self._add(self.array)
                self._add(self._loss)
            finally:
                self._nccl.groupEnd()
            self.array /= self._processes.size
            return self._loss / self._processes.size, told

    def _add(self, buffer: Array) -> None:
        kind = {"float32": self._nccl.NCCL_FLOAT32, "float64": self._nccl.NCCL_FLOAT64}[buffer.dtype.name]
        address = buffer.data.ptr
        self._communicator.allReduce(address, address, buffer.size, kind, self._nccl.NCCL_SUM, stream())

    def close(self) -> None:
        self._communicator.destroy()


class Place(NamedTuple):
    """Where a process is, and what is there.

    Attributes
    ----------
    machine : rank of the first process on its machine
    missing : why it cannot use a GPU, or why NCCL is not to be had; None: nothing
    gpu : the current one, by its place on the bus, which is the same however the GPUs are numbered
    seen : all those that the process sees
    """

    machine: int
    missing: str | None
    gpu: str
    seen: tuple[str, ...]


def choose_gpu(where: str, processes: Processes, missing: str | None) -> None:
    """Make one of the GPUs the current one: by the number of this process among those of its machine.

    Parameters
    ----------
    missing : what is missing here for a GPU to be used, None: nothing

    Raises
    ------
    ValueError
        As `check_gpus`, in all processes.
    """
    machine, number = _machine(processes)
    if missing is None:
        cuda = parts()[0].cuda
        cuda.Device(number % cuda.runtime.getDeviceCount()).use()
    _check(where, processes, _place(machine, missing))


def check_gpus(where: str, processes: Processes) -> None:
    """Raise ValueError in all processes unless each has NCCL and a current GPU that is no other's."""
    _check(where, processes, _place(_machine(processes)[0], None))


def _machine(processes: Processes) -> tuple[int, int]:
    """The rank of the first process on this machine, and the number of this one there."""
    from mpi4py import MPI

    there = processes.comm.Split_type(MPI.COMM_TYPE_SHARED, key=processes.rank)
    found = there.bcast(processes.rank), there.Get_rank()
    there.Free()
    return found


def _place(machine: int, missing: str | None) -> Place:
    if missing is not None:
        return Place(machine, missing, "", ())
    runtime = parts()[0].cuda.runtime
    seen = tuple(runtime.deviceGetPCIBusId(number) for number in range(runtime.getDeviceCount()))
    return Place(machine, _no_nccl(), seen[runtime.getDevice()], seen)


def _check(where: str, processes: Processes, place: Place) -> None:
    places: list[Place] = processes.comm.allgather(place)
    for rank, each in enumerate(places):
        if each.missing is not None:
            raise ValueError(
                f"{where}: each of N = {len(places)} processes must have a GPU and NCCL, got rank {rank} where"
                f" {each.missing}"
            )
    for rank, each in enumerate(places):
        other = next(at for at, one in enumerate(places) if (one.machine, one.gpu) == (each.machine, each.gpu))
        if other < rank:
            there = [one for one in places if one.machine == each.machine]
            gpus = len({gpu for one in there for gpu in one.seen})
            advice = (
                "start no more than there are GPUs"
                if len(there) > gpus
                else "fr.train.world().use_gpu() chooses one, before the model is made"
            )
            raise ValueError(
                f"{where}: each process must have a GPU of its own, N <= G on a machine, got N = {len(there)} processes"
                f" and G = {gpus} GPUs, and ranks {other} and {rank} on GPU {each.gpu}; {advice}"
            )


def _nccl() -> Any:
    """CuPy's part for NCCL, `available` or not."""
    with warnings.catch_warnings():
        # CuPy warns where the library is missing; we say it as an error, in all processes.
        warnings.simplefilter("ignore", UserWarning)
        return importlib.import_module("cupy.cuda.nccl")


def _no_nccl() -> str | None:
    if _nccl().available:
        return None
    return f"CuPy finds no NCCL; pip install nvidia-nccl-cu{parts()[0].cuda.runtime.runtimeGetVersion() // 1000}"
