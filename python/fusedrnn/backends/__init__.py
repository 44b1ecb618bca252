"""Where arrays live and layers compute: one object a device, all with the same methods.

`of_device` gives the backend that a layer's ``device`` names. The CUDA backend, and CuPy with it, is loaded when it is
first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import cpu as _cpu
from fusedrnn.backends.processes import Processes as Processes
from fusedrnn.backends.processes import Sums as Sums
from fusedrnn.checks import is_on_gpu as is_on_gpu

DEVICES = ("cpu", "cuda")
Shape = tuple[int, ...]
States = tuple[Any, ...]


class PackedLayer(Protocol):
    """The weights of one layer in one direction, ready for the kernels.

    Arrays are time-major views; `lengths` are what `Backend.lengths` returned. None stands for what is absent.
    Outputs are given and assigned.
    """

    def forward(
        self,
        x: Any,
        ids: Any,
        state_in: States,
        lengths: Any,
        reset: Any,
        reverse: bool,
        y: Any,
        state_out: States,
        saved: States | None,
        segment: int,
    ) -> None:
        """Run the layer; x (T, B, I) or ids (T, B), y (T, B, P), `saved` as `Stack` makes room for it."""

    def backward(
        self,
        x: Any,
        ids: Any,
        state_in: States,
        lengths: Any,
        reset: Any,
        reverse: bool,
        y: Any,
        saved: States,
        segment: int,
        dy: Any,
        dstate_out: States,
        dx: Any,
        dstate_in: States,
        gradients: States,
    ) -> None:
        """Gradients of `forward`; `gradients` are those of w_ih, w_hh, b_ih, b_hh, w_hr."""

    def forward_with(self, arguments: tuple[Any, ...], other: Any, its: tuple[Any, ...]) -> None:
        """Run both directions of a layer: this one with `arguments` of `forward`, the `other` with `its`."""

    def backward_with(self, arguments: tuple[Any, ...], other: Any, its: tuple[Any, ...]) -> None:
        """Backward of both directions of a layer, likewise."""

    @staticmethod
    def forward_wave(layers: Any, arguments: Any) -> None:
        """Run layers one upon the other, each with its arguments of `forward`: x of each is y of the one before it."""

    @staticmethod
    def backward_wave(layers: Any, arguments: Any) -> None:
        """Backward of layers from the last one down: dy of each is dx of the one before it."""

    @staticmethod
    def together(layers: Any, steps: int, rows: int, ids: bool, backward: bool) -> int:
        """How many of all layers, from the first one up, a call of `forward_wave` or `backward_wave` has use for.

        1 where none would run as a wavefront. The first one is given ids in place of x, or not.
        """

    @staticmethod
    def plans_of_wave(layers: Any, steps: int, rows: int, ids: bool, backward: bool) -> list[str | None]:
        """What each of these would run as part of a wavefront, in words; None if it would not."""

    def segment_steps(self, steps: int, rows: int, every: int) -> int:
        """Steps between two states that forward keeps, for a backward that computes the others again."""

    def plan(self, steps: int, rows: int, ids: bool, backward: bool) -> str:
        """What would run, in words; given ids in place of x, or not."""

    def plan_of_half(self, steps: int, rows: int, ids: bool, backward: bool) -> str | None:
        """What each direction of a layer would run if both run side by side; None if they would not."""


class StackStepper(Protocol):
    """A stack of packed layers with its state; used by one thread at a time, else RuntimeError."""

    def step(self, x: Any, out: Any) -> Any:
        """y (B, P), in `out` if given; None, and nothing done, for what is no plain array or does not fit."""

    def step_ids(self, ids: Any, out: Any) -> Any:
        """The same for checked ids (B,), C-contiguous int64."""

    def state(self) -> States:
        """Copies: (L, B, P), then (L, B, H) for each further state."""

    def set_state(self, parts: States, rows: Any) -> None:
        """Sets the rows where `rows` (B,) of uint8 is not 0, all for None; zeros for parts that are None."""


class Backend(Protocol):
    """What the layers ask of a device."""

    name: str
    dtypes: tuple[str, ...]  # of recurrent layers
    checks_values: bool  # whether values, such as ids, are checked unasked: to see them on a GPU is to wait for it
    logits_bytes: int  # of logits that a loss makes at a time

    def array(self, where: str, name: str, value: Any, dtype: np.dtype) -> Any:
        """Return `value` as an array of this device if it is one of exactly `dtype`, else raise TypeError."""

    def array_or_mask(self, where: str, name: str, value: Any, dtype: np.dtype) -> Any:
        """As `array`, but one of bool will do too."""

    def integers(self, where: str, name: str, value: Any) -> Any:
        """Return `value` as an array of this device if it is one of any integer dtype, else raise TypeError."""

    def floats(self, where: str, name: str, value: Any, narrow: bool = False) -> Any:
        """Return `value` as an array of this device if it is one of float32 or float64, else raise TypeError.

        With `narrow` also one of 16 bits, where the device has them.
        """

    def empty(self, shape: Shape, dtype: np.dtype) -> Any:
        """A new C-contiguous array."""

    def zeros(self, shape: Shape, dtype: np.dtype) -> Any:
        """The same, of zeros."""

    def full(self, shape: Shape, value: Any, dtype: np.dtype) -> Any:
        """The same, of a number or an array without axes."""

    def own(self, value: np.ndarray) -> Any:
        """An array of this device with the values of one in host memory, which is given away."""

    def host(self, value: Any) -> np.ndarray:
        """An array of this device in host memory; waits for the device."""

    def read(self, values: Sequence[Any]) -> list[float]:
        """Numbers, as they are or as `number` returns them, at one wait for the device."""

    def number(self, value: Any) -> Any:
        """An array without axes as a loss is returned: a float, or on a GPU as it is, so that nothing waits."""

    def dense(self, value: Any) -> Any:
        """`value`, or a copy of it where it is not C-contiguous and aligned."""

    def readable(self, value: Any) -> Any:
        """`value` (..., C), or a copy of it where the kernels cannot read it in place."""

    def indices(self, where: str, name: str, value: Any) -> Any:
        """Return the integer array `value` as C-contiguous int64, if it is an array of this device."""

    def loaded(self, where: str, name: str, value: Any, dtype: np.dtype) -> Any:
        """As `array`, and where the device is none of the host's also for an array in host memory."""

    def lengths(self, value: np.ndarray) -> Any:
        """Checked lengths (B,) int64, in host memory, as the packed layers take them."""

    def protect(self, value: Any, on: bool) -> None:
        """Make an array read-only, or writable again, where arrays of the device can be."""

    def dropout(self, x: Any, p: float, *, seed: int, site: int, step: int, row_offset: int) -> Any:
        """Entries of x (T, B, C) scaled by 1 / (1 - p), or zero, 0 <= p < 1; see `fusedrnn.random`."""

    def product(
        self, a: Any, b: Any, bias: Any = None, *, out: Any = None, add: bool = False, row_sums: Any = None
    ) -> Any:
        """a (M, K) · b (K, N) + bias (N,), put into `out` or, with `add`, added to it.

        The sums of a's rows go, in the same way, to `row_sums` (M,), where it is given.
        """

    def take_rows(self, table: Any, ids: Any) -> Any:
        """The rows of table (V, D) that ids (...) name, as (..., D); NaN for ids that are not checked and not there."""

    def sum_rows(self, ids: Any, rows: Any, count: int) -> Any:
        """(count, D) array whose row v is the sum of the rows (R, D) where ids (R,) is v, in rising order."""

    def softmax(self, x: Any, index: Any) -> tuple[Any, Any, Any, Any]:
        """exp(x - its maximum) for dense logits x (R, V); maxima, sums and x at index, (R,) each."""

    def softmax_gradient(self, exponentials: Any, index: Any, factors: Any, shifts: Any, out: Any) -> None:
        """out (R, V) = exponentials · factors (R,) less shifts (R,) at index (R,); zeros where a shift is 0."""

    def cross_entropy(self, logits: Any, index: Any, factors: Any, maxima: Any, sums: Any, chosen: Any) -> None:
        """logits (R, V) to factors (R,) · (softmax - [column is index]), in place; fills what `softmax` returns."""

    def update(
        self,
        rule: str,
        numbers: list[float],
        parameters: list[Any],
        gradients: list[Any],
        states: list[list[Any] | None],
        rates: list[float],
        decays: list[float],
    ) -> None:
        """A step of a rule of csrc/optimisers for dense arrays of one dtype."""

    def sums_of_squares(self, arrays: Sequence[Any]) -> Any:
        """The sum of squares of each of some dense arrays of one dtype, in float64."""

    def sums(self, where: str, processes: Processes, size: int, dtype: np.dtype, told: int) -> Sums:
        """Of arrays (size,) over several processes, each of which tells so many numbers with its own."""

    def running_dtype(self, dtype: np.dtype) -> np.dtype:
        """Of states from step to step, where those that are given and returned have `dtype`."""

    def pack(self, cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, *, tf32: bool) -> PackedLayer:
        """The weights of one layer and direction, None where there are none. With `tf32` products may be rounded."""

    def stepper(
        self,
        where: str,
        dtype: np.dtype,
        packs: Sequence[Any],
        rows: int,
        batched: bool,
        flag: Any,
        changed: Callable[[], bool],
    ) -> StackStepper:
        """One with state zero; `flag` is raised, and `changed` true, once the weights are other ones."""

    def step_input(self, value: Any) -> Any:
        """`value`, or a copy of it where it is no plain array."""

    def step_output(self, where: str, value: Any) -> Any:
        """A plain array in the memory of `value`; ValueError that begins with `where` if it cannot be written."""

    def summary(self) -> str:
        """The backend in a few words, for `explain`."""


