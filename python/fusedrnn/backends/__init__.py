"""Where arrays live and layers compute: one object a device, all with the same methods.

`of_device` gives the backend that a layer's ``device`` names. The CUDA backend, and CuPy with it, is loaded when it is
first asked for.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import cpu as _cpu

DEVICES = ("cpu", "cuda")
Shape = tuple[int, ...]
States = tuple[Any, ...]


class PackedLayer(Protocol):
    """The weights of one layer in one direction, ready for the kernels.

    Arrays are time-major views; None stands for what is absent. Outputs are given and assigned.
    """

    def forward(
        self,
        x: Any,
        ids: Any,
        state_in: States,
        lengths: np.ndarray | None,
        reset: Any,
        reverse: bool,
        y: Any,
        state_out: States,
        saved: States | None,
        segment: int,
    ) -> None:
        """Run the layer; x (T, B, I) or ids (T, B), y (T, B, P), `saved` as `Recurrent` makes room for it."""

    def backward(
        self,
        x: Any,
        ids: Any,
        state_in: States,
        lengths: np.ndarray | None,
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

    def segment_steps(self, steps: int, rows: int, every: int) -> int:
        """Steps between two states that forward keeps, for a backward that computes the others again."""

    def plan(self, steps: int, rows: int, backward: bool) -> str:
        """What would run, in words."""


class Backend(Protocol):
    """What the layers ask of a device."""

    name: str
    dtypes: tuple[str, ...]  # of recurrent layers

    def array(self, where: str, name: str, value: Any, dtype: np.dtype) -> Any:
        """Return `value` as an array of this device if it is one of exactly `dtype`, else raise TypeError."""

    def empty(self, shape: Shape, dtype: np.dtype) -> Any:
        """A new C-contiguous array."""

    def own(self, value: np.ndarray) -> Any:
        """An array of this device with the values of one in host memory, which is given away."""

    def dense(self, value: Any) -> Any:
        """`value`, or a copy of it where it is not C-contiguous and aligned."""

    def readable(self, value: Any) -> Any:
        """`value` (..., C), or a copy of it where the kernels cannot read it in place."""

    def indices(self, where: str, name: str, value: Any) -> Any:
        """Return the integer array `value` as C-contiguous int64, if it is an array of this device."""

    def loaded(self, where: str, name: str, value: Any, dtype: np.dtype) -> Any:
        """As `array`, and where the device is none of the host's also for an array in host memory."""

    def protect(self, value: Any, on: bool) -> None:
        """Make an array read-only, or writable again, where arrays of the device can be."""

    def dropout(self, x: Any, p: float, *, seed: int, site: int, step: int, row_offset: int) -> Any:
        """Entries of x (T, B, C) scaled by 1 / (1 - p), or zero, 0 <= p < 1; see `fusedrnn.random`."""

    def pack(self, cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any) -> PackedLayer:
        """The weights of one layer and direction; None where there are none."""

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
