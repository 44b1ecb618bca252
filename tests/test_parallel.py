"""Several processes train one model: the weights of one process, the same on all ranks, and one end for all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ranks

import fusedrnn as fr
from fusedrnn.cli import main
from fusedrnn.examples import SYSTEMS
from fusedrnn.train import World, checkpoint, parallel, world
from fusedrnn.train.exchange import Exchange
from fusedrnn.train.interrupts import interrupts_held, interrupts_passing
from fusedrnn.train.launchers import launched

SECONDS = 100
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
CHARLM = ["run", "charlm", "--characters", "900", "--hidden", "6", "--batch", "4", "--steps", "10", "--length", "5"]
THREE_EPOCHS = ["--epochs", "3", "--show-every", "2"]


def launcher() -> str:
    """The ``mpiexec`` beside this Python, or that of the machine; skips where there is none."""
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("several processes need mpiexec")
    return found


def environment() -> dict[str, str]:
    # The last four: Open MPI refuses to run as root or with more ranks than cores unless it is told to.
    settings = {"FUSEDRNN_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONWARNINGS": "error"}
    settings |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    settings |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    return os.environ | settings


def launch(count: int, program: str, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of `ranks` with so many ranks."""
    line = [launcher(), "-n", str(count), sys.executable, ranks.__file__, program, str(out), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=environment(), check=False)


