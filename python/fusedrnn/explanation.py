"""What ``explain`` of a recurrent layer says: what would run for an x of some shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fusedrnn import checks
from fusedrnn.backends import PackedLayer

MAX_EXPLAINED = 2**31 - 1  # steps or rows


def steps_and_rows(where: str, x_shape: Any, input_size: int, batch_first: bool) -> tuple[int, int]:
    """T and B of a shape of x in the caller's axes."""
    if not isinstance(x_shape, (tuple, list)):
        raise TypeError(f"{where}: x_shape must be a tuple of integers, got {checks.describe(x_shape)}")
    sizes = tuple(
        checks.integer(where, f"x_shape[{axis}]", size, 0, MAX_EXPLAINED) for axis, size in enumerate(x_shape)
    )
    if len(sizes) not in (2, 3) or sizes[-1] != input_size:
        raise ValueError(
            f"{where}: x_shape must have 3 axes, or 2 unbatched, the last I = input_size = {input_size}, got {sizes}"
        )
    if len(sizes) == 2:
        return sizes[0], 1
    return (sizes[1], sizes[0]) if batch_first else (sizes[0], sizes[1])


def plans(
    packs: Sequence[PackedLayer], kind: str, steps: int, rows: int, *, bidirectional: bool, training: bool
) -> Iterator[str]:
    """A line for each layer, given its packed weights of one direction, and lines on what all have in common.

    `kind` is cell and dtype, in words.
    """

    def plan(pack: PackedLayer, backward: bool) -> str:
        half = pack.plan_of_half(steps, rows, backward) if bidirectional else None
        if half is not None:
            return f"directions side by side, each {half}"
        whole = pack.plan(steps, rows, backward)
        return f"directions one after the other, each {whole}" if bidirectional else whole

    for layer, pack in enumerate(packs):
        passes = [f"forward: {plan(pack, False)}"] + ([f"backward: {plan(pack, True)}"] if training else [])
        yield f"layer {layer}: {kind}, {'; '.join(passes)}"
    yield "copies: x where its last axis is not contiguous or its memory not aligned; states likewise"
    if training:
        yield "copies: y, since backward reads the layer's own"
