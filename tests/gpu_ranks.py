"""What each process of `test_cuda_parallel.py` runs: ``mpiexec -n N python gpu_ranks.py PROGRAM OUT ...``.

On an emulated GPU where FUSEDRNN_EMULATED names its module. What NCCL is asked for is written down beside the results.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import ranks

import fusedrnn as fr
from fusedrnn import cli
from fusedrnn.backends import of_device
from fusedrnn.train import Step, world
from fusedrnn.train.batches import moved
from fusedrnn.train.exchange import Exchange

# Emulated kernels are slow: fewer steps than on a CPU, and not every case.
STEPS = 20
CASES = ("words", "words64", "characters", "bits", "sentences")
CALLS: list[int] = []  # numbers in each sum that was asked for


def recorded(nccl: Any) -> None:
    """Have the communicators that are made from here on write down what is asked for."""

    class Recorded(nccl.NcclCommunicator):  # type: ignore[misc]
        def allReduce(self, *arguments: int) -> None:  # noqa: N802
            CALLS.append(arguments[2])
            super().allReduce(*arguments)

    nccl.NcclCommunicator = Recorded


def keep(out: Path, name: str, arrays: dict[str, Any]) -> None:
    """Write arrays of this rank."""
    np.savez(out / f"{name}-{world().rank}.npz", **{key: _host(value) for key, value in arrays.items()})


def _host(value: Any) -> Any:
    return value.get() if hasattr(value, "get") else value


def train(name: str, out: Path, **options: Any) -> ranks.Case:
    """Train a case on a GPU."""
    return ranks.train(name, out, **({"device": "cuda", "total_steps": STEPS, "log_every": 4} | options))


def all_cases(out: Path) -> None:
    """Train every case, and keep the weights that this rank has, its GPU, and the sums."""
    world().use_gpu()
    sums = {}
    for name in CASES:
        before = len(CALLS)
        case = train(name, out)
        keep(out, name, case.model.state_dict())
        total = sum(value.size for value in case.model.parameters().values())
        sums[name] = {"asked": CALLS[before:], "parameters": total}
    gpu = importlib.import_module("cupy").cuda.runtime.getDevice()
    (out / f"sums-{world().rank}.json").write_text(json.dumps({"gpu": gpu, "sums": sums}))


def some_steps(out: Path, name: str, total_steps: str, resume: str) -> None:
    """Train to a number of steps, from the start or from where the folder is."""
    world().use_gpu()
    train(name, out, total_steps=int(total_steps), resume=resume == "resume")


def one_step(out: Path, name: str, device: str) -> None:
    """Loss and gradients of the first batch, without a wait for the GPU."""
    from test_cuda_sentences import nothing_waits

    ranks_here = world()
    if device == "cuda":
        ranks_here.use_gpu()
    make, dtype = ranks.CASES[name]
    case = make(dtype, device)
    exchange = Exchange(ranks_here, case.model.parameters())
    batch = moved(ranks_here.share(next(case.sampler.epoch(0)), case.sampler), of_device("test", device))

    def step() -> Step:
        return exchange.mean(lambda: case.compute(batch, None, 0), lambda: False)[0]

    step()  # what is made once, such as kernels that CuPy compiles, is made
    if device == "cuda":
        with nothing_waits(importlib.import_module("cupy")):
            found = step()
    else:
        found = step()
    keep(out, f"{name}-{device}", {**found.grads, "loss": found.loss})
    exchange.close()


def differs(out: Path, what: str) -> None:
    """Something is wrong, on one rank or on all; each keeps its error."""
    here = world()
    device = "cpu" if what == "device" and here.rank == 1 else "cuda"
    if what != "shared":
        here.use_gpu()
    model, loss = fr.nn.Linear(3, 1, seed=0, device=device), fr.nn.MeanSquaredError()
    table = {"x": np.ones((40, 3), "float32"), "y": np.ones((40, 1), "float32")}

    def compute(batch: Any, state: Any, step: int) -> Step:
        if what == "compute" and here.rank == 1 and step == 5:
            raise OSError(28, "No space left", "there")
        if what == "interrupt" and here.rank == 1 and step == 5:
            signal.raise_signal(signal.SIGINT)
        prediction, saved = model.forward(batch.x * (np.nan if what == "nan" and here.rank == 1 and step == 5 else 1))
        value, saved_loss = loss.forward(prediction, batch.y)
        count = len(batch.x) + (here.rank if what == "count" else 0)
        return Step(value, count, model.backward(saved, loss.backward(saved_loss))[1])

    settings: dict[str, Any] = {"epochs": 2, "checkpoint_every": 7}
    try:
        fr.train.fit(model, fr.optim.Adam(model, 0.01), fr.data.RowSampler(table, 4, seed=0), compute, **settings)
    except (ValueError, OSError, KeyboardInterrupt) as error:
        (out / f"error{here.rank}").write_text(f"{type(error).__name__}: {error}")
    keep(out, "weights", model.state_dict())


def command(out: Path, *arguments: str) -> None:
    """The command line; each rank keeps its exit code and how many sums there were."""
    code: Any = "none"
    try:
        code = cli.main(list(arguments))
    except SystemExit as ended:
        code = ended.code
    finally:
        (out / f"code{world().rank}").write_text(f"{code} {len(CALLS)}")
    sys.exit(code)


def chosen(out: Path) -> None:
    """Which GPU each rank gets, or why it gets none."""
    try:
        world().use_gpu()
        device = importlib.import_module("cupy").cuda.runtime.getDevice()
        found = f"{device} {os.environ.get('FUSEDRNN_EMULATED_GPUS')}"
    except ValueError as error:
        found = str(error)
    (out / f"gpu{world().rank}").write_text(found)


def each_sees_one(out: Path) -> None:
    """As a launcher does that gives each rank a GPU of its own and hides the others."""
    os.environ["FUSEDRNN_EMULATED_GPUS"] = str(world().rank)
    chosen(out)


def without_nccl(out: Path) -> None:
    """CuPy finds no NCCL on rank 1, and warns as it does."""
    if world().rank == 1:

        def find(name: str) -> Any:
            if name != "cupy.cuda.nccl":
                return really(name)
            warnings.warn("nccl library could not be loaded.", stacklevel=2)
            return SimpleNamespace(available=False)

        really, importlib.import_module = importlib.import_module, find  # type: ignore[assignment]
    chosen(out)


PROGRAMS: dict[str, Callable[..., None]] = {
    each.__name__: each
    for each in (all_cases, some_steps, one_step, differs, command, chosen, each_sees_one, without_nccl)
}

if __name__ == "__main__":
    if emulated.VARIABLE in os.environ:
        emulated.use(Path(os.environ[emulated.VARIABLE]))
    recorded(importlib.import_module("cupy.cuda.nccl"))
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
