"""What ``explain`` of a recurrent layer says: what would run for an x of some shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fusedrnn import checks
from fusedrnn.backends import PackedLayer

MAX_EXPLAINED = 2**31 - 1  # steps or rows


def steps_and_rows(where: str, x_shape: Any, input_size: int, batch_first: bool, ids: bool) -> tuple[int, int]:
    """T and B of a shape of x, or of the ids of a `OneHot`, in the caller's axes."""
    if not isinstance(x_shape, (tuple, list)):
        raise TypeError(f"{where}: x_shape must be a tuple of integers, got {checks.describe(x_shape)}")
    sizes = tuple(
        checks.integer(where, f"x_shape[{axis}]", size, 0, MAX_EXPLAINED) for axis, size in enumerate(x_shape)
    )
    if ids:
        if len(sizes) not in (1, 2):
            raise ValueError(f"{where}: x_shape must have 2 axes, or 1 unbatched, with ids=True, got {sizes}")
        outer = sizes
    else:
        if len(sizes) not in (2, 3) or sizes[-1] != input_size:
            rule = f"3 axes, or 2 unbatched, the last I = input_size = {input_size}"
            raise ValueError(f"{where}: x_shape must have {rule}, got {sizes}")
        outer = sizes[:-1]
    if len(outer) == 1:
        return outer[0], 1
    return (outer[1], outer[0]) if batch_first else (outer[0], outer[1])


def plans(
    packs: Sequence[PackedLayer],
    kind: str,
    steps: int,
    rows: int,
    *,
    ids: bool,
    bidirectional: bool,
    dropout: bool,
    training: bool,
) -> Iterator[str]:
    """A line for each layer, given its packed weights of one direction, and lines on what all have in common.

    `kind` is cell and dtype, in words; the first layer is given x, or `ids`; with `dropout` something comes between the
    layers in training.
    """
    passes = ["forward", "backward"] if training else ["forward"]
    alone = len(packs) == 1 or bidirectional or (dropout and training)
    waves = {
        name: [None] * len(packs) if alone else packs[0].plans_of_wave(packs, steps, rows, ids, name == "backward")
        for name in passes
    }

    def plan(layer: int, name: str) -> str:
        if waves[name][layer] is not None:
            return f"layers as a wavefront, each {waves[name][layer]}"
        pack, call = packs[layer], (steps, rows, ids and layer == 0, name == "backward")
        half = pack.plan_of_half(*call) if bidirectional else None
        if half is not None:
            return f"directions side by side, each {half}"
        whole = pack.plan(*call)
        return f"directions one after the other, each {whole}" if bidirectional else whole

    for layer in range(len(packs)):
        yield f"layer {layer}: {kind}, {'; '.join(f'{name}: {plan(layer, name)}' for name in passes)}"
    if ids:
        yield "copies: ids that are not int64, or not C-contiguous or aligned; states likewise"
    else:
        yield "copies: x where its last axis is not contiguous or its memory not aligned; states likewise"
    if training:
        yield "copies: y, since backward reads the layer's own"