def of_array(value: Any) -> Backend:
    """The backend that an array belongs to: the CPU's for NumPy's arrays, else that of the GPU.

    Examples
    --------
    >>> from fusedrnn.backends import of_array
    >>> of_array(np.zeros(3)).name
    'cpu'
    """
    if isinstance(value, np.ndarray):
        return _cpu.BACKEND
    from fusedrnn.backends import cuda

    return cuda.BACKEND


def of_device(where: str, device: Any) -> Backend:
    """The backend that `device`, "cpu" or "cuda", names.

    Raises
    ------
    RuntimeError
        There is no CUDA here: the message says what is missing.
    ValueError
        Another device.

    Examples
    --------
    >>> from fusedrnn.backends import of_device
    >>> of_device("LSTM", "cpu").name
    'cpu'
    """
    if checks.choice(where, "device", device, DEVICES) == "cpu":
        return _cpu.BACKEND
    from fusedrnn.backends import cuda

    return cuda.backend(where)


def choose_gpu(where: str, processes: Processes) -> None:
    """Make a GPU of its own the current one of each process; all of them come here together.

    Raises
    ------
    ValueError
        In all processes: one has no GPU or no NCCL, or a machine has fewer GPUs than processes.
    """
    from fusedrnn.backends import cuda, cuda_sums

    cuda_sums.choose_gpu(where, processes, cuda.missing())
