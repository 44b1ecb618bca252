"""Several processes train one model, each on a GPU or an emulated one: NCCL's sums, and the weights of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import emulated
import gpu_ranks
import numpy as np
import pytest
import ranks
from test_parallel import (
    CHARLM,
    SECONDS,
    THREE_EPOCHS,
    assert_equal_to_the_bit,
    assert_near,
    assert_same_records,
    environment,
    good,
    launcher,
    lines_of_ours,
    records,
    tensors,
)

import fusedrnn as fr
from fusedrnn.backends import cuda_sums
from fusedrnn.cli import main

pytestmark = pytest.mark.gpu

ONE_EACH = "each process must have a GPU of its own, N <= G on a machine"


def launch(gpu: Any, count: int, program: str, out: Path, *arguments: str, gpus: str = "0,1,2,3") -> Any:
    """Run a program of `gpu_ranks` with so many ranks; `gpus` are the emulated ones that each sees."""
    more = {}
    if gpu.__version__ == "emulated":
        more = {emulated.VARIABLE: sys.modules["fusedrnn._cuda"].__file__ or "", "FUSEDRNN_EMULATED_GPUS": gpus}
    elif gpu.cuda.runtime.getDeviceCount() < count or not cuda_sums._nccl().available:
        pytest.skip(f"{count} ranks need {count} GPUs and NCCL for CuPy")
    line = [launcher(), "-n", str(count), sys.executable, gpu_ranks.__file__, program, str(out), *arguments]
    settings = environment() | more
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=settings, check=False)


def only_emulated(gpu: Any) -> None:
    if gpu.__version__ != "emulated":
        pytest.skip("the GPUs of the emulation are hidden and shared at will")


def texts(out: Path, name: str, count: int) -> list[str]:
    return [(out / f"{name}{rank}").read_text() for rank in range(count)]


# ---- the weights of one process --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(gpu: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    for name in gpu_ranks.CASES:
        gpu_ranks.train(name, out)
    return out


@pytest.fixture(scope="module", params=[2, 4])
def together(gpu: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    out = tmp_path_factory.mktemp(f"together{request.param}")
    good(launch(gpu, request.param, "all_cases", out))
    return request.param, out


@pytest.mark.parametrize("name", gpu_ranks.CASES)
def test_ranks_give_the_weights_of_one_process(name: str, alone: Path, together: tuple[int, Path]) -> None:
    assert_near(tensors(together[1] / name), tensors(alone / name))


@pytest.mark.parametrize("name", gpu_ranks.CASES)
def test_ranks_are_equal_to_the_bit(name: str, together: tuple[int, Path]) -> None:
    assert_equal_to_the_bit(name, *together)


@pytest.mark.parametrize("name", gpu_ranks.CASES)
def test_records_are_those_of_the_whole_batch(name: str, alone: Path, together: tuple[int, Path]) -> None:
    assert_same_records(records(together[1] / name), records(alone / name))


def test_the_sums_are_those_of_nccl(together: tuple[int, Path]) -> None:
    """Two a step: all gradients, and the loss; each rank on a GPU of its own."""
    count, out = together
    for rank in range(count):
        told = json.loads((out / f"sums-{rank}.json").read_text())
        assert told["gpu"] == rank
        assert told["sums"].keys() == set(gpu_ranks.CASES)
        for each in told["sums"].values():
            assert each["asked"] == [each["parameters"], 1] * gpu_ranks.STEPS


@pytest.mark.parametrize("name", ["words64", "characters", "sentences", "sine"])
def test_gradients_are_those_of_the_whole_batch_and_of_the_cpu(gpu: Any, name: str, tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        good(launch(gpu, 2, "one_step", tmp_path, name, device))
    make, dtype = ranks.CASES[name]
    case = make(dtype, "cpu")
    whole = case.compute(next(case.sampler.epoch(0)), None, 0)
    first, second = (dict(np.load(tmp_path / f"{name}-cuda-{rank}.npz")) for rank in range(2))
    host = dict(np.load(tmp_path / f"{name}-cpu-0.npz"))
    limit = {"float32": 2e-5, "float64": 1e-11}[dtype]
    for key, value in (whole.grads | {"loss": np.asarray(whole.loss)}).items():
        assert first[key].tobytes() == second[key].tobytes()
        size = np.abs(value).max()
        np.testing.assert_allclose(first[key], value, rtol=0, atol=limit * size, err_msg=key)
        np.testing.assert_allclose(first[key], host[key], rtol=0, atol=limit * size, err_msg=key)
    assert first["loss"].dtype == np.float64


def test_a_run_goes_on_to_the_same_bits(gpu: Any, together: tuple[int, Path], tmp_path: Path) -> None:
    count, out = together
    good(launch(gpu, count, "some_steps", tmp_path, "words", "8", "start"))
    good(launch(gpu, count, "some_steps", tmp_path, "words", str(gpu_ranks.STEPS), "resume"))
    got = tensors(tmp_path / "words")
    assert all(got[name].tobytes() == value.tobytes() for name, value in tensors(out / "words").items())


def test_a_run_goes_on_alone_and_on_the_cpu(gpu: Any, alone: Path, tmp_path: Path) -> None:
    good(launch(gpu, 2, "some_steps", tmp_path, "words64", "8", "start"))
    gpu_ranks.train("words64", tmp_path, resume=True, total_steps=14)
    gpu_ranks.train("words64", tmp_path, resume=True, device="cpu")
    expected = tensors(alone / "words64")
    for name, value in tensors(tmp_path / "words64").items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-11)


# ---- one end for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("device", "ValueError: fit: model must be on the same kind of device on all ranks, got cuda, cpu on ranks 0"),
        ("compute", "OSError: [Errno 28] No space left: 'there'"),
        ("count", "ValueError: fit: compute must count equally much on every rank, got 2, 3"),
        ("interrupt", "KeyboardInterrupt: "),
        ("nan", "ValueError: fit: the loss must be finite, got nan in step 5; "),
    ],
)
def test_an_error_of_one_rank_is_raised_on_all(gpu: Any, what: str, expected: str, tmp_path: Path) -> None:
    good(launch(gpu, 2, "differs", tmp_path, what))
    for found in texts(tmp_path, "error", 2):
        assert found.startswith(expected)
    if what != "device":
        first, second = (np.load(tmp_path / f"weights-{rank}.npz")["weight"] for rank in range(2))
        assert np.isfinite(first).all() and first.tobytes() == second.tobytes()


def test_models_on_one_gpu_are_an_error(gpu: Any, tmp_path: Path) -> None:
    good(launch(gpu, 2, "differs", tmp_path, "shared"))
    start = f"ValueError: fit: {ONE_EACH}, got N = 2 processes and G = "
    for found in texts(tmp_path, "error", 2):
        assert found.startswith(start) and ", and ranks 0 and 1 on GPU " in found
        assert found.endswith("; fr.train.world().use_gpu() chooses one, before the model is made")


def test_too_few_gpus_are_an_error(gpu: Any, tmp_path: Path) -> None:
    only_emulated(gpu)
    good(launch(gpu, 3, "chosen", tmp_path, gpus="4,6"))
    expected = (
        f"World.use_gpu: {ONE_EACH}, got N = 3 processes and G = 2 GPUs,"
        " and ranks 0 and 2 on GPU 0000:04:00.0; start no more than there are GPUs"
    )
    assert texts(tmp_path, "gpu", 3) == [expected] * 3


def test_each_rank_takes_a_gpu_of_those_that_it_sees(gpu: Any, tmp_path: Path) -> None:
    only_emulated(gpu)
    good(launch(gpu, 2, "chosen", tmp_path, gpus="4,6"))
    assert texts(tmp_path, "gpu", 2) == ["0 4,6", "1 4,6"]
    good(launch(gpu, 2, "each_sees_one", tmp_path))
    assert texts(tmp_path, "gpu", 2) == ["0 0", "0 1"]


def test_nccl_is_missing_on_one_rank(gpu: Any, tmp_path: Path) -> None:
    good(launch(gpu, 2, "without_nccl", tmp_path))
    start = "World.use_gpu: each of N = 2 processes must have a GPU and NCCL, got rank 1 where CuPy finds no NCCL; "
    for found in texts(tmp_path, "gpu", 2):
        assert found.startswith(f"{start}pip install nvidia-nccl-cu1")


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_trains_on_all_gpus(gpu: Any, tmp_path: Path) -> None:
    options = [*CHARLM, *THREE_EPOCHS, "--device", "cuda"]
    done = good(launch(gpu, 2, "command", tmp_path, *options, "--out", str(tmp_path / "run")))
    assert texts(tmp_path, "code", 2) == ["0 132", "0 132"]  # 66 steps
    assert done.stdout.count("folder of this run") == done.stdout.count("epoch 2, perplexity") == 1
    assert main([*options, "--out", str(tmp_path / "one")]) == 0
    one, two = (records(tmp_path / name)[-1]["perplexity"] for name in ("one", "run"))
    assert two == pytest.approx(one, rel=1e-6)


def test_the_command_line_says_once_that_gpus_are_too_few(gpu: Any, tmp_path: Path) -> None:
    only_emulated(gpu)
    options = [*CHARLM, *THREE_EPOCHS, "--device", "cuda", "--out", str(tmp_path / "run")]
    done = launch(gpu, 2, "command", tmp_path, *options, gpus="0")
    assert done.returncode != 0 and texts(tmp_path, "code", 2) == ["2 0", "2 0"]
    (line,) = lines_of_ours(done)
    assert line.startswith(f"fusedrnn: charlm: {ONE_EACH}, got N = 2 processes and G = 1 GPUs, and ranks 0 and 1 ")
    assert not (tmp_path / "run").exists()


def test_one_process_chooses_nothing(gpu: Any) -> None:
    before = gpu.cuda.runtime.getDevice()
    fr.train.World().use_gpu()
    assert gpu.cuda.runtime.getDevice() == before
    assert "FUSEDRNN_EMULATED_GPUS" not in os.environ
