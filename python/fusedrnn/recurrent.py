"""What all recurrent layers share: parameters, packed weights, the stack of layers and directions.

The kernels compute one layer in one direction (`_core.pack(...).forward`, `.backward`). Here they are stacked. Inside,
everything is time-major; `sequences.Layout` translates at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fusedrnn import _core, checks, functional
from fusedrnn.backends import of_device
from fusedrnn.initializers import Initializer, initialise, resolve_recurrent
from fusedrnn.module import Module
from fusedrnn.random import MAX_SEED, MAX_SITE, check_coordinates, initial_generator
from fusedrnn.saved import Saved, expect
from fusedrnn.sequences import Batch, Layout, OneHot
from fusedrnn.settings import parameter_dtype
from fusedrnn.stepper import Stepper

MAX_SIZE = 2**24  # columns; the bytes of all weights of a layer fit 64 bits
MAX_EXPLAINED = 2**31 - 1  # steps or rows
State = Any  # h, or a tuple of arrays
Values = tuple[np.ndarray | None, ...]  # what a kernel keeps for its backward, see `Recurrent._new_values`


@dataclass(frozen=True)
class Cell:
    """A cell as the kernels know it: `name`, gates G, states S, values saved for backward K."""

    name: str
    gates: int
    states: int
    saved: int
    projects: bool
    one_gate_gradient: bool


@dataclass(frozen=True)
class _Kept:
    """What backward needs of one layer: its input (None: ids), its output, the kernel's values by direction.

    With ``segment > 0`` these are the states that enter segments of so many steps.
    """

    x: np.ndarray | None
    y: np.ndarray
    values: list[Values]
    segment: int


class _Dropout(NamedTuple):
    """Coordinates of the masks between layers; the site is the number of the layer below."""

    p: float
    seed: int
    step: int
    row_offset: int

    def apply(self, layer: int, value: np.ndarray) -> np.ndarray:
        return functional.dropout_forward(
            value, self.p, seed=self.seed, site=layer, step=self.step, row_offset=self.row_offset
        )


class Recurrent(Module):
    """Base of RNN, GRU and LSTM; see those."""

    state_type: ClassVar[Any] = None  # makes the state of a cell with several: state_type(h, c)

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        init: str | Initializer,
        dtype: Any,
        device: str,
        seed: int | None,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        self._cell = Cell(cell, **_core.cells()[cell])
        self._packs: dict[tuple[int, int], Any] = {}
        self._weights_changed = _core.Flag()
        self.input_size = checks.integer(where, "input_size", input_size, 1, MAX_SIZE)
        self.hidden_size = checks.integer(where, "hidden_size", hidden_size, 1, MAX_SIZE)
        self.num_layers = checks.integer(where, "num_layers", num_layers, 1, MAX_SITE + 2)
        self.bias = checks.boolean(where, "bias", bias)
        self.batch_first = checks.boolean(where, "batch_first", batch_first)
        self.dropout = checks.real(where, "dropout", dropout, 0.0, 1.0)
        self.bidirectional = checks.boolean(where, "bidirectional", bidirectional)
        self.proj_size = checks.integer(where, "proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"{where}: proj_size must be smaller than hidden_size = {self.hidden_size}, got {self.proj_size}"
            )
        self._backend = of_device(where, device)
        self.device = self._backend.name
        self.dtype = parameter_dtype(where, dtype, self._backend.dtypes)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        self.seed = checks.integer(where, "seed", seed, 0, MAX_SEED)
        self._initialise(where, init)

    def __repr__(self) -> str:
        settings = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "proj_size": (self.proj_size, 0),
            "dtype": (self.dtype.name, "float32"),
        }
        words = [str(self.input_size), str(self.hidden_size)]
        words += [f"{name}={value!r}" for name, (value, usual) in settings.items() if value != usual]
        return f"{type(self).__name__}({', '.join(words)})"

    # Parameters

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        """Columns of one direction's output, P."""
        return self.proj_size or self.hidden_size

    def _input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self._directions * self._output_size

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Shapes of one layer and direction by PyTorch's prefixes, in its order."""
        gates = self._cell.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (gates, self._input_size(layer)),
            "weight_hh": (gates, self._output_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    def _names(self, layer: int, direction: int) -> dict[str, str]:
        """The names of one layer and direction by prefix."""
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        return {prefix: prefix + suffix for prefix in self._shapes(layer)}

    def _initialise(self, where: str, init: str | Initializer) -> None:
        draw = resolve_recurrent(init, self.hidden_size, where=where)
        generator = initial_generator(self.seed)
        for layer in range(self.num_layers):
            for direction in range(self._directions):
                names = self._names(layer, direction)
                for prefix, shape in self._shapes(layer).items():
                    value = initialise(draw, names[prefix], shape, generator, self.dtype, where=where)
                    self._add_parameter(names[prefix], self._backend.own(value))

    # Packed weights: made when first used, dropped when the weights change. A dict is only ever added to, so threads
    # that race at worst pack twice; while a `writable` block is open nothing is kept.

    def _changed(self) -> None:
        self._packs = {}
        self._weights_changed.set()  # steppers look at it
        self._weights_changed = _core.Flag()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_packs": {}, "_weights_changed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.dtype = np.dtype(self.dtype.type)  # a copied dtype is equal, but another object
        self._weights_changed = _core.Flag()

    def _packed(self, layer: int, direction: int) -> Any:
        packs, fresh = self._packs, self._writers > 0
        pack = None if fresh else packs.get((layer, direction))
        if pack is None:
            weights = {prefix: self._parameters[name] for prefix, name in self._names(layer, direction).items()}
            pack = self._backend.pack(
                self._cell.name,
                weights["weight_ih"],
                weights["weight_hh"],
                weights.get("bias_ih"),
                weights.get("bias_hh"),
                weights.get("weight_hr"),
            )
            if not fresh:
                packs[layer, direction] = pack
        return pack

    # Forward and backward

    def __call__(
        self, x: np.ndarray | OneHot, state: State = None, *, lengths: Any = None, reset: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Run the layers for inference: nothing is saved and nothing dropped; safe to call from many threads at once.

        Parameters
        ----------
        x : (T, B, I) array, (B, T, I) with ``batch_first``, (T, I) unbatched, or `OneHot`
        state : h (L*D, B, P), for an LSTM the pair (h, c) with c (L*D, B, H); without B unbatched; None: zeros
            The index is ``layer * D + direction``.
        lengths : B integers, 0 <= length <= T, list or array; None: every row has T steps
            `y` is zero beyond a row's length, and its state is the one after its last step.
        reset : bool array (T, B), (B, T) with ``batch_first``, (T,) unbatched
            Where true, a new segment starts: the state is zero before that step.

        Returns
        -------
        y : (T, B, D*P) array, in the axes of x
        state : after the last step, in the form of the argument

        Raises
        ------
        TypeError
            An array has another dtype than the layer; nothing is cast.
        ValueError
            Shapes or values do not fit.
        """
        layout, batch = self._intake(type(self).__name__, x, state, lengths, reset)
        y, inside = layout.new_sequence(batch.steps, batch.rows, layout.output_size)
        state_after = self._stack(batch, inside, None, None)
        return y, self._state_out(layout, state_after)

    def forward(
        self,
        x: np.ndarray | OneHot,
        state: State = None,
        *,
        lengths: Any = None,
        reset: np.ndarray | None = None,
        training: bool = True,
        step: int = 0,
        row_offset: int = 0,
        checkpoint_every: int | None = None,
    ) -> tuple[np.ndarray, State, Saved]:
        """Run the layers and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, reset : as for a call of the layer
            Neither they nor the weights may change before `backward`.
        training : False turns dropout off
        step : number of the training step, 0 <= step < 2**32; with every step come other dropout masks
        row_offset : number of row 0 within the whole batch, where this is a part of it
        checkpoint_every : k >= 1, for long sequences: of every layer keep x, y and the states of one step in k, and let
            `backward` compute the rest again, a segment of k steps at a time. k is rounded up to whole chunks of the
            backward pass (`explain` names them), so that all results have the same bits. None: keep the gates and the
            states of all steps

        Returns
        -------
        y, state : as for a call of the layer
        saved : Saved, for one `backward`

        Raises
        ------
        TypeError, ValueError
            As for a call of the layer, or `checkpoint_every` is no integer >= 1.

        Examples
        --------
        >>> lstm = fr.LSTM(2, 3, seed=0)
        >>> x = np.random.default_rng(0).normal(size=(4000, 1, 2)).astype("float32")
        >>> y, state, saved = lstm.forward(x, checkpoint_every=300)  # c of 7 steps, not of 4000, and no gates
        >>> dx, dstate0, grads = lstm.backward(saved, y)
        >>> y, state, saved = lstm.forward(x)
        >>> np.array_equal(dx, lstm.backward(saved, y)[0])
        True
        """
        where = f"{type(self).__name__}.forward"
        layout, batch = self._intake(where, x, state, lengths, reset)
        columns = layout.output_size
        coordinates = {"seed": self.seed, "step": step, "row_offset": row_offset}
        check_coordinates(where, (batch.steps, batch.rows, columns), site=0, **coordinates)
        training = checks.boolean(where, "training", training)
        if checkpoint_every is not None:
            checkpoint_every = checks.integer(where, "checkpoint_every", checkpoint_every, 1)
        drop = _Dropout(self.dropout, **coordinates) if training and self.dropout > 0 else None
        kept: list[_Kept] = []
        inside = self._backend.empty((batch.steps, batch.rows, columns), self.dtype)
        state_after = self._stack(batch, inside, kept, drop, checkpoint_every)
        y, outside = layout.new_sequence(batch.steps, batch.rows, columns)
        outside[...] = inside  # the kernels read their own again
        return y, self._state_out(layout, state_after), Saved(self, layout=layout, batch=batch, kept=kept, drop=drop)

    def stepper(self, batch: int | None = None) -> Stepper:
        """Make a stepper, which takes one time step a call and holds the state: for streaming.

        Parameters
        ----------
        batch : B, rows of every step; None: unbatched

        Raises
        ------
        ValueError
            The layer is bidirectional, or `batch` < 1.

        Examples
        --------
        >>> step = fr.GRU(3, 5, seed=0).stepper(batch=1)
        >>> y = step(np.zeros((1, 3), "float32"))  # the next step overwrites y
        >>> y.shape, step.state.shape
        ((1, 5), (1, 1, 5))
        """
        return Stepper(self, batch)

    def backward(
        self,
        saved: Saved,
        dy: np.ndarray | None,
        dstate: State = None,
        *,
        need_dx: bool = True,
        retain: bool = False,
    ) -> tuple[np.ndarray | None, State, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dy : gradient of the loss with respect to y, of its shape; ignored beyond a row's length. None: zeros
        dstate : gradient with respect to the state that `forward` returned, in its form; None: zeros
        need_dx : False gives dx = None and saves a matrix product, for a layer whose input is data
        retain : keep `saved` for another backward

        Returns
        -------
        dx : gradient with respect to x, of its shape, zero beyond a row's length; None for `OneHot`
        dstate0 : gradient with respect to the initial state, in its form
        grads : names and shapes of ``state_dict()``

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        TypeError
            An array has another dtype than the layer.
        ValueError
            Shapes do not fit, or both `dy` and `dstate` are None.
        """
        where = f"{type(self).__name__}.backward"
        retain, need_dx = checks.boolean(where, "retain", retain), checks.boolean(where, "need_dx", need_dx)
        fields = expect(where, saved).read(where, self)
        layout: Layout = fields.layout.named(where)
        batch: Batch = fields.batch
        if dy is None and dstate is None:
            raise ValueError(f"{where}: dy and dstate must not both be None")
        d_layer = None if dy is None else layout.sequence("dy", dy, batch.steps, batch.rows)
        dstate_after = None if dstate is None else layout.states("dstate", dstate, batch.rows)
        saved.take(where, retain, self)

        grads: dict[str, np.ndarray] = {}
        dstate0 = self._new_states(batch.rows)
        dx: np.ndarray | None = None
        for layer in reversed(range(self.num_layers)):
            kept: _Kept = fields.kept[layer]
            inside: list[np.ndarray | None] = [None] * self._directions
            if kept.x is not None and (need_dx or layer > 0):  # ids have no gradient
                if layer == 0:
                    dx, inside[0] = layout.new_sequence(batch.steps, batch.rows, self.input_size)
                inside = [self._backend.empty(kept.x.shape, self.dtype) if part is None else part for part in inside]
            for direction, d_input in enumerate(inside):
                grads |= self._backward_one(batch, layer, direction, kept, d_layer, dstate_after, d_input, dstate0)
            if inside[0] is not None and inside[-1] is not inside[0]:
                inside[0] += inside[1]
            d_layer = inside[0]
            if layer > 0 and fields.drop is not None:
                # x of this layer = drop.apply(layer - 1, y of the one below)
                d_layer = fields.drop.apply(layer - 1, d_layer)
        grads = {name: grads[name] for name in self._parameters}
        return dx, self._state_out(layout, dstate0), grads

    def _stack(
        self,
        batch: Batch,
        y: np.ndarray,
        kept: list[_Kept] | None,
        drop: _Dropout | None,
        checkpoint_every: int | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Fill y (T, B, D*P), a view, and return the states after the last step; with `kept`, add an entry a layer."""
        state_after = self._new_states(batch.rows)
        x = batch.x
        for layer in range(self.num_layers):
            last = layer == self.num_layers - 1
            out = y if last else self._backend.empty((batch.steps, batch.rows, y.shape[2]), self.dtype)
            segment = self._segment_steps(layer, batch, checkpoint_every)
            values: list[Values] = []
            for direction in range(self._directions):
                at = layer * self._directions + direction
                keep: Values | None = None if kept is None else self._new_values(batch.steps, batch.rows, segment)
                self._packed(layer, direction).forward(
                    x,
                    batch.ids if layer == 0 else None,
                    self._state_at(batch.states, at),
                    batch.lengths,
                    batch.reset,
                    bool(direction),
                    self._columns(out, direction),
                    self._state_at(state_after, at),
                    keep,
                    segment,
                )
                if keep is not None:
                    values.append(keep)
            if kept is not None:
                kept.append(_Kept(x, out, values, segment))
            x = out if drop is None or last else drop.apply(layer, out)
        return state_after

    def _segment_steps(self, layer: int, batch: Batch, checkpoint_every: int | None) -> int:
        """Steps between the states that are kept; 0 where all are."""
        if checkpoint_every is None:
            return 0
        every = min(checkpoint_every, max(1, batch.steps))
        segment: int = self._packed(layer, 0).segment_steps(batch.steps, batch.rows, every)
        return segment

    def _backward_one(
        self,
        batch: Batch,
        layer: int,
        direction: int,
        kept: _Kept,
        dy: np.ndarray | None,
        dstate_after: tuple[np.ndarray, ...] | None,
        dx: np.ndarray | None,
        dstate0: tuple[np.ndarray, ...],
    ) -> dict[str, np.ndarray]:
        """Backward of one layer in one direction: fills dx and its part of dstate0, returns its weights' gradients."""
        at = layer * self._directions + direction
        shapes = self._shapes(layer)
        gradients = {prefix: self._backend.empty(shape, self.dtype) for prefix, shape in shapes.items()}
        self._packed(layer, direction).backward(
            kept.x,
            batch.ids if layer == 0 else None,
            self._state_at(batch.states, at),
            batch.lengths,
            batch.reset,
            bool(direction),
            self._columns(kept.y, direction),
            kept.values[direction],
            kept.segment,
            None if dy is None else self._columns(dy, direction),
            self._state_at(dstate_after, at),
            dx,
            self._state_at(dstate0, at),
            tuple(gradients.get(p) for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")),
        )
        names = self._names(layer, direction)
        return {names[prefix]: value for prefix, value in gradients.items()}

    # Arrays

    def _intake(self, where: str, x: Any, state: Any, lengths: Any, reset: Any) -> tuple[Layout, Batch]:
        sequence = x.ids if isinstance(x, OneHot) else x
        axes = getattr(sequence, "ndim", None)
        layout = self._layout(where, unbatched=axes == (1 if isinstance(x, OneHot) else 2))
        return layout, layout.batch(x, state, lengths, reset)

    def _layout(self, where: str, *, unbatched: bool) -> Layout:
        return Layout(
            where=where,
            dtype=self.dtype,
            backend=self._backend,
            batch_first=self.batch_first,
            input_size=self.input_size,
            output_size=self._directions * self._output_size,
            state_widths=(self._output_size,) + (self.hidden_size,) * (self._cell.states - 1),
            state_rows=self.num_layers * self._directions,
            unbatched=unbatched,
        )

    def _state_out(self, layout: Layout, parts: tuple[np.ndarray, ...]) -> State:
        parts = layout.outward_states(parts)
        if len(parts) == 1:
            return parts[0]
        return parts if self.state_type is None else self.state_type(*parts)

    def _new_states(self, rows: int) -> tuple[np.ndarray, ...]:
        widths = (self._output_size,) + (self.hidden_size,) * (self._cell.states - 1)
        return tuple(
            self._backend.empty((self.num_layers * self._directions, rows, width), self.dtype) for width in widths
        )

    def _state_at(self, states: tuple[np.ndarray, ...] | None, at: int) -> tuple[np.ndarray | None, ...]:
        return (None,) * self._cell.states if states is None else tuple(part[at] for part in states)

    def _columns(self, value: np.ndarray, direction: int) -> np.ndarray:
        """One direction's columns of y (T, B, D*P)."""
        width = self._output_size
        return value[..., direction * width : (direction + 1) * width]

    def _new_values(self, steps: int, rows: int, segment: int) -> Values:
        """Room for what the kernel keeps: gates (T, B, K, H), states (T, B, S-1, H), h before projection (T, B, H).

        With segments nothing but the states that enter them, (N, S-1, B, H), where the first segment needs none.
        """
        cell, hidden = self._cell, self.hidden_size
        if segment > 0:
            entering = (max(0, steps - 1) // segment, cell.states - 1, rows, hidden)
            return None, self._backend.empty(entering, self.dtype) if cell.states > 1 else None, None
        shapes = (
            (steps, rows, cell.saved, hidden) if cell.saved else None,
            (steps, rows, cell.states - 1, hidden) if cell.states > 1 else None,
            (steps, rows, hidden) if self.proj_size else None,
        )
        return tuple(None if shape is None else self._backend.empty(shape, self.dtype) for shape in shapes)

    def explain(self, x_shape: tuple[int, ...], *, training: bool = False) -> str:
        """Say what would run for an x of this shape: backend, instruction set, kernel, plan, copies.

        Parameters
        ----------
        x_shape : shape of x as the layer takes it
        training : whether `forward` and `backward` are meant, or a call for inference

        Examples
        --------
        >>> print(fr.LSTM(8, 16, seed=0).explain((5, 1, 8)))  # doctest: +ELLIPSIS
        LSTM of x (T, B, I) = (5, 1, 8): backend cpu, instruction set ...
        layer 0: lstm, float32, forward: 1 thread, chunks of 5 steps...
        """
        steps, rows = self._steps_and_rows(f"{type(self).__name__}.explain", x_shape)
        training = checks.boolean(f"{type(self).__name__}.explain", "training", training)
        lines = [
            f"{type(self).__name__} of x (T, B, I) = ({steps}, {rows}, {self.input_size}): {self._backend.summary()}"
        ]
        for layer in range(self.num_layers):
            pack = self._packed(layer, 0)
            passes = [f"forward: {pack.plan(steps, rows, False)}"]
            passes += [f"backward: {pack.plan(steps, rows, True)}"] if training else []
            lines.append(f"layer {layer}: {self._cell.name}, {self.dtype.name}, {'; '.join(passes)}")
        if self.bidirectional:
            lines.append("directions: one after the other, each as above")
        lines.append("copies: x where its last axis is not contiguous or its memory not aligned; states likewise")
        if training:
            lines.append("copies: y, since backward reads the layer's own")
        return "\n".join(lines)

    def _steps_and_rows(self, where: str, x_shape: Any) -> tuple[int, int]:
        """T and B of a shape of x in the caller's axes."""
        if not isinstance(x_shape, (tuple, list)):
            raise TypeError(f"{where}: x_shape must be a tuple of integers, got {checks.describe(x_shape)}")
        sizes = tuple(
            checks.integer(where, f"x_shape[{axis}]", size, 0, MAX_EXPLAINED) for axis, size in enumerate(x_shape)
        )
        if len(sizes) not in (2, 3) or sizes[-1] != self.input_size:
            raise ValueError(
                f"{where}: x_shape must have 3 axes, or 2 unbatched, the last I = input_size = {self.input_size}, "
                f"got {sizes}"
            )
        if len(sizes) == 2:
            return sizes[0], 1
        return (sizes[1], sizes[0]) if self.batch_first else (sizes[0], sizes[1])
