"""What every layer and model shares: named parameters that can be read, written, saved and loaded.

A module owns arrays (registered with `_add_parameter`) and may hold other modules as attributes. Names are
joined with dots, as in PyTorch: a model with an attribute ``rnn`` holding an LSTM has ``rnn.weight_ih_l0``.
Nothing is a tape: a module offers ``forward(...) -> (out, saved)`` and ``backward(saved, dout) -> (din, grads)``,
and a model composes those of its parts by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from fusedrnn import checks
from fusedrnn.backends import of_array


class Module:
    """Base of layers and models.

    Examples
    --------
    >>> import fusedrnn as fr
    >>> linear = fr.nn.Linear(3, 2, seed=0)
    >>> sorted(linear.parameters())
    ['bias', 'weight']
    >>> with linear.writable() as p:
    ...     p["bias"][:] = 1
    >>> linear.state_dict()["bias"].tolist()
    [1.0, 1.0]
    """

    def __init__(self) -> None:
        self._parameters: dict[str, np.ndarray] = {}
        self._writers = 0  # `writable` blocks that are open

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: no `writable` block is open in the copy."""
        return vars(self) | {"_writers": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or unpickled module, with arrays of its own that only `writable` makes writable."""
        vars(self).update(state)
        self._parameters = {name: value.copy() for name, value in self._parameters.items()}
        for value in self._parameters.values():
            of_array(value).protect(value, True)

    def __copy__(self) -> Module:
        """A copy owns its parameters: two modules never share an array."""
        return deepcopy(self)

    def _add_parameter(self, name: str, value: np.ndarray) -> None:
        """Own `value` (a fresh C-contiguous array) under `name`."""
        of_array(value).protect(value, True)
        self._parameters[name] = value

    def _children(self) -> dict[str, Module]:
        """The modules held as attributes, in the order in which they were set."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def _changed(self) -> None:
        """Called before and after parameters are written; drops whatever was derived from them."""

    def parameters(self) -> dict[str, np.ndarray]:
        """The live arrays by name, as read-only views."""
        found = {name: value.view() for name, value in self._parameters.items()}
        for prefix, child in self._children().items():
            found |= {f"{prefix}.{name}": value for name, value in child.parameters().items()}
        return found

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name."""
        return {name: value.copy() for name, value in self.parameters().items()}

    @contextmanager
    def writable(self) -> Iterator[dict[str, np.ndarray]]:
        """Give the live arrays by name for writing; on leaving, what was derived from them is dropped.

        The views are writable inside the ``with`` block only. Slices taken of them must not outlive it: what is
        written through them later goes unnoticed.
        """
        with ExitStack() as stack:
            views: dict[str, np.ndarray] = {}
            for prefix, child in self._children().items():
                inner = stack.enter_context(child.writable())
                views |= {f"{prefix}.{name}": value for name, value in inner.items()}
            own = self._open_views()
            self._writers += 1
            self._changed()
            try:
                yield own | views
            finally:
                for view in own.values():
                    of_array(view).protect(view, True)
                self._writers -= 1
                self._changed()

    def _open_views(self) -> dict[str, np.ndarray]:
        """Writable views of the module's own arrays, whose own flag stays read-only."""
        views = {}
        for name, value in self._parameters.items():
            of_array(value).protect(value, False)
            views[name] = value.view()
            of_array(value).protect(value, True)
        return views

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the arrays of `state_dict` into the parameters.

        All names, shapes and dtypes are checked first; on an error nothing has changed.

        Raises
        ------
        ValueError
            Names are missing or unknown, or shapes differ; the message lists all of them.
        TypeError
            `state_dict` is no mapping, or an entry is not an array of the parameter's dtype.
        """
        where = f"{type(self).__name__}.load_state_dict"
        live = self.parameters()
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{where}: state_dict must be a mapping of names to arrays, got {checks.describe(state_dict)}"
            )
        faults = checks.wrong_names(state_dict, live)
        if faults:
            faults.insert(0, f"the names must be {', '.join(live)}")
        given: dict[str, Any] = {}
        for name, value in live.items():
            if name in state_dict:
                given[name] = of_array(value).loaded(where, name, state_dict[name], value.dtype)
                if given[name].shape != value.shape:
                    faults.append(f"{name} must have shape {value.shape}, got {given[name].shape}")
        if faults:
            raise ValueError(f"{where}: {'; '.join(faults)}")
        with self.writable() as views:
            for name, view in views.items():
                view[...] = given[name]
