"""What the optimisers share: groups, the learning rate, checks of gradients, and saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusedrnn import checks, functional
from fusedrnn.backends import of_array
from fusedrnn.module import Module
from fusedrnn.optim.groups import Group, settings_by_name
from fusedrnn.optim.kernels import Updates, by_dtype
from fusedrnn.optim.scalars import nonnegative
from fusedrnn.optim.schedules import Schedule


class Optimizer(ABC):
    """Base of the optimisers.

    A step enters the kernels once for all parameters of a dtype, reads and writes every element once, and shares the
    elements out among the threads; the result is the same bits for any number of threads and on every instruction
    set. As in every kernel, numbers too small to be normal (below 1.2e-38 in float32) count as zero.

    To add an optimiser, write two short files. The first is a rule in ``csrc/optimisers``, the step of one element,
    with a line in ``registry.h`` there. The second is a subclass that names its state arrays in ``_slots`` and hands
    the numbers of the rule to ``fusedrnn.optim.kernels.update`` in ``_update``. Loops, threads, binding and the GPU
    stay as they are. An ``_update`` may as well compute with NumPy: then it needs no rule and no compiler, and takes
    longer.

    Parameters
    ----------
    module : whose parameters are updated
    lr : learning rate, a number >= 0 or a schedule, a function of the number of steps made
    weight_decay : factor >= 0 of the parameter that is added to its gradient
    groups : exceptions by name; the first group that matches rules

    Attributes
    ----------
    lr : float, the learning rate of the next step; may be set to a number or a schedule
    steps : int, the number of steps made

    Examples
    --------
    >>> optimizer = fr.optim.SGD(fr.nn.Linear(3, 2, seed=0), lr=0.1)
    >>> isinstance(optimizer, fr.optim.Optimizer), optimizer.lr, optimizer.steps
    (True, 0.1, 0)
    """

    def __init__(
        self, module: Module, lr: float | Schedule, *, weight_decay: float = 0.0, groups: Sequence[Group] = ()
    ) -> None:
        where = type(self).__name__
        if not isinstance(module, Module):
            raise TypeError(f"{where}: module must be a Module, got {checks.describe(module)}")
        self._module = module
        self.lr = lr
        self.steps = 0
        parameters = module.parameters()
        for name, value in parameters.items():
            if not value.flags.c_contiguous:
                raise ValueError(f"{where}: parameters must be C-contiguous, got {name} with strides {value.strides}")
        weight_decay = nonnegative(where, "weight_decay", weight_decay)
        self._settings = settings_by_name(where, parameters, groups, weight_decay)
        for name, value in parameters.items():
            if not self._frozen(name):
                functional.float_array(where, f"parameter {name}", value)
        self._state: dict[str, dict[str, np.ndarray]] = {
            slot: {
                name: of_array(value).full(value.shape, start, value.dtype)
                for name, value in parameters.items()
                if not self._frozen(name)
            }
            for slot, start in self._slots().items()
        }

    @abstractmethod
    def _slots(self) -> dict[str, float]:
        """Names of the arrays kept for each parameter, and the value that all of each array starts from."""

    @abstractmethod
    def _update(self, updates: Updates) -> None:
        """Write the parameters of one dtype and device and their states, which are under the names of `_slots`.

        `self.steps` is the number of steps made before this one. Gradients are only read. Entries may share memory, as
        a layer under two names does, and then count one after the other.
        """

    def _frozen(self, name: str) -> bool:
        return self._settings[name].frozen

    @property
    def lr(self) -> float:
        """The learning rate of the next step, before the factors of groups."""
        return self._rate("lr", self._lr(self.steps) if callable(self._lr) else self._lr)

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        self._lr: float | Schedule = value if callable(value) else self._rate("lr", value)

    def _rate(self, name: str, value: Any) -> float:
        return nonnegative(type(self).__name__, name, value)

    def step(self, grads: Mapping[str, np.ndarray], *, lr: float | None = None) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads : parameter names to arrays of the parameters' shapes and dtypes
            Every name must be there; only frozen ones may be missing.
        lr : for this step, in place of the optimiser's own

        Raises
        ------
        TypeError, ValueError
            Names, shapes or dtypes do not fit. Nothing has been written then.
        """
        rate = self.lr if lr is None else self._rate("lr", lr)
        parameters = self._module.parameters()
        needed = [name for name in parameters if not self._frozen(name)]
        grads = check_gradients(f"{type(self).__name__}.step", grads, parameters, needed)
        with self._module.writable() as parameters:
            for updates in self._updates({name: parameters[name] for name in needed}, grads, rate):
                self._update(updates)
        self.steps += 1

    def _updates(
        self, parameters: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray], rate: float
    ) -> Iterator[Updates]:
        in_order = list(parameters)
        for places in by_dtype(list(parameters.values())):
            names = [in_order[place] for place in places]
            settings = [self._settings[name] for name in names]
            yield Updates(
                [parameters[name] for name in names],
                [functional.dense(grads[name]) for name in names],
                {slot: [values[name] for name in names] for slot, values in self._state.items()},
                [rate * setting.lr_scale for setting in settings],
                [setting.weight_decay for setting in settings],
            )

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the state: ``step`` (an int64 array without axes) and ``slot.name`` for each array.

        Those are on the device of the parameters; ``step`` is in host memory.
        Settings and the schedule are not part of it: they come from the code that made the optimiser.
        """
        flat = {key: value.copy() for key, value in self._flat_state().items()}
        return {"step": np.array(self.steps, dtype=np.int64)} | flat

    def _flat_state(self) -> dict[str, np.ndarray]:
        return {f"{slot}.{name}": value for slot, values in self._state.items() for name, value in values.items()}

    def load_state_dict(self, state_dict: Mapping[str, np.ndarray]) -> None:
        """Copy what `state_dict` of an equal optimiser returned; steps then go on to the same bits.

        An optimiser on a GPU also takes arrays in host memory, such as a checkpoint has.

        Raises
        ------
        TypeError, ValueError
            Names, shapes or dtypes do not fit. Nothing has been changed then.
        """
        where = f"{type(self).__name__}.load_state_dict"
        live = self._flat_state()
        checks.names(where, state_dict, ["step", *live])
        steps = checks.array(where, "step", state_dict["step"], np.dtype(np.int64))
        checks.shape(where, "step", steps, "()", ())
        count = checks.integer(where, "step", steps.item(), 0)
        given: dict[str, np.ndarray] = {}
        for name, value in live.items():
            given[name] = of_array(value).loaded(where, name, state_dict[name], value.dtype)
            checks.shape(where, name, given[name], "of its parameter", value.shape)
        for name, value in live.items():
            value[...] = given[name]
        self.steps = count


def check_gradients(
    where: str, grads: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray], needed: Collection[str]
) -> dict[str, np.ndarray]:
    """`grads` on the parameters' device; raise unless it holds those `needed`, and else only what fits `parameters`."""
    checks.names(where, grads, [name for name in parameters if name in grads or name in needed])
    found: dict[str, np.ndarray] = {}
    for name, gradient in grads.items():
        value = parameters[name]
        found[name] = of_array(value).array(where, f"grads[{name!r}]", gradient, value.dtype)
        checks.shape(where, f"grads[{name!r}]", found[name], f"of {name}", value.shape)
    return found
