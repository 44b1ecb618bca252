"""What the cost model of the CUDA backend chooses, on the emulated device with as many multiprocessors as an H200."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fusedrnn as fr

pytestmark = pytest.mark.gpu


@pytest.fixture
def large(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.__version__ != "emulated":
        pytest.skip("the plans are those of a device of a known size, which the emulated one has")
    monkeypatch.setenv("FUSEDRNN_EMULATED_MULTIPROCESSORS", "132")


def explained(hidden: int, rows: int, dtype: str = "float32", *, steps: int = 100, **more: Any) -> str:
    layer = fr.LSTM(hidden, hidden, dtype=dtype, device="cuda", seed=0, **more)
    return layer.explain((steps, rows, hidden), training=True)


def plans(text: str) -> list[str]:
    """The tiers of a layer, forward and then backward."""
    return re.findall(r"tier (\w+)", text)


@pytest.mark.parametrize(
    ("hidden", "rows", "dtype", "tier"),
    [
        (32, 1, "float32", "solo"),
        (64, 16, "bfloat16", "solo"),
        (256, 1, "bfloat16", "cluster"),
        (128, 32, "float32", "cluster"),
        (512, 32, "float32", "grid"),
        (1024, 16, "bfloat16", "grid"),
        (4096, 64, "float32", "step"),
        (2048, 16, "float64", "step"),
    ],
)
@pytest.mark.usefixtures("large")
def test_the_tier_follows_from_the_size(hidden: int, rows: int, dtype: str, tier: str) -> None:
    assert plans(explained(hidden, rows, dtype)) == [tier, tier]


@pytest.mark.usefixtures("large")
def test_small_layers_are_not_cut_where_rows_are_many() -> None:
    few, many = explained(96, 1), explained(96, 4096)
    blocks = [int(re.search(r"groups? of (\d+) blocks?", text)[1]) for text in (few, many)]
    assert blocks[0] > blocks[1]


@pytest.mark.usefixtures("large")
def test_two_directions_share_the_device() -> None:
    """In tier grid all blocks of both are alive together."""
    text = explained(512, 16, bidirectional=True)
    found = re.findall(r"each tier grid, (\d+) groups? of (\d+) blocks?", text)
    assert found and all(2 * int(groups) * int(blocks) <= 132 for groups, blocks in found), text


@pytest.mark.usefixtures("large")
def test_two_directions_take_turns_where_each_has_use_for_the_device() -> None:
    text = explained(1024, 16, bidirectional=True)
    assert "directions one after the other, each tier grid" in text, text


@pytest.mark.parametrize("tier", ["solo", "cluster", "grid"])
@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.usefixtures("large")
def test_groups_cover_the_rows(monkeypatch: pytest.MonkeyPatch, tier: str, rows: int) -> None:
    monkeypatch.setenv("FUSEDRNN_TIER", tier)
    found = re.findall(r"(\d+) groups? of (\d+) blocks? with (\d+) units?, (\d+) rows? a group", explained(64, rows))
    assert len(found) == 2
    for groups, blocks, units, group_rows in (map(int, numbers) for numbers in found):
        assert (groups - 1) * group_rows < rows <= groups * group_rows
        assert blocks * units >= 64
        assert (tier == "solo") == (blocks == 1) or tier == "grid"


@pytest.mark.usefixtures("large")
def test_tf32_is_told() -> None:
    assert "tensor cores" in explained(256, 32, precision="tf32")
    assert "tensor cores" in explained(256, 32, "bfloat16")
    assert "tensor cores" not in explained(256, 32)
    assert np.dtype("float32") == fr.LSTM(2, 2, precision="tf32", device="cuda", seed=0).dtype
