"""The command line: exit codes, one line for each mistake, folders, Ctrl-C, and what a run can do without."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusedrnn.backends import cuda
from fusedrnn.cli import main, parser
from fusedrnn.examples import SYSTEMS
from fusedrnn.examples.device import UNTRAINED
from fusedrnn.train import checkpoint, language

TINY = ["--characters", "900", "--hidden", "6", "--batch", "4", "--steps", "10"]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without --out go below the folder at hand."""
    monkeypatch.chdir(tmp_path)


def charlm(*more: str) -> int:
    return main(["run", "charlm", *TINY, *more])


def exit_code(*arguments: str) -> int:
    """Of `main`, whether it returns the code or raises it."""
    try:
        return main(arguments)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def last_record(folder: str) -> dict[str, object]:
    record = json.loads(Path(folder, "metrics.jsonl").read_text().splitlines()[-1])
    assert isinstance(record, dict)
    return record


# Commands that answer


def test_list_names_every_system_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SYSTEMS)
    assert {"forward", "ptb-reader", "ptb", "charlm"} <= SYSTEMS.keys()
    for line, system in zip(lines, SYSTEMS.values(), strict=True):
        assert line.endswith(system.summary)


def test_info_tells_versions_threads_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fusedrnn as fr

    monkeypatch.setattr("fusedrnn.cli.OPTIONAL_PACKAGES", ("numpy", "no_such_package"))
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert fr.__version__ in out
    assert f"threads          {fr.get_num_threads()}" in out
    assert "instruction set" in out and "CUDA" in out
    assert "no_such_package  not installed" in out
    assert f"numpy            {np.__version__}" in out


def test_data_list_gives_sources_and_checksums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "ptb.zip" in out and out.count("sha256") == out.count("from ")


