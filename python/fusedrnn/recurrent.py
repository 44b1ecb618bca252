"""What all recurrent layers share: a call, forward, backward, stepper and explain, in the user's axes.

Their weights are the business of `weights`, the way through layers and directions that of `stack`. Inside, everything
is time-major; `sequences.Layout` translates at both ends.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusedrnn import checks, explanation
from fusedrnn.random import check_coordinates
from fusedrnn.saved import Saved, expect
from fusedrnn.sequences import Batch, Layout, OneHot
from fusedrnn.stack import Dropped, Kept, Stack
from fusedrnn.stepper import Stepper
from fusedrnn.weights import RecurrentWeights

State = Any  # h, or a tuple of arrays


class Recurrent(RecurrentWeights):
    """Base of RNN, GRU and LSTM; see those."""

    state_type: ClassVar[Any] = None  # makes the state of a cell with several: state_type(h, c)

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
        state_after = self._stack(layout, batch).forward(inside, None, None)
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
            backward pass (`explain` names them), so that all results have the same bits, on a GPU too. None: keep the
            gates and the states of all steps

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
        drop = Dropped(self.dropout, **coordinates) if training and self.dropout > 0 else None
        kept: list[Kept] = []
        inside = self._backend.empty((batch.steps, batch.rows, columns), self.dtype)
        state_after = self._stack(layout, batch).forward(inside, kept, drop, checkpoint_every)
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
        dy_inside = None if dy is None else layout.sequence("dy", dy, batch.steps, batch.rows)
        dstate_after = None if dstate is None else layout.states("dstate", dstate, batch.rows)
        saved.take(where, retain, self)

        dx, dstate0, grads = self._stack(layout, batch).backward(
            fields.kept, fields.drop, dy_inside, dstate_after, need_dx
        )
        grads = {name: grads[name] for name in self._parameters}
        return dx, self._state_out(layout, dstate0), grads

    def explain(self, x_shape: tuple[int, ...], *, training: bool = False, ids: bool = False) -> str:
        """Say what would run for an x of this shape: backend, instruction set, kernel, plan, copies.

        Parameters
        ----------
        x_shape : shape of x as the layer takes it; with `ids` that of the ids of a `OneHot`, without the axis of I
        training : whether `forward` and `backward` are meant, or a call for inference
        ids : whether x is a `OneHot`, which has no input product, so that its plan may have fewer threads

        Examples
        --------
        >>> print(fr.LSTM(8, 16, seed=0).explain((5, 1, 8)))  # doctest: +ELLIPSIS
        LSTM of x (T, B, I) = (5, 1, 8): backend cpu, instruction set ...
        layer 0: lstm, float32, forward: 1 thread, chunks of 5 steps...
        >>> x = fr.OneHot(np.zeros((5, 1), int), 8)
        >>> fr.LSTM(8, 16, seed=0).explain(x.ids.shape, ids=True).splitlines()[0]  # doctest: +ELLIPSIS
        'LSTM of one-hot x (T, B, I) = (5, 1, 8): backend cpu, instruction set ...'
        """
        where = f"{type(self).__name__}.explain"
        training, ids = checks.boolean(where, "training", training), checks.boolean(where, "ids", ids)
        steps, rows = explanation.steps_and_rows(where, x_shape, self.input_size, self.batch_first, ids)
        x = f"{'one-hot ' if ids else ''}x (T, B, I) = ({steps}, {rows}, {self.input_size})"
        head = f"{type(self).__name__} of {x}: {self._backend.summary()}"
        packs = [self._packed(layer, 0) for layer in range(self.num_layers)]
        kind = f"{self._sizes.cell.name}, {self.dtype.name}"
        lines = explanation.plans(
            packs,
            kind,
            steps,
            rows,
            ids=ids,
            bidirectional=self.bidirectional,
            dropout=self.dropout > 0,
            training=training,
        )
        return "\n".join([head, *lines])

    def _stack(self, layout: Layout, batch: Batch) -> Stack:
        return Stack(self._sizes, self._all_packed(), layout, batch)

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
            output_size=self._sizes.columns,
            state_widths=self._sizes.state_widths,
            state_rows=self._sizes.state_rows,
            unbatched=unbatched,
        )

    def _state_out(self, layout: Layout, parts: tuple[np.ndarray, ...]) -> State:
        parts = layout.outward_states(parts)
        if len(parts) == 1:
            return parts[0]
        return parts if self.state_type is None else self.state_type(*parts)
