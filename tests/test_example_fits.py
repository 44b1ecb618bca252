"""The systems that train with the common loop: `iris`, `sine`, `binary`, `mnist`."""

from __future__ import annotations

import gzip
import json
import math
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_examples import run

from fusedrnn.cli import main
from fusedrnn.examples import binary, sine
from fusedrnn.train import checkpoint, loop

SMALL = {
    "sine": ["--samples", "300", "--test-samples", "50", "--hidden", "5", "--steps", "30"],
    "binary": ["--bits", "4000", "--length", "100", "--epochs", "2"],
    "iris": ["--steps", "30"],
    "mnist": ["--hidden", "8", "--batch", "32", "--steps", "30"],
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def need(name: str) -> None:
    if name in ("iris", "mnist"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed: its data is read")


def press_in_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Press Ctrl-C in the middle of a step of training, once."""
    steps, clip = iter(range(1, 10**6)), loop.clip_by_global_norm

    def clip_and_press(*arguments: Any) -> float:
        if next(steps) == number:
            signal.raise_signal(signal.SIGINT)
        return clip(*arguments)

    monkeypatch.setattr(loop, "clip_by_global_norm", clip_and_press)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str) -> None:
    need(name)
    tensors = []
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run("run", name, *SMALL[name], "--seed", seed, out=out)
        found, _ = checkpoint.load(Path(out, "checkpoint.safetensors"))
        tensors.append({key: value.tobytes() for key, value in found.items()})
    assert tensors[0] == tensors[1] != tensors[2]


@pytest.mark.parametrize("name", SMALL)
def test_stopped_and_resumed_gives_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need(name)
    whole = run("run", name, *SMALL[name], out="whole")
    with monkeypatch.context() as patched:
        press_in_step(patched, 17)
        assert main(["run", name, *SMALL[name], "--out", "parts"]) == 130
    assert capsys.readouterr().err.endswith("fusedrnn: stopped; the same command with --out parts --resume goes on\n")
    assert checkpoint.load("parts/checkpoint.safetensors")[1]["position"]["step"] == 17
    parts = run("run", name, *SMALL[name], "--resume", out="parts")
    assert {**parts, "seconds": 0} == {**whole, "seconds": 0}
    ends = [checkpoint.load(f"{out}/checkpoint.safetensors")[0] for out in ("whole", "parts")]
    assert all(ends[0][key].tobytes() == ends[1][key].tobytes() for key in ends[0])


@pytest.mark.parametrize("name", ["iris", "sine", "binary"])
def test_data_is_refused_where_none_is_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", name, "--data", "here.csv"]) == 2
    assert f"fusedrnn: {name}: --data must be left out, for " in capsys.readouterr().err
    assert not Path("runs").exists()


BAD = [
    (["iris", "--steps", "0"], "iris: --steps must be >= 1, got 0"),
    (["iris", "--held-out", "2"], r"iris: --held-out must be in [0.01, 0.99], got 2.0"),
    (["sine", "--samples", "5"], "sine: --samples must be >= 12, got 5"),
    (["sine", "--window", "0"], "sine: --window must be >= 1, got 0"),
    (["binary", "--gap", "0"], "binary: --gap must be >= 1, got 0"),
    (["binary", "--bits", "10"], "binary: --bits must be >= 2000, got 10"),
    (["mnist", "--batch", "0"], "mnist: --batch must be >= 1, got 0"),
    (["mnist", "--data", "nowhere"], "nowhere"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_options_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs").exists()


def test_softmax_regression_knows_the_irises() -> None:
    need("iris")
    final = run("run", "iris")
    assert final["right"] >= 29 and final["rows"] == 30 and final["accuracy"] == final["right"] / 30


@pytest.mark.parametrize(("flags", "limit"), [([], 0.01), (["--as-meant"], 0.03)])
def test_the_sine_goes_on(flags: list[str], limit: float) -> None:
    assert run("run", "sine", *flags)["rmse"] <= limit


def joined(weights: dict[str, np.ndarray], layer: int) -> np.ndarray:
    """The kernel (I + H, G·H) that TensorFlow 1's cell would have."""
    return np.concatenate([weights[f"rnn.weight_{part}_l{layer}"].T for part in ("ih", "hh")])


@pytest.mark.parametrize(("as_meant", "features"), [(False, 10), (True, 1)])
def test_the_sine_starts_as_the_cells_of_the_document_do(as_meant: bool, features: int) -> None:
    model, _, _ = sine.make(sine.Settings(as_meant=as_meant), 0)
    weights = model.state_dict()
    for layer, inputs in enumerate((features, 30)):
        kernel = joined(weights, layer)
        assert kernel.shape == (inputs + 30, 120)
        assert_uniform(kernel, math.sqrt(6 / (inputs + 30 + 120)))
        bias = np.zeros((4, 30))
        bias[1] = 1.0  # of the forget gate
        assert weights[f"rnn.bias_ih_l{layer}"].tolist() == bias.ravel().tolist()
        assert not weights[f"rnn.bias_hh_l{layer}"].any()


def test_the_rnn_of_the_bits_starts_as_that_of_the_document_does() -> None:
    kernels = []
    for seed in range(40):
        weights = binary.make(binary.Settings(), seed)[0].state_dict()
        kernels.append(joined(weights, 0))
        assert not weights["rnn.bias_ih_l0"].any() and not weights["rnn.bias_hh_l0"].any()
    assert kernels[0].shape == (2 + 6, 6)
    assert_uniform(np.stack(kernels, axis=1), math.sqrt(6 / (2 + 6 + 6)))


def assert_uniform(kernel: np.ndarray, limit: float) -> None:
    """Every row, those that meet the state too, has the spread of a uniform draw from ±limit."""
    assert np.abs(kernel).max() <= limit
    for row in kernel.reshape(len(kernel), -1):
        assert np.abs(row).max() > 0.9 * limit
        assert row.std() == pytest.approx(limit / math.sqrt(3), rel=0.2)


def test_windows_are_those_of_the_document() -> None:
    x, y = sine.windows(0.0, 100.0, 10000, 10)
    values = np.sin(np.linspace(0, 100, 10000, dtype=np.float32))
    assert x.shape == (9989, 10) and y.shape == (9989, 1)
    for n in (0, 5000, 9988):
        assert np.array_equal(x[n], values[n : n + 10]) and y[n, 0] == values[n + 10]


def test_the_rule_in_the_bits_is_found() -> None:
    final = run("run", "binary")
    assert abs(final["loss"] - 0.34657) < 0.005 and abs(final["accuracy"] - 0.75) < 0.005


def test_the_rule_is_out_of_reach() -> None:
    final = run("run", "binary", "--gap", "12")
    assert abs(final["loss"] - 0.69315) < 0.005


@pytest.mark.parametrize("gap", [1, 2, 12])
def test_the_drive_decides_half_of_the_bits(gap: int) -> None:
    drive, y = binary.generate(100000, gap, np.random.default_rng(gap))
    t = np.arange(gap + 1, 100000)
    decided = drive[t - gap] == drive[t - gap - 1]
    assert abs(decided.mean() - 0.5) < 0.01
    assert (y[t][decided] == 1 - drive[t - gap][decided]).all()
    assert abs((y[t][~decided] == drive[t - gap][~decided]).mean() - 0.5) < 0.01


def test_digits_are_read() -> None:
    need("mnist")
    assert run("run", "mnist")["accuracy"] > 0.85


def test_pictures_come_from_idx_files() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60, dtype=np.uint8)
    images = generator.integers(0, 100, (60, 5, 4), dtype=np.uint8)
    images[np.arange(60), :, labels] = 255  # the column that is bright is the class
    folder = Path("pictures")
    folder.mkdir()
    header = struct.pack(">IIII", 2051, 60, 5, 4), struct.pack(">II", 2049, 60)
    for name, head, body in (("images-idx3", header[0], images), ("labels-idx1", header[1], labels)):
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + body.tobytes()))
    final = run("run", "mnist", "--data", "pictures", "--hidden", "16", "--batch", "8", "--steps", "300")
    assert final["accuracy"] > 0.9
    # The same pictures as a test part: then they are what is held out.
    for file in sorted(folder.iterdir()):
        Path(folder, file.name.replace("train", "t10k")).write_bytes(file.read_bytes())
    final = run("run", "mnist", "--data", "pictures", "--hidden", "16", "--batch", "8", "--steps", "300", out="both")
    assert (final["accuracy"] * 60) == pytest.approx(round(final["accuracy"] * 60)) and final["accuracy"] > 0.9
    body = gzip.compress(header[1] + (labels + 7).tobytes())
    Path(folder, "t10k-labels-idx1-ubyte.gz").write_bytes(body)
    assert main(["run", "mnist", "--data", "pictures", "--out", "unknown"]) == 2
    assert not Path("unknown").exists()
    config = json.loads(Path("run/config.json").read_text())
    assert config["raw"] is False
