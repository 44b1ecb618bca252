"""The language model against finite differences, a plain twin and PyTorch; perplexity; sampling."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr
from fusedrnn.models import LanguageModel, evaluate_perplexity, perplexity

FORMS: list[dict[str, Any]] = [
    {"cell": "lstm", "embed_size": 3, "num_layers": 2},
    {"cell": "lstm", "embed_size": 3, "num_layers": 2, "dropout": 0.4},
    {"cell": "gru", "embed_size": None, "num_layers": 1, "dropout": 0.4},
    {"cell": "rnn", "embed_size": None, "num_layers": 2},
    {"cell": "rnn", "embed_size": 4, "num_layers": 1, "one_bias": True},
]
V, H, T, B = 7, 4, 5, 3


def form_name(form: dict[str, Any]) -> str:
    return "-".join(str(value) for value in form.values())


def build(form: dict[str, Any], dtype: str = "float64") -> LanguageModel:
    """A model with random values everywhere, biases too (but the one that stays zero)."""
    model = LanguageModel(V, H, **form, seed=3, dtype=dtype)
    generator = np.random.default_rng(8)
    with model.writable() as parameters:
        for name, value in parameters.items():
            if name not in model.frozen:
                value[...] = generator.normal(0, 0.6, value.shape)
    return model


def random_batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, V, (T, B)).astype(np.int32), generator.integers(0, V, (T, B)).astype(np.int32)


def random_state(model: LanguageModel) -> Any:
    generator = np.random.default_rng(5)
    h, c = generator.normal(0, 0.5, (2, model.num_layers, B, H)).astype(model.output.dtype)
    return (h, c) if model.cell == "lstm" else h


def parts(state: Any) -> list[np.ndarray]:
    return [state] if isinstance(state, np.ndarray) else list(state)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_gradients_are_those_of_finite_differences(form: dict[str, Any]) -> None:
    model = build(form)
    ids, targets = random_batch()
    state = random_state(model)

    def loss() -> float:
        return model.forward(ids, targets, state, step=9, row_offset=2, reduction="sum_over_steps")[0]

    _, _, saved = model.forward(ids, targets, state, step=9, row_offset=2, reduction="sum_over_steps")
    grads = model.backward(saved, 0.7)
    assert set(grads) == set(model.state_dict()) - set(model.frozen)
    generator = np.random.default_rng(1)
    for name, gradient in grads.items():
        assert gradient.dtype == np.float64
        direction = generator.normal(size=gradient.shape)
        step = 1e-5
        original = model.parameters()[name].copy()
        losses = []
        for sign in (1, -1):
            with model.writable() as parameters:
                parameters[name][...] = original + sign * step * direction
            losses.append(loss())
        with model.writable() as parameters:
            parameters[name][...] = original
        expected = 0.7 * (losses[0] - losses[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_windows_with_carried_state_are_one_long_text(form: dict[str, Any]) -> None:
    model = build(form)
    ids, targets = random_batch()
    whole, state = model(ids, random_state(model))
    first, middle = model(ids[:2], random_state(model))
    second, last = model(ids[2:], middle)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12, atol=1e-13)
    for a, b in zip(parts(last), parts(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    loss, after, _ = model.forward(ids, targets, random_state(model), training=False)
    shifted = whole - whole.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    assert loss == pytest.approx(-np.take_along_axis(log_p, targets[..., None], -1).mean(), rel=1e-12)
    for a, b in zip(parts(after), parts(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_reductions_differ_by_the_number_of_steps() -> None:
    model = build(FORMS[0])
    ids, targets = random_batch()
    results = {}
    for reduction in ("mean", "sum_over_steps"):
        loss, _, saved = model.forward(ids, targets, reduction=reduction)
        results[reduction] = loss, model.backward(saved)
    assert results["sum_over_steps"][0] == pytest.approx(T * results["mean"][0], rel=1e-14)
    for name, gradient in results["mean"][1].items():
        np.testing.assert_allclose(results["sum_over_steps"][1][name], T * gradient, rtol=1e-12, atol=1e-15)


def test_one_hot_is_an_identity_embedding() -> None:
    one_hot = build({"cell": "gru", "embed_size": None})
    embedded = LanguageModel(V, H, cell="gru", embed_size=V, dtype="float64", seed=0)
    embedded.load_state_dict(one_hot.state_dict() | {"embedding.weight": np.eye(V)})
    ids, targets = random_batch()
    state = random_state(one_hot)
    results = []
    for model in (one_hot, embedded):
        loss, _, saved = model.forward(ids, targets, state)
        results.append((loss, model.backward(saved)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-13)
    for name, gradient in results[0][1].items():
        np.testing.assert_allclose(gradient, results[1][1][name], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("form", FORMS[:1] + FORMS[2:4], ids=form_name)
def test_loss_and_gradients_are_pytorchs(form: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the outside oracle")
    model = build({**form, "dropout": 0.0})
    ids, targets = random_batch()
    weights = {name: torch.from_numpy(value).requires_grad_() for name, value in model.state_dict().items()}
    inputs = form["embed_size"] or V
    rnn = getattr(torch.nn, form["cell"].upper())(inputs, H, form["num_layers"], dtype=torch.float64)
    long_ids = torch.from_numpy(ids.astype(np.int64))
    if form["embed_size"] is None:
        x = torch.nn.functional.one_hot(long_ids, V).double()
    else:
        x = weights["embedding.weight"][long_ids]
    state = tuple(torch.from_numpy(part) for part in parts(random_state(model)))
    own = {name.removeprefix("rnn."): value for name, value in weights.items() if name.startswith("rnn.")}
    y, _ = torch.func.functional_call(rnn, own, (x, state if len(state) == 2 else state[0]))
    logits = y @ weights["output.weight"].T + weights["output.bias"]
    flat_targets = torch.from_numpy(targets.astype(np.int64)).reshape(-1)
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, V), flat_targets)
    expected.backward()

    loss, _, saved = model.forward(ids, targets, random_state(model))
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for name, gradient in model.backward(saved).items():
        np.testing.assert_allclose(gradient, weights[name].grad.numpy(), rtol=1e-9, atol=1e-13, err_msg=name)


def test_dropout_follows_from_seed_step_and_row() -> None:
    model = build(FORMS[1])
    ids, targets = random_batch()

    def loss(**options: Any) -> float:
        return model.forward(ids, targets, **options)[0]

    assert loss(step=4) == loss(step=4)
    assert loss(step=4) != loss(step=5) != loss(step=5, row_offset=1)
    assert loss(training=False) == loss(training=False, step=5)
    other = LanguageModel(V, H, **FORMS[1], seed=4, dtype="float64")
    other.load_state_dict(model.state_dict())
    assert other.forward(ids, targets, step=4)[0] != loss(step=4)
    # Halves of a batch draw the rows of the whole.
    halves = [model.forward(ids[:, part], targets[:, part], step=4, row_offset=part.start)[0] * (part.stop - part.start)
              for part in (slice(0, 1), slice(1, 3))]  # fmt: skip
    assert sum(halves) / B == pytest.approx(loss(step=4), rel=1e-12)


def test_seed_decides_everything_and_parts_differ() -> None:
    first, again, other = (LanguageModel(20, 8, embed_size=8, seed=seed).state_dict() for seed in (1, 1, 2))
    for name, value in first.items():
        assert (value == again[name]).all() and (value != other[name]).any()
    assert not np.isin(first["output.weight"], first["rnn.weight_hh_l0"]).any()
    assert LanguageModel(20, 8).seed != LanguageModel(20, 8).seed


def test_one_bias() -> None:
    model = LanguageModel(V, H, num_layers=2, one_bias=True, forget_bias=1.0, seed=1)
    assert model.frozen == ("rnn.bias_hh_l0", "rnn.bias_hh_l1")
    for name in model.frozen:
        assert not model.parameters()[name].any()
    assert (model.parameters()["rnn.bias_ih_l0"][H : 2 * H] == 1).all()
    assert LanguageModel(V, H, seed=1).frozen == ()


def test_config_survives_json_and_gives_the_same_masks() -> None:
    for form in FORMS:
        model = build(form)
        twin = LanguageModel.from_config(json.loads(json.dumps(model.config())))
        twin.load_state_dict(model.state_dict())
        ids, targets = random_batch()
        assert twin.forward(ids, targets, step=3)[0] == model.forward(ids, targets, step=3)[0]
        assert twin.frozen == model.frozen
    with pytest.raises(ValueError, match="missing cell"):
        LanguageModel.from_config({name: value for name, value in model.config().items() if name != "cell"})


def test_saved_serves_once_unless_retained() -> None:
    model = build(FORMS[1])
    ids, targets = random_batch()
    _, _, saved = model.forward(ids, targets)
    first = model.backward(saved, retain=True)
    second = model.backward(saved)
    for name, gradient in first.items():
        assert (gradient == second[name]).all()
    with pytest.raises(RuntimeError, match=r"LanguageModel\.backward"):
        model.backward(saved)


def test_model_refuses() -> None:
    for options, message in [
        ({"vocabulary_size": 0}, "vocabulary_size must be >= 1"),
        ({"cell": "elman"}, "cell must be one of"),
        ({"dropout": 1.5}, "dropout must be in"),
        ({"cell": "gru", "forget_bias": 1.0}, "forget_bias must be None"),
        ({"seed": -1}, "seed must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            LanguageModel(**({"vocabulary_size": V, "hidden_size": H} | options))
    model = build(FORMS[0])
    ids, targets = random_batch()
    with pytest.raises(TypeError, match="ids must be a numpy array of integers"):
        model.forward(ids.astype(float), targets)
    with pytest.raises(ValueError, match=r"ids must have shape \(T, B\)"):
        model(ids[0])
    with pytest.raises(ValueError, match=r"targets must have shape \(T, B\) = \(5, 3\), got \(4, 3\)"):
        model.forward(ids, targets[:4])
    with pytest.raises(ValueError, match="reduction must be one of"):
        model.forward(ids, targets, reduction="sum")
    for form in FORMS[:3:2]:
        with pytest.raises(ValueError, match=rf"\[0, {V}\)|= \[0, {V}\)"):
            build(form)(ids + V)
        with pytest.raises(ValueError, match=rf"\[0, {V}\)|= \[0, {V}\)"):
            build(form).forward(ids, targets + V)


# Sampling


def test_greedy_text_is_the_argmax_of_the_whole_text() -> None:
    model = build(FORMS[0])
    prompt = np.array([2, 5, 1])
    chosen = model.sample(prompt, 12, greedy=True)
    logits, _ = model(np.concatenate([prompt, chosen])[:, None])
    assert chosen.tolist() == logits[2:-1, 0].argmax(axis=-1).tolist()


def test_sampling_draws_from_the_softmax() -> None:
    model = build(FORMS[4])
    prompt = np.array([3])
    logits = model(prompt[:, None])[0][0, 0]
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        generator = np.random.default_rng(0)
        drawn = [int(model.sample(prompt, 1, temperature=temperature, generator=generator)[0]) for _ in range(4000)]
        counts = np.bincount(drawn, minlength=V)
        chi_squared = ((counts - 4000 * expected) ** 2 / (4000 * expected)).sum()
        assert chi_squared < 22.5  # 6 degrees of freedom: one draw in a thousand is beyond


def test_sampling_is_repeatable_and_robust() -> None:
    model = build(FORMS[0], "float32")
    prompt = np.array([2, 5], dtype=np.int32)

    def text(seed: int, **options: Any) -> list[int]:
        return model.sample(prompt, 30, generator=np.random.default_rng(seed), **options).tolist()

    assert text(1) == text(1) != text(2)
    assert text(1, temperature=1e-300) == model.sample(prompt, 30, greedy=True).tolist()
    assert text(3, temperature=math.inf) == text(3, temperature=1e300)
    assert len(set(text(3, temperature=math.inf))) == V
    assert model.sample(prompt, 0, greedy=True).shape == (0,)
    with pytest.raises(TypeError, match="generator must be"):
        model.sample(prompt, 3)
    with pytest.raises(ValueError, match=r"shape \(N,\), N >= 1"):
        model.sample(np.array([], dtype=int), 3, greedy=True)
    with pytest.raises(ValueError, match="temperature must be in"):
        text(1, temperature=0.0)
    with model.writable() as parameters:
        parameters["output.bias"][2] = np.inf
    with pytest.raises(ValueError, match="logits must be finite"):
        text(1)


# Perplexity


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_every_token_but_the_first_is_predicted_once(form: dict[str, Any]) -> None:
    model = build(form)
    ids = np.random.default_rng(2).integers(0, V, 41)
    logits, _ = model(ids[:-1, None])
    shifted = logits[:, 0] - logits[:, 0].max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    expected = math.exp(-log_p[np.arange(40), ids[1:]].mean())
    for steps in (1, 7, 40, 1000):
        assert evaluate_perplexity(model, ids, steps=steps) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [2, 3, 7, 40, 1000])
def test_stretches_side_by_side_are_the_stretches_alone(rows: int) -> None:
    model = build(FORMS[0])
    ids = np.random.default_rng(2).integers(0, V, 39)
    length = -(-38 // min(rows, 38))
    nats = 0.0
    for start in range(0, 38, length):
        stretch = ids[start : start + length + 1]
        nats += math.log(evaluate_perplexity(model, stretch)) * (len(stretch) - 1)
    assert evaluate_perplexity(model, ids, batch_size=rows, steps=4) == pytest.approx(math.exp(nats / 38), rel=1e-12)


def test_perplexity_of_known_models() -> None:
    assert perplexity(0.0) == 1.0 and perplexity(math.log(12)) == pytest.approx(12) and perplexity(1e5) == math.inf
    model = build(FORMS[0])
    with model.writable() as parameters:
        parameters["output.weight"][...] = 0
        parameters["output.bias"][...] = [1e4] + [0] * (V - 1)
    assert evaluate_perplexity(model, np.zeros(9, dtype=int)) == 1.0
    assert evaluate_perplexity(model, np.ones(9, dtype=int)) == math.inf


def test_perplexity_refuses() -> None:
    model = build(FORMS[0])
    with pytest.raises(ValueError, match=r"N >= 2, got \(1,\)"):
        evaluate_perplexity(model, np.array([1]))
    with pytest.raises(TypeError, match="array of integers"):
        evaluate_perplexity(model, np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="steps must be >= 1"):
        evaluate_perplexity(model, np.array([1, 2]), steps=0)


@pytest.mark.parametrize("inputs", ["none", "linear", "embedding"])
@pytest.mark.parametrize("read", ["all", "final", "mean"])
def test_a_model_whose_input_is_data_saves_a_product(inputs: str, read: str) -> None:
    generator = np.random.default_rng(3)
    x = generator.integers(0, 9, (6, 4)) if inputs == "embedding" else generator.normal(size=(6, 4, 5))
    below = {
        "none": None,
        "linear": fr.nn.Linear(5, 3, dtype="float64", seed=0),
        "embedding": fr.nn.Embedding(9, 3, dtype="float64", seed=0),
    }[inputs]
    model = fr.models.SequenceModel(
        fr.GRU(5 if below is None else 3, 7, dtype="float64", seed=1),
        fr.nn.Linear(7, 2, dtype="float64", seed=2),
        below,
        read=read,
    )
    out, _, saved = model.forward(x)
    dout = generator.normal(size=out.shape)
    dx, grads = model.backward(saved, dout, retain=True)
    without, same = model.backward(saved, dout, need_dx=False)
    assert without is None
    assert (dx is None) == (inputs == "embedding")
    assert same.keys() == grads.keys()
    assert all(np.array_equal(same[name], grads[name]) for name in grads)
