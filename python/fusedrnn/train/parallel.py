"""Several processes that train one model together: who they are, and what they tell each other.

Each process, a rank, holds the whole model and computes the gradients of its rows of every batch. Messages are MPI's,
through mpi4py; this file says who tells what to whom:

==================  =================================================================================
`World.share`       the rows of a batch that are this rank's
`World.check_share` whether there are such parts at all
`World.first`       what is done once, on rank 0, with its result or its error on every rank
`World.gather_rows` the parts of a state that all ranks hold, joined on rank 0
`World.own_rows`    the way back
`World.check_equal` what must be the same on every rank
`World.use_gpu`     which GPU is whose
==================  =================================================================================

With one process they return what they are given, and mpi4py is not imported. The gradients have a file of their own,
`fusedrnn.train.exchange`.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice
from numbers import Real
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np

from fusedrnn.backends import choose_gpu
from fusedrnn.data import Sampler
from fusedrnn.train.launchers import launched

STATE_ROW_AXIS = 1  # of the states of recurrent layers, (L*D, B, H)
_SECONDS_TO_FAIL = 2.0


class World:
    """The processes that share the work; all of them make one at the same time.

    Parameters
    ----------
    comm : an mpi4py communicator, such as ``MPI.COMM_WORLD``; None: this process alone

    Attributes
    ----------
    rank : int, number of this process, from 0
    size : int, how many there are
    comm : a communicator of our own, so that no message of others is taken for one of ours; None for a single process

    Examples
    --------
    >>> alone = fr.train.World()
    >>> alone.rank, alone.size
    (0, 1)
    >>> alone.first(lambda: 2 + 2)
    4
    """

    def __init__(self, comm: Any = None) -> None:
        self.size: int = 1 if comm is None else comm.Get_size()
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.comm: Any = comm.Dup() if self.size > 1 else None
        self._failures: Any = comm.Dup() if self.size > 1 else None

    def share(self, batch: Any, sampler: Sampler) -> Any:
        """The rows of a batch that are this rank's, and where they begin as ``row_offset``.

        Parameters
        ----------
        batch : named tuple or namespace of arrays
        sampler : that made it; its `row_axis` says which axis of the arrays counts rows

        Raises
        ------
        ValueError
            The rows do not divide into as many equal parts as there are ranks.
        """
        if self.comm is None:
            return batch
        fields = batch._asdict() if hasattr(batch, "_asdict") else vars(batch)
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        rows = next(iter(arrays.values())).shape[sampler.row_axis]
        own = self._own(rows, "a batch")
        shared = {name: value[(slice(None),) * sampler.row_axis + (own,)] for name, value in arrays.items()}
        shared["row_offset"] = own.start
        return batch._replace(**shared) if hasattr(batch, "_replace") else SimpleNamespace(**(fields | shared))

    def check_share(self, sampler: Sampler) -> None:
        """Raise ValueError, as `share` does, unless the rows of a batch divide among the ranks; all come here together.

        The first batch stands for all, so that a run that cannot be shared is not begun.
        """
        if self.comm is not None:
            # A rank that had less to read must not end those that are about to meet the same error.
            self.comm.Barrier()
            for batch in islice(sampler.epoch(0), 1):
                self.share(batch, sampler)

    def _own(self, rows: int, what: str) -> slice:
        if rows % self.size:
            raise ValueError(
                f"fit: {what} must have rows that divide into equal parts for all ranks, B % N == 0,"
                f" got B = {rows} rows and N = {self.size} ranks"
            )
        count = rows // self.size
        return slice(self.rank * count, (self.rank + 1) * count)

    def first(self, function: Callable[[], Any]) -> Any:
        """Call the function on rank 0 alone; its result, or what it raises, is every rank's.

        The result must be one that can be pickled.
        """
        if self.comm is None:
            return function()
        error, message = None, b""
        if self.rank == 0:
            try:
                message = pickle.dumps(function())
            except BaseException as raised:
                error = raised
        message = self.comm.bcast(message)
        if not message:
            self.raise_together(0, error)
        return pickle.loads(message)

    def raise_together(self, root: int, error: BaseException | None) -> NoReturn:
        """Raise on all of several ranks what rank `root` has to raise, or an error of their own."""
        told: BaseException = self.comm.bcast(None if error is None else _portable(error), root=root)
        raise told if error is None else error

    def mean_figures(self, figures: Mapping[str, Any]) -> Mapping[str, Any]:
        """Numbers averaged over the ranks; of everything else, what rank 0 has."""
        if self.comm is None:
            return figures
        gathered = self.comm.allgather(dict(figures))
        return {name: _mean([each[name] for each in gathered]) for name in gathered[0]}

    def gather_rows(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Arrays (L*D, B/N, H) of all ranks as (L*D, B, H) on rank 0; nothing on the others."""
        if self.comm is None:
            return tuple(parts)
        gathered = self.comm.gather(tuple(parts))
        if gathered is None:
            return ()
        return tuple(np.concatenate(each, axis=STATE_ROW_AXIS) for each in zip(*gathered, strict=True))

    def own_rows(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Arrays (L*D, B, H) to this rank's part of them, (L*D, B/N, H)."""
        if self.comm is None:
            return tuple(parts)
        return tuple(part[:, self._own(part.shape[STATE_ROW_AXIS], "the carried state")].copy() for part in parts)

    def check_equal(self, what: str, value: Callable[[], bytes], advice: str) -> None:
        """Raise ValueError on all ranks unless `value` gives the same bytes on all of them."""
        if self.comm is None:
            return
        found = self.comm.allgather(value())
        others = [str(rank) for rank, each in enumerate(found) if each != found[0]]
        if others:
            raise ValueError(
                f"fit: {what} must be the same on all ranks, got other ones than rank 0's on {', '.join(others)};"
                f" {advice}"
            )

    def check_device(self, name: str) -> None:
        """Raise ValueError on all ranks unless `name`, of the device of the model, is the same on all of them."""
        if self.comm is None:
            return
        names = self.comm.allgather(name)
        if len(set(names)) > 1:
            raise ValueError(
                f"fit: model must be on the same kind of device on all ranks, got {', '.join(names)} on ranks 0 to"
                f" {self.size - 1}"
            )

    def use_gpu(self) -> None:
        """Make a GPU of its own the current one of each rank, before a model is made there; all call this together.

        Of the ranks on one machine the first takes GPU 0, the next one GPU 1 and so on, of those that each sees, by
        what ``CUDA_VISIBLE_DEVICES`` leaves to it. With one process nothing is done. The choice is CUDA's current
        device and holds for the calling thread, which is to call `fit` too.

        Raises
        ------
        ValueError
            On all ranks: one of them has no GPU or CuPy finds no NCCL, or a machine has fewer GPUs than ranks.

        Examples
        --------
        >>> fr.train.World().use_gpu()
        """
        if self.comm is not None:
            choose_gpu("World.use_gpu", self)

    def all_failed(self) -> bool:
        """Whether all ranks call this within two seconds: each has met an error, and nobody waits for anybody."""
        if self._failures is None:
            return True
        request = self._failures.Ibarrier()
        end = time.monotonic() + _SECONDS_TO_FAIL
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def abort(self, code: int) -> None:
        """End all ranks at once."""
        if self.comm is not None:
            self.comm.Abort(code)


def digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A hash of names, forms and bits.

    Examples
    --------
    >>> from fusedrnn.train.parallel import digest
    >>> digest({"w": np.zeros(2)}) == digest({"w": np.zeros(2)}) != digest({"w": -np.zeros(2)})
    True
    """
    found = hashlib.blake2b(digest_size=16)
    for name, value in arrays.items():
        found.update(f"{name} {value.dtype.str} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return found.digest()


@cache
def world() -> World:
    """The processes that the launcher started, ``mpiexec -n N``; without a launcher this one alone.

    Only the first call does anything, and all processes must come to it.

    Raises
    ------
    ValueError
        There are several and mpi4py is not installed, or it is made for another MPI than the launcher is.

    Examples
    --------
    >>> fr.train.world().size
    1
    """
    size = launched().size
    if size == 1:
        return World()
    try:
        from mpi4py import MPI
    except ImportError as missing:
        raise ValueError(
            f"world: mpi4py must be installed for {'several' if size is None else size} processes, got none;"
            f" pip install 'fusedrnn[mpi]' brings it ({missing})"
        ) from missing
    found = MPI.COMM_WORLD.Get_size()
    if size is not None and found != size:
        raise ValueError(
            f"world: mpi4py must be made for the MPI of the launcher, which started {size} processes, got one that sees"
            f" {found}: {MPI.Get_library_version().partition(chr(10))[0]}"
        )
    return World(MPI.COMM_WORLD)


def _portable(error: BaseException) -> BaseException:
    """The error, or one that says the same where it would not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _mean(values: list[Any]) -> Any:
    numbers = [value for value in values if isinstance(value, Real) and not isinstance(value, bool)]
    return sum(map(float, numbers)) / len(values) if len(numbers) == len(values) else values[0]