def good(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    return done


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return checkpoint.load(folder / "checkpoint.safetensors")[0]


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_near(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Relative to the largest value of each."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype
        worst = np.abs(got[name] - value).max() / max(np.abs(value).max(), 1e-30)
        assert worst <= TOLERANCE.get(value.dtype.name, 0), (name, worst)


# ---- the weights of one process --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    ranks.all_cases(out)
    return out


@pytest.fixture(scope="module", params=[2, 4])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    out = tmp_path_factory.mktemp(f"together{request.param}")
    good(launch(request.param, "all_cases", out))
    return request.param, out


@pytest.mark.parametrize("name", ranks.CASES)
def test_ranks_give_the_weights_of_one_process(name: str, alone: Path, together: tuple[int, Path]) -> None:
    expected, got = tensors(alone / name), tensors(together[1] / name)
    # The carried state is that of the whole batch, so it is compared as well.
    assert_near(got, expected)
    make, dtype = ranks.CASES[name]
    assert not np.allclose(expected["model.output.weight"], make(dtype).model.state_dict()["output.weight"], rtol=0.1)


def assert_equal_to_the_bit(name: str, count: int, out: Path) -> None:
    """The weights of all ranks are those that were saved."""
    saved = tensors(out / name)
    for rank in range(count):
        for key, value in np.load(out / f"{name}-{rank}.npz").items():
            assert value.tobytes() == saved[f"model.{key}"].tobytes(), (rank, key)


def assert_same_records(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """All numbers but speeds."""
    assert len(got) == len(expected) >= 5
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.keys() == theirs.keys() and ours["event"] == theirs["event"]
        numbers = [key for key in theirs if key != "event" and not key.endswith("_per_second")]
        assert [ours[key] for key in numbers] == pytest.approx([theirs[key] for key in numbers], rel=1e-5)


@pytest.mark.parametrize("name", ranks.CASES)
def test_ranks_are_equal_to_the_bit(name: str, together: tuple[int, Path]) -> None:
    assert_equal_to_the_bit(name, *together)


@pytest.mark.parametrize("name", ranks.CASES)
def test_records_are_those_of_the_whole_batch(name: str, alone: Path, together: tuple[int, Path]) -> None:
    assert_same_records(records(together[1] / name), records(alone / name))


def test_the_row_offset_matters() -> None:
    """Otherwise the tests above would not see that it is handed on."""
    for make, dtype in (ranks.CASES["words64"], ranks.CASES["sentences"]):
        case = make(dtype)
        batch = next(case.sampler.epoch(0))
        own = {name: value for name, value in _fields(batch).items() if name != "row_offset"}
        losses = {case.compute(SimpleNamespace(**own, row_offset=at), None, 0).loss for at in (0, 4)}
        assert len(losses) == 2


def _fields(batch: Any) -> dict[str, Any]:
    return batch._asdict() if hasattr(batch, "_asdict") else vars(batch)


@pytest.mark.parametrize("name", ["words64", "bits"])
def test_a_run_goes_on_with_another_number_of_ranks(name: str, alone: Path, tmp_path: Path) -> None:
    good(launch(2, "some_steps", tmp_path, name, "17", "start"))
    ranks.some_steps(tmp_path, name, "29", "resume")
    good(launch(4, "some_steps", tmp_path, name, "50", "resume"))
    assert_near(tensors(tmp_path / name), tensors(alone / name))
    assert [record["step"] for record in records(tmp_path / name) if record["event"] == "step"] == [10, 20, 30, 40, 50]


def test_ranks_go_on_to_the_same_bits(tmp_path: Path) -> None:
    good(launch(2, "some_steps", tmp_path / "whole", "words", "50", "start"))
    good(launch(2, "some_steps", tmp_path / "parts", "words", "23", "start"))
    good(launch(2, "some_steps", tmp_path / "parts", "words", "50", "resume"))
    expected, got = tensors(tmp_path / "whole/words"), tensors(tmp_path / "parts/words")
    assert {name: value.tobytes() for name, value in got.items()} == {
        name: value.tobytes() for name, value in expected.items()
    }


# ---- errors end all, and say why once --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("seed", "fit: weights must be the same on all ranks, got other ones than rank 0's on 1; this is step 0"),
        ("sampler", "fit: batches must be the same on all ranks, got other ones than rank 0's on 1; a sampler needs"),
        ("nudge", "fit: weights must be the same on all ranks, got other ones than rank 0's on 1; this is step 7"),
        ("count", "fit: compute must count equally much on every rank, got 2, 3"),
        ("compute", "OSError: [Errno 28] No space left: 'there'"),
        ("evaluation", "KeyError: 'evaluation'"),
        ("interrupt", "KeyboardInterrupt: "),
    ],
)
def test_an_error_of_one_rank_is_raised_on_all(what: str, error: str, tmp_path: Path) -> None:
    good(launch(2, "differs", tmp_path, what))
    for rank in range(2):
        assert error in (tmp_path / f"error{rank}").read_text()


def test_ranks_can_train_models_of_their_own(tmp_path: Path) -> None:
    good(launch(2, "differs", tmp_path, "alone"))
    assert not list(tmp_path.glob("error*"))
    assert (tmp_path / "weights0").read_bytes() != (tmp_path / "weights1").read_bytes()


def lines_of_ours(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Without what a launcher adds."""
    return [line for line in done.stderr.splitlines() if line.startswith("fusedrnn")]


def run_command(count: int, out: Path, trouble: str, *arguments: str) -> tuple[Any, set[str]]:
    """The command line with so many ranks, and the exit codes of those that came to their end."""
    done = launch(count, "command", out, trouble, *arguments, "--out", str(out / "run"))
    return done, {path.read_text() for path in out.glob("code*")}


def test_rows_that_do_not_divide_are_an_error(tmp_path: Path) -> None:
    done, codes = run_command(3, tmp_path, "none", *CHARLM, *THREE_EPOCHS)
    assert codes == {"2"} and done.returncode != 0
    assert lines_of_ours(done) == [
        "fusedrnn: fit: a batch must have rows that divide into equal parts for all ranks, B % N == 0, got B = 4 rows"
        " and N = 3 ranks"
    ]
    assert not (tmp_path / "run").exists()


def test_no_system_begins_a_run_that_ranks_cannot_share(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: its data is read")
    # 120 of 150 flowers would divide among three.
    rows = {"ptb": 20, "sine": 32, "textrnn": 64, "rcnn": 64, "binary": 250, "mnist": 128, "charlm": 32, "iris": 118}
    more = {"iris": " --held-out 0.21", "textrnn": " --words 3", "rcnn": " --words 3"}
    lines = [f"run {name}{more.get(name, '')}" for name in SYSTEMS] + ["demo"]
    good(done := launch(3, "commands", tmp_path, *lines))
    told = lines_of_ours(done)
    for number, (name, line) in enumerate(zip([*SYSTEMS, "demo"], told, strict=True)):
        if name in rows or name == "demo":
            assert line.endswith(f"B % N == 0, got B = {rows.get(name, 32)} rows and N = 3 ranks"), name
        else:
            assert line == f"fusedrnn: {name}: there must be one process, for nothing here is trained, got 3 of them"
        assert {(tmp_path / f"code{number}.{rank}").read_text() for rank in range(3)} == {"2"}
    assert not list(tmp_path.glob("run*"))
    assert "folder of this run" not in done.stdout


def test_rows_that_do_not_divide_leave_a_run_as_it_is(tmp_path: Path) -> None:
    options = [*CHARLM, *THREE_EPOCHS]
    good(run_command(2, tmp_path, "none", *options)[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done, codes = run_command(3, tmp_path, "none", *options, "--resume")
    assert "2" in codes and done.returncode != 0 and "N = 3 ranks" in lines_of_ours(done)[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_bad_input_is_told_once(tmp_path: Path) -> None:
    done, codes = run_command(2, tmp_path, "none", *CHARLM, "--resume")
    assert codes == {"2"} and done.returncode != 0
    (line,) = lines_of_ours(done)
    assert "out must hold a run to resume" in line
    done, codes = run_command(2, tmp_path, "none", *CHARLM, "--clip", "much")
    assert codes == {"2"} and len(lines_of_ours(done)) == 1
    done, codes = run_command(2, tmp_path, "none", "run", "forward")
    assert codes == {"2"} and "forward: there must be one process" in lines_of_ours(done)[0]
    done, codes = run_command(2, tmp_path, "none", *CHARLM, "--device", "cuda")
    (line,) = lines_of_ours(done)
    assert codes == {"2"} and "charlm: each of N = 2 processes must have a GPU and NCCL, got rank 0 where" in line


def test_rank_0_alone_prints_and_writes(tmp_path: Path) -> None:
    done, codes = run_command(2, tmp_path, "none", *CHARLM, *THREE_EPOCHS)
    assert codes == {"0"} and done.returncode == 0, done.stderr
    assert done.stdout.count("folder of this run") == done.stdout.count("epoch 2, perplexity") == 1
    assert done.stderr.count("training: 66/66") == 1
    assert [record["epoch"] for record in records(tmp_path / "run") if record.get("event") == "epoch"] == [1, 2, 3]
    assert records(tmp_path / "run")[-1]["final"] is True
    assert main([*CHARLM, *THREE_EPOCHS, "--out", str(tmp_path / "one")]) == 0
    one, two = (records(tmp_path / name)[-1]["perplexity"] for name in ("one", "run"))
    assert two == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("error", "fusedrnn: step: the disk must hold data, got none"),  # in a step: told to all by the step
        ("text", "fusedrnn: text: the file must be there, got none"),  # before training: rank 0 waits for nobody
    ],
)
def test_an_error_of_one_rank_ends_the_command_on_all(trouble: str, line: str, tmp_path: Path) -> None:
    done, codes = run_command(2, tmp_path, trouble, *CHARLM, *THREE_EPOCHS)
    assert done.returncode != 0 and codes <= {"2", "none"}
    assert lines_of_ours(done) == [line]


def test_an_unexpected_error_ends_all_and_shows_where(tmp_path: Path) -> None:
    done, codes = run_command(2, tmp_path, "plot", *CHARLM, *THREE_EPOCHS)
    assert done.returncode != 0 and codes <= {"0", "none"}
    assert done.stderr.count("ZeroDivisionError: in a plot") == 1
    assert checkpoint.load(tmp_path / "run/checkpoint.safetensors")[1]["position"]["step"] == 66


@pytest.mark.parametrize("count", [2, 4])
def test_a_rank_that_dies_ends_all_and_leaves_the_last_checkpoint(count: int, alone: Path, tmp_path: Path) -> None:
    done = launch(count, "dies", tmp_path)
    assert done.returncode != 0
    assert checkpoint.load(tmp_path / "words/checkpoint.safetensors")[1]["position"]["step"] == 30
    ranks.some_steps(tmp_path, "words", str(ranks.STEPS), "resume")
    assert_near(tensors(tmp_path / "words"), tensors(alone / "words"))


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_on_one_rank_stops_all_after_the_same_step(tmp_path: Path) -> None:
    options = [*CHARLM, *THREE_EPOCHS]
    done, codes = run_command(2, tmp_path, "interrupt", *options)
    assert codes == {"130"} and done.returncode != 0
    assert lines_of_ours(done) == [
        f"fusedrnn: stopped; the same command with --out {tmp_path / 'run'} --resume goes on"
    ]
    assert checkpoint.load(tmp_path / "run/checkpoint.safetensors")[1]["position"]["step"] == 31
    good(run_command(2, tmp_path, "none", *options, "--resume")[0])
    (tmp_path / "whole").mkdir()
    good(run_command(2, tmp_path / "whole", "none", *options)[0])
    got, expected = tensors(tmp_path / "run"), tensors(tmp_path / "whole/run")
    assert all(got[name].tobytes() == value.tobytes() for name, value in expected.items())


def test_ctrl_c_at_the_launcher_stops_all(tmp_path: Path) -> None:
    if "HYDRA" not in subprocess.run([launcher(), "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this launcher does not hand Ctrl-C on to its ranks")
    line = [launcher(), "-n", "2", sys.executable, ranks.__file__, "command", str(tmp_path), "none", *CHARLM]
    line += ["--epochs", "1000000", "--show-every", "1000000", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        metrics, end = tmp_path / "run/metrics.jsonl", time.monotonic() + SECONDS
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode != 0
    assert {path.read_text() for path in tmp_path.glob("code*")} == {"130"}, errors
    assert errors.count("fusedrnn: stopped") == 1
    assert checkpoint.load(tmp_path / "run/checkpoint.safetensors")[1]["position"]["step"] > 0


# ---- one process, and what the environment says ----------------------------------------------------------------------


@pytest.fixture
def started_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that seems to be rank 0 of 2."""
    world.cache_clear()
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    yield monkeypatch
    world.cache_clear()


def test_several_processes_without_mpi4py_are_an_error(
    started_by: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started_by.setitem(sys.modules, "mpi4py", None)  # type: ignore[arg-type]
    assert main([*CHARLM, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith(
        "fusedrnn: world: mpi4py must be installed for 2 processes, got none; pip install 'fusedrnn[mpi]' brings it"
    )
    assert not (tmp_path / "run").exists()
    # Of the others, none says it again.
    started_by.setenv("PMI_RANK", "1")
    assert main([*CHARLM, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == ""


def test_another_mpi_than_the_launchers_is_an_error(started_by: pytest.MonkeyPatch) -> None:
    module = ModuleType("mpi4py")
    alone = SimpleNamespace(Get_size=lambda: 1)
    module.MPI = SimpleNamespace(COMM_WORLD=alone, Get_library_version=lambda: "Other MPI 1\nbuilt today")  # type: ignore[attr-defined]
    started_by.setitem(sys.modules, "mpi4py", module)
    with pytest.raises(ValueError, match=r"which started 2 processes, got one that sees 1: Other MPI 1$"):
        world()


def test_a_single_process_does_not_import_mpi4py() -> None:
    code = "import sys, fusedrnn as fr; fr.train.world(); sys.exit('mpi4py' in sys.modules)"
    for more in ({}, {"PMI_RANK": "0", "PMI_SIZE": "1"}):
        assert subprocess.run([sys.executable, "-c", code], env=os.environ | more, check=False).returncode == 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"PMI_RANK": "3", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4"}, (3, 8)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, (1, 2)),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"PMIX_RANK": "5", "SLURM_STEP_NUM_TASKS": "6"}, (5, 6)),
        ({"PMIX_RANK": "5"}, (5, None)),
        ({"MPI_LOCALNRANKS": "2"}, (0, None)),
        ({"SLURM_STEP_NUM_TASKS": "6"}, (0, 1)),  # started by srun without any MPI
    ],
)
def test_what_the_environment_says(environment: dict[str, str], expected: tuple[int, int | None]) -> None:
    assert launched(environment) == expected


def test_one_process_gets_what_it_gives() -> None:
    here, batch, step = World(), object(), fr.train.Step(0.5, 3, {})
    assert here.share(batch, fr.data.ConsecutiveSampler) is batch  # type: ignore[arg-type]
    figures = {"a": 1}
    assert here.mean_figures(figures) is figures
    assert Exchange(here, {}).mean(lambda: step, lambda: True) == (step, False)
    here.check_equal("nothing", lambda: pytest.fail("it is not computed"), "")


def test_an_error_that_does_not_travel_is_told_all_the_same() -> None:
    class LocalError(Exception):
        """Pickle finds no class by this name."""

    told = parallel._portable(LocalError("why"))
    assert type(told) is RuntimeError and str(told) == "LocalError: why"
    error = ValueError("why")
    assert parallel._portable(error) is error


def test_an_interrupt_held_twice_waits_for_the_outer_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held() as outer:
        with interrupts_held() as inner:
            signal.raise_signal(signal.SIGINT)
        done.append(inner is outer and inner.arrived)
    assert done == [True]


def test_an_interrupt_that_was_held_back_keeps_a_passing_block_from_starting() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        with interrupts_passing():
            done.append("never")
    assert done == []
