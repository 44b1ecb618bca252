"""What the cost model chooses, as `explain` tells it: for sizes whose best plan is known from measurements."""

from __future__ import annotations

import pytest

import fusedrnn as fr
from fusedrnn import _core

pytestmark = pytest.mark.skipif(_core.isa() == "scalar", reason="these sizes are large or small for vectors")


@pytest.fixture(params=[2, 8])
def threads(request):
    before = fr.get_num_threads()
    fr.set_num_threads(request.param)
    yield request.param
    fr.set_num_threads(before)


def forward_plan(layer, T, B):
    first = layer.explain((T, B, layer.input_size)).splitlines()[1]
    return first.split("forward: ")[1]


def backward_chunk(layer, T, B):
    text = layer.explain((T, B, layer.input_size), training=True).splitlines()[1]
    return int(text.split("; backward: ")[1].split("chunks of ")[1].split()[0])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("T", "B", "I", "H"), [(1, 1, 1, 1), (5, 3, 4, 6), (10, 1, 8, 16), (0, 5, 8, 16), (8, 0, 8, 16)]
)
def test_little_work_wakes_nobody(T, B, I, H):
    assert forward_plan(fr.LSTM(I, H), T, B).startswith("1 thread")


@pytest.mark.parametrize("layer", [fr.LSTM(128, 128), fr.GRU(300, 128), fr.RNN(64, 256)], ids=repr)
def test_many_rows_and_weights_that_stay_near_split_rows(threads, layer):
    assert forward_plan(layer, 28, 128).startswith(f"{threads} threads by rows")


@pytest.mark.parametrize("layer", [fr.LSTM(256, 256), fr.GRU(1024, 1024), fr.LSTM(512, 512)], ids=repr)
def test_a_single_row_splits_units(threads, layer):
    assert forward_plan(layer, 100, 1).startswith(f"{threads} threads by units")


def test_few_rows_of_weights_that_do_not_stay_near_split_units(threads):
    assert forward_plan(fr.LSTM(1024, 1024), 50, 16).startswith(f"{threads} threads by units")


def test_groups_of_units_that_are_left_over_are_shared_by_rows(threads):
    by_units = f"{threads} threads by units"
    assert forward_plan(fr.LSTM(648, 648), 35, 20).startswith(f"{by_units}, those left over by rows, chunks")
    assert forward_plan(fr.LSTM(648, 648), 35, 6).startswith(f"{by_units}, chunks")  # too few to share
    assert forward_plan(fr.LSTM(640, 640), 35, 20).startswith(f"{by_units}, chunks")  # none is left over


@pytest.mark.usefixtures("threads")
def test_a_chunk_of_backward_has_gate_gradients_that_stay_near_or_spares_large_weight_gradients():
    assert backward_chunk(fr.LSTM(128, 128), 28, 128) == 2
    assert backward_chunk(fr.LSTM(512, 512), 50, 64) == 4
    assert backward_chunk(fr.LSTM(650, 650), 35, 20) == 35
    assert backward_chunk(fr.LSTM(1024, 1024), 50, 16) == 50
    assert backward_chunk(fr.LSTM(1024, 1024), 5000, 16) == 64  # 16 MB
    assert backward_chunk(fr.RNN(1024, 1024), 5000, 16) == 72  # 1152 rows
    assert backward_chunk(fr.LSTM(2048, 2048), 5000, 4) == 85  # a quarter of a second


@pytest.mark.usefixtures("threads")
def test_a_few_rows_more_than_a_chunk_are_one():
    assert backward_chunk(fr.LSTM(1, 30), 10, 32) == 10
    assert backward_chunk(fr.LSTM(1, 30), 12, 32) == 12
    assert backward_chunk(fr.LSTM(1, 30), 13, 32) == 8


def test_few_units_of_many_rows_put_rows_in_lanes(threads):
    assert forward_plan(fr.LSTM(2, 5), 5, 2000).startswith(f"{threads} threads by rows, rows in lanes")
    assert "lanes" not in forward_plan(fr.LSTM(2, 5), 5, 1)  # a block of rows would be empty but for one
    assert "lanes" not in forward_plan(fr.LSTM(2, 64), 5, 2000)


def test_directions_share_the_threads_out_where_a_barrier_would_cost_more(threads):
    layer = fr.GRU(64, 64, bidirectional=True)
    assert forward_plan(layer, 100, 1).startswith("directions side by side")
    fr.set_num_threads(1)
    assert forward_plan(layer, 100, 1).startswith("directions one after the other")


def test_layers_follow_each_other_where_a_barrier_would_cost_more():
    before = fr.get_num_threads()
    fr.set_num_threads(2)
    try:
        layer = fr.LSTM(16, 48, 3)
        plans = [line.split("forward: ")[1] for line in layer.explain((3000, 1, 16)).splitlines()[1:4]]
        assert [plan.startswith("layers as a wavefront") for plan in plans] == [True, True, False]  # two threads
        dropping = fr.LSTM(16, 48, 3, dropout=0.5)
        assert "wavefront" in dropping.explain((3000, 1, 16))  # nothing is dropped in a call for inference
        assert "wavefront" not in dropping.explain((3000, 1, 16), training=True)
        assert "wavefront" not in fr.LSTM(16, 48, 3, bidirectional=True).explain((3000, 1, 16))
    finally:
        fr.set_num_threads(before)


def test_ids_are_planned_without_an_input_product():
    before = fr.get_num_threads()
    fr.set_num_threads(2)
    try:
        layer = fr.LSTM(4096, 16)
        assert "forward: 2 threads by rows" in layer.explain((2, 8, 4096))
        assert "forward: 1 thread," in layer.explain((2, 8), ids=True)
        both = fr.GRU(4096, 16, bidirectional=True)
        assert "forward: directions side by side" in both.explain((2, 8, 4096))
        assert "forward: directions one after the other, each 1 thread," in both.explain((2, 8), ids=True)
    finally:
        fr.set_num_threads(before)


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_as_many_layers_are_held_together_as_go_as_a_wavefront(ids, backward):
    before = fr.get_num_threads()
    fr.set_num_threads(2)
    try:
        layer = fr.LSTM(4096, 48, 3)  # with an input product the lowest layer would be too slow for the others
        packs = [layer._packed(k, 0) for k in range(3)]
        waves = [plan is not None for plan in packs[0].plans_of_wave(packs, 3000, 1, ids, backward)]
        # Two from where the call begins.
        assert waves == ([False, True, True] if backward else [ids, ids, False])
        assert packs[0].together(packs, 3000, 1, ids, backward) == (2 if any(waves) else 1)
        text = layer.explain((3000, 1) if ids else (3000, 1, 4096), training=True, ids=ids)
        passes = [line.split("; backward: ")[backward] for line in text.splitlines()[1:4]]
        assert ["wavefront" in words for words in passes] == waves
    finally:
        fr.set_num_threads(before)