@pytest.mark.parametrize("name", SYSTEMS)
def test_help_shows_every_option_with_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("run", name, "--help") == 0
    words = capsys.readouterr().out.replace("\n", " ")
    for option in ("--data", "--device", "--seed", "--out", "--quick", "--resume"):
        assert option in words
    assert words.count("default:") >= 3


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["run"], "required: NAME"),
        (["run", "chess"], "invalid choice: 'chess'"),
        (["run", "charlm", "--hidden", "many"], "invalid int value: 'many'"),
        (["run", "charlm", "--hidden", "0"], "hidden_size must be >= 1, got 0"),
        (["run", "charlm", "--seed", "-1"], "seed must be in [0, 18446744073709551615], got -1"),
        (["run", "charlm", "--epochs", "0"], "--epochs must be >= 1, got 0"),
        (["run", "charlm", "--prefixes", "ｘ"], "got 'ｘ' at position 0"),
        (["run", "charlm", "--prefixes", ""], "--prefixes must have at least one character"),
        (["run", "charlm", "--sampling", "backwards"], "invalid choice: 'backwards'"),
        (["run", "charlm", "--data", "missing.txt"], "missing.txt must be a text in UTF-8"),
        (["run", "textrnn", "--device", "cuda"], "--device must be cpu"),
        (["run", "charlm", "--resume"], "--resume must come with --out DIR"),
        (["run", "charlm", "--resume", "--out", "none"], "must hold a run to resume"),
        (["run", "ptb", "--data", "missing.zip"], "missing.zip must be the Penn Treebank"),
        (["run", "ptb", "--quick", "--keep", "2"], "--keep must be in [0.0, 1.0], got 2.0"),
        (["run", "forward", "--x", "[]"], "--x: must hold a number, got '[]'"),
        (["run", "forward", "--b", "1", "2", "3"], "--b must have 2 numbers"),
        (["run", "forward", "--b", "one"], "--b: must be a finite number, got 'one'"),
        (["run", "forward", "--b-out", "nan"], "--b-out: must be a finite number, got 'nan'"),
        (["demo", "--train-steps", "0"], "--train-steps must be >= 1, got 0"),
        (["sample", "nowhere", "--prompt", "a"], "nowhere must be a checkpoint of fusedrnn"),
        (["sample", "nowhere"], "required: --prompt"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert exit_code(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("fusedrnn") and error.count("\n") == 1 and error.endswith("\n")
    assert not list(tmp_path.rglob("config.json"))  # nothing has been begun


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("more", [(), ("--data", "missing"), ("--resume",), ("--seed", "-1")])
def test_another_device_is_refused_before_anything_else(
    name: str,
    more: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def begin(options: argparse.Namespace) -> dict[str, object]:
        pytest.fail("the system has begun, and may have read files")

    monkeypatch.setitem(SYSTEMS, name, replace(SYSTEMS[name], run=begin))
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda.parts.cache_clear()
    assert main(["run", name, "--device", "cuda", *more]) == 2
    came = capsys.readouterr()
    if name in UNTRAINED:
        why = ", for nothing here is trained, got cuda"
    else:
        why = " here, got cuda: the module cupy is missing; pip install 'fusedrnn[cuda13]'"
    assert came.err == f"fusedrnn: {name}: --device must be cpu{why}\n"
    assert came.out == "" and not list(tmp_path.iterdir())


def test_another_device_is_refused_without_the_command_line_too() -> None:
    options = parser().parse_args(["run", "forward", "--device", "cuda", "--out", "run"])
    with pytest.raises(ValueError, match=r"^forward: --device must be cpu, .* got cuda$"):
        SYSTEMS["forward"].run(options)
    assert not Path("run").exists()


def test_damaged_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.txt").write_bytes("first\nsecond \xff".encode("latin-1"))
    assert charlm("--data", "bad.txt") == 2
    assert "byte 0xff at offset 13, line 2" in capsys.readouterr().err
    Path("cut.zip").write_bytes(b"PK\x03\x04")
    assert charlm("--data", "cut.zip") == 2
    Path("run").mkdir()
    Path("run", "checkpoint.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    assert main(["sample", "run", "--prompt", "a"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


# Folders


def test_a_run_without_out_takes_a_fresh_folder(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        assert main(["run", "forward"]) == 0
        folder = "runs/forward" + (f"-{number + 1}" if number else "")
        assert f"folder of this run: {folder}\n" in capsys.readouterr().out
        assert last_record(folder)["final"] is True


def test_a_folder_with_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "forward", "--out", "here"]) == 0
    before = Path("here/metrics.jsonl").read_bytes()
    assert main(["run", "forward", "--out", "here"]) == 2
    assert "must hold no run yet, got here" in capsys.readouterr().err
    assert main(["run", "forward", "--out", "here", "--resume", "--x", "3"]) == 2
    assert "x was [1.0, 2.0], now [3.0]" in capsys.readouterr().err
    assert Path("here/metrics.jsonl").read_bytes() == before
    assert main(["run", "forward", "--out", "here", "--resume"]) == 0
    without_seconds = [line for line in before.splitlines() if b"final" not in line]
    assert [
        line for line in Path("here/metrics.jsonl").read_bytes().splitlines() if b"final" not in line
    ] == without_seconds


# Ctrl-C


@pytest.fixture
def interrupt_in_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sends this process a SIGINT in the middle of the training step of a given number, once."""
    whole_step = language.language_step

    def at(number: int) -> None:
        def step(*arguments: object, **named: object) -> object:
            if named["step"] == number:
                signal.raise_signal(signal.SIGINT)
                monkeypatch.setattr(language, "language_step", whole_step)
            return whole_step(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(language, "language_step", step)

    return at


@pytest.mark.parametrize("sampling", ["consecutive", "random"])
def test_stopped_and_resumed_gives_the_same_bits(
    sampling: str, interrupt_in_step: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sampling", sampling, "--epochs", "3", "--show-every", "2", "--length", "5"]
    assert charlm(*options, "--out", "whole") == 0
    interrupt_in_step(30)
    assert charlm(*options, "--out", "parts") == 130
    error = capsys.readouterr().err
    assert error.endswith("fusedrnn: stopped; the same command with --out parts --resume goes on\n")
    assert "Traceback" not in error
    assert checkpoint.load("parts/checkpoint.safetensors")[1]["position"]["step"] == 31
    assert main(["sample", "parts", "--prompt", "The", "--length", "4"]) == 0

    assert charlm(*options, "--out", "parts", "--resume") == 0
    tensors = [checkpoint.load(f"{name}/checkpoint.safetensors")[0] for name in ("whole", "parts")]
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        np.testing.assert_array_equal(value, tensors[1][name], strict=True)
    times = {"seconds", "tokens_per_second", "characters_per_second"}
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if key not in times}
            for line in Path(name, "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert lines[0] == lines[1]


def test_stopped_before_anything_began_names_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("fusedrnn.examples.charlm.documentation_text", stop)
    assert charlm() == 130
    assert capsys.readouterr().err == "fusedrnn: stopped\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_a_process_without_terminal_and_display_stops_with_130(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND", "TERM")}
    command = [sys.executable, "-m", "fusedrnn", "run", "charlm", *TINY, "--epochs", "1000000", "--out", "run"]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("fusedrnn: stopped; the same command")
    assert "Traceback" not in error
    tensors, meta = checkpoint.load("run/checkpoint.safetensors")
    assert meta["position"]["step"] > 0 and "model.output.weight" in tensors


# Samples


@pytest.fixture
def trained() -> str:
    assert charlm("--epochs", "2", "--out", "trained") == 0
    return "trained"


def test_sample_goes_on_after_the_prompt(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    def sample(*more: str) -> str:
        assert main(["sample", trained, "--prompt", "The ", "--length", "30", *more]) == 0
        return capsys.readouterr().out

    first = sample("--seed", "1")
    assert first.startswith("The ") and len(first.rstrip("\n")) == 34
    assert sample("--seed", "1") == first
    assert sample("--seed", "2") != first
    assert sample("--greedy", "--seed", "1") == sample("--greedy", "--seed", "2")
    assert sample("--temperature", "1e-6") == sample("--greedy")
    assert main(["sample", f"{trained}/checkpoint.safetensors", "--prompt", "The ", "--length", "0"]) == 0
    assert capsys.readouterr().out == "The \n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--prompt", ""], "prompt_ids must have shape (N,), N >= 1"),
        (["--prompt", "分"], "got '分' at position 0"),
        (["--prompt", "The", "--temperature", "0"], "temperature must be in (0.0, inf], got 0.0"),
        (["--prompt", "The", "--temperature", "1", "--greedy"], "not allowed with"),
        (["--prompt", "The", "--length", "-1"], "length must be >= 0, got -1"),
        (["--prompt", "The", "--seed", "-1"], "--seed must be in"),
    ],
)
def test_bad_sample_options(trained: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert exit_code("sample", trained, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# Without matplotlib


def test_without_matplotlib_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert charlm("--epochs", "1", "--out", "run") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "matplotlib" in line]
    assert lines == [
        "fusedrnn: loss_curve: no plot, since matplotlib is not installed; pip install 'fusedrnn[examples]' brings it"
    ]
    assert not list(Path("run").glob("*.png"))
    assert last_record("run")["final"] is True
