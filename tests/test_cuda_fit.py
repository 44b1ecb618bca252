"""Models trained on a GPU, or on the emulated one: the losses are the CPU's, and nothing is read that need not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr
from fusedrnn.cli import main
from fusedrnn.train.unread import MOST

pytestmark = pytest.mark.gpu

V = 7
TEXT = np.random.default_rng(0).integers(0, V, 200)


def language_model(device: str, **more: Any) -> fr.models.LanguageModel:
    settings: dict[str, Any] = {"embed_size": 5, "dtype": "float64", "seed": 1} | more
    return fr.models.LanguageModel(V, 6, **settings, device=device)


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records]


def train(device: str, out: Path, resume: bool = False, steps: int = 12, **more: Any) -> fr.models.LanguageModel:
    model = language_model(device, **more)
    folder = fr.train.RunFolder(out, {"system": "example"}, resume=resume)
    sampler = fr.data.ConsecutiveSampler(TEXT, batch_size=3, steps=8)
    optimizer = fr.optim.Adam(model, 0.02, groups=[fr.optim.Group(model.frozen, frozen=True)] if model.frozen else ())
    more_settings: dict[str, Any] = {"clip_norm": 0.5, "log_every": 3, "checkpoint_every": 5}
    fr.train.fit_language_model(model, optimizer, sampler, total_steps=steps, folder=folder, **more_settings)
    return model


@pytest.mark.parametrize(
    "more",
    [
        {"dropout": 0.3, "num_layers": 2},
        {"embed_size": None, "cell": "gru"},
        {"cell": "rnn", "one_bias": True, "dtype": "float32"},
    ],
    ids=str,
)
def test_a_language_model_learns_as_on_the_cpu(gpu: Any, tmp_path: Path, more: dict[str, Any]) -> None:
    here, there = train("cpu", tmp_path / "cpu", **more), train("cuda", tmp_path / "cuda", **more)
    limit = 1e-9 if here.dtype == np.float64 else 1e-4  # sums of products are made in another order
    np.testing.assert_allclose(losses(tmp_path / "cuda"), losses(tmp_path / "cpu"), rtol=limit)
    for name, value in here.state_dict().items():
        found = there.state_dict()[name]
        assert isinstance(found, gpu.ndarray)
        np.testing.assert_allclose(gpu.asnumpy(found), value, rtol=limit, atol=limit)


def test_a_run_goes_on_to_the_same_bits(gpu: Any, tmp_path: Path) -> None:
    whole = train("cuda", tmp_path / "whole", dropout=0.3)
    train("cuda", tmp_path / "parts", dropout=0.3, steps=7)
    parts = train("cuda", tmp_path / "parts", dropout=0.3, resume=True)
    for name, value in whole.state_dict().items():
        assert gpu.asnumpy(value).tobytes() == gpu.asnumpy(parts.state_dict()[name]).tobytes()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_checkpoint_is_read_on_either_device(gpu: Any, tmp_path: Path) -> None:
    model = train("cuda", tmp_path)
    here, there = (fr.train.load_language_model(tmp_path, device=device).model for device in ("cpu", "cuda"))
    assert (here.device, there.device) == ("cpu", "cuda")
    for name, value in model.state_dict().items():
        assert gpu.asnumpy(value).tobytes() == here.state_dict()[name].tobytes()
        assert gpu.asnumpy(value).tobytes() == gpu.asnumpy(there.state_dict()[name]).tobytes()


def test_sampling_and_perplexity(gpu: Any) -> None:
    here, there = language_model("cpu"), language_model("cuda")
    for settings in ({"greedy": True}, {"temperature": 0.7}):
        texts = [model.sample(TEXT[:3], 12, generator=np.random.default_rng(0), **settings) for model in (here, there)]
        assert isinstance(texts[1], np.ndarray)
        assert texts[0].tolist() == texts[1].tolist()
    for rows in (1, 3):
        found = fr.models.evaluate_perplexity(there, TEXT[:50], batch_size=rows, steps=7)
        assert found == pytest.approx(
            fr.models.evaluate_perplexity(here, TEXT[:50], batch_size=rows, steps=7), rel=1e-9
        )


def test_the_loss_stays_on_the_device(gpu: Any) -> None:
    model, ids = language_model("cuda"), gpu.asarray(TEXT[:12].reshape(4, 3))
    loss, state, saved = model.forward(ids, ids)
    assert isinstance(loss, gpu.ndarray)
    assert (loss.shape, loss.dtype.name) == ((), "float64")
    assert all(isinstance(value, gpu.ndarray) for value in [*state, *model.backward(saved).values()])
    with pytest.raises(
        TypeError, match=r"LanguageModel.forward: ids must be a cupy array of integers, got .* host mem"
    ):
        model.forward(TEXT[:12].reshape(4, 3), ids)


@pytest.mark.parametrize("read", ["all", "final", "last", "mean", "max"])
def test_a_sequence_model_learns_as_on_the_cpu(gpu: Any, read: str) -> None:
    rng = np.random.default_rng(3)
    x, y, lengths = rng.standard_normal((5, 4, 3)), rng.integers(0, 2, (5, 4) if read == "all" else 4), [5, 2, 1, 4]
    found = []
    for device in ("cpu", "cuda"):
        move = (lambda value: value) if device == "cpu" else gpu.asarray
        model = fr.models.SequenceModel(
            fr.LSTM(6, 4, bidirectional=True, dtype="float64", seed=0, device=device),
            fr.nn.Linear(8, 2, dtype="float64", seed=1, device=device),
            fr.nn.Linear(3, 6, dtype="float64", seed=2, device=device),
            read,
            fr.nn.Dropout(0.2, seed=3),
        )
        assert model.device == device
        loss, optimizer, values = fr.nn.SoftmaxCrossEntropy(), fr.optim.RMSprop(model, 0.01), []
        for step in range(4):
            out, _, saved = model.forward(move(x), lengths=lengths, step=step)
            value, saved_loss = loss.forward(out, move(y))
            dx, grads = model.backward(saved, loss.backward(saved_loss))
            optimizer.step(grads)
            values.append(float(value))
        out, _ = model(move(x), lengths=lengths)
        found.append([np.array(values), *(value if device == "cpu" else gpu.asnumpy(value) for value in (dx, out))])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


def test_parts_of_a_model_are_on_one_device(gpu: Any) -> None:
    with pytest.raises(ValueError, match="SequenceModel: output must be on the device of rnn, cuda, got cpu"):
        fr.models.SequenceModel(fr.RNN(3, 4, device="cuda"), fr.nn.Linear(4, 2))


# ---- what is read when -----------------------------------------------------------------------------------------------


def fit(gpu: Any, monkeypatch: pytest.MonkeyPatch, bad: int | None = None, **settings: Any) -> Any:
    """Train a linear map; the batch of step `bad` holds an infinity. Returns the model and the steps at each read."""
    linear, loss = fr.nn.Linear(2, 1, seed=0, device="cuda"), fr.nn.MeanSquaredError()
    steps, reads = [0], []
    backend = type(fr.backends.of_device("test", "cuda"))
    really = backend.read

    def read(self: Any, values: Any) -> list[float]:
        reads.append(steps[0])
        return really(self, values)

    monkeypatch.setattr(backend, "read", read)

    def compute(batch: Any, state: None, step: int) -> fr.train.Step:
        steps[0] = step + 1
        x = batch.x * np.inf if step == bad else batch.x
        out, saved = linear.forward(x)
        value, saved_loss = loss.forward(out, batch.y)
        _, grads = linear.backward(saved, loss.backward(saved_loss))
        return fr.train.Step(value, len(batch.x), grads, figures={"largest": out.max()})

    x = np.random.default_rng(0).standard_normal((40, 2)).astype("float32")
    sampler = fr.data.RowSampler({"x": x, "y": x[:, :1] * 2}, batch_size=4, seed=0)
    try:
        fr.train.fit(linear, fr.optim.Adam(linear, 0.1), sampler, compute, **settings)
    finally:
        for value in linear.parameters().values():
            assert np.isfinite(gpu.asnumpy(value)).all()
    return sorted(set(reads))


def test_losses_are_read_when_they_are_written(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[dict[str, Any]] = []
    reads = fit(gpu, monkeypatch, total_steps=28, log_every=8, on_log=records.append)
    assert reads == [8, 10, 16, 20, 24, 28]  # records, ends of epochs, the end
    assert all(isinstance(record["gradient_norm"], float) for record in records if record["event"] == "step")
    assert all(isinstance(record["largest"], float) for record in records if record["event"] == "step")


def test_losses_are_read_some_day(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 1000
    monkeypatch.setattr("fusedrnn.train.unread.MOST", 3)
    assert fit(gpu, monkeypatch, total_steps=9, log_every=100) == [3, 6, 9]


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = fr.train.RunFolder(tmp_path, {"system": "example"})
    with pytest.raises(ValueError, match=r"fit: the loss must be finite, got (nan|inf) in step 6; try a smaller"):
        fit(gpu, monkeypatch, bad=6, epochs=2, log_every=100, checkpoint_every=4, folder=folder)
    assert folder.load() is None
    tensors, meta = fr.train.checkpoint.load(folder.checkpoint_path)
    assert meta["position"]["step"] == 4
    assert all(np.isfinite(value).all() for value in tensors.values())


# ---- the command line ------------------------------------------------------------------------------------------------

RUNS = {
    "binary": ["--bits", "600", "--length", "60", "--epochs", "1"],
    "charlm": ["--characters", "300", "--hidden", "5", "--batch", "3", "--epochs", "2", "--show-every", "2"],
    "iris": ["--steps", "6"],
    "mnist": ["--hidden", "5", "--batch", "6", "--steps", "3", "--held-out", "0.99"],
    "rcnn": ["--data", "film.tsv", "--embed", "3", "--hidden", "2", "--filters", "2", "--batch", "8", "--epochs", "2"],
    "sine": ["--hidden", "4", "--samples", "60", "--test-samples", "30", "--steps", "4"],
    "textrnn": ["--published", "--loss", "nce", "--embed", "5", "--hidden", "4", "--epochs", "6", "--vocabulary", "9"],
}


@pytest.mark.parametrize("name", RUNS)
def test_a_system_runs_there(gpu: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ("iris", "mnist"):
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    Path("film.tsv").write_text("label\ttext\n" + "good\ta fine film\nbad\ta long dull film\n" * 20)
    finals = []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        assert main(["run", name, "--device", device, "--out", str(out), *RUNS[name]]) == 0
        assert json.loads((out / "config.json").read_text())["device"] == device
        finals.append(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1]))
    here, there = finals
    assert here.keys() == there.keys()
    for figure in ("loss", "perplexity", "rmse", "accuracy"):
        if figure in here:
            assert there[figure] == pytest.approx(here[figure], rel=1e-3)
