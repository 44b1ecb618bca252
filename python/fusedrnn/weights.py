"""The weights of recurrent layers: settings, parameters by layer and direction, and these packed for the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import _core, checks
from fusedrnn.backends import PackedLayer, of_device
from fusedrnn.initializers import Initializer, initialise, resolve_recurrent
from fusedrnn.module import Module
from fusedrnn.random import MAX_SEED, MAX_SITE, initial_generator
from fusedrnn.settings import parameter_dtype
from fusedrnn.sizes import Cell, Sizes

MAX_SIZE = 2**24  # columns; the bytes of all weights of a layer fit 64 bits


class RecurrentWeights(Module):
    """What `Recurrent` computes with."""

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
        precision: str = "ieee",
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        self._packs: dict[tuple[int, int], PackedLayer] = {}
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
        self.precision = checks.choice(where, "precision", precision, ("ieee", "tf32"))
        if self.precision == "tf32" and self.dtype != np.float32:
            raise ValueError(f"{where}: precision must be 'ieee' for dtype {self.dtype.name}, got 'tf32'")
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        self.seed = checks.integer(where, "seed", seed, 0, MAX_SEED)
        self._sizes = Sizes(
            Cell(cell, **_core.cells()[cell]),
            self.input_size,
            self.hidden_size,
            self.proj_size,
            self.num_layers,
            directions=2 if self.bidirectional else 1,
            bias=self.bias,
        )
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
            "precision": (self.precision, "ieee"),
        }
        words = [str(self.input_size), str(self.hidden_size)]
        words += [f"{name}={value!r}" for name, (value, usual) in settings.items() if value != usual]
        return f"{type(self).__name__}({', '.join(words)})"

    def _initialise(self, where: str, init: str | Initializer) -> None:
        draw = resolve_recurrent(init, self.hidden_size, where=where)
        generator = initial_generator(self.seed)
        for layer in range(self.num_layers):
            for direction in range(self._sizes.directions):
                names = self._sizes.names[layer][direction]
                for prefix, shape in self._sizes.shapes[layer].items():
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

    def _packed(self, layer: int, direction: int) -> PackedLayer:
        packs, fresh = self._packs, self._writers > 0
        pack = None if fresh else packs.get((layer, direction))
        if pack is None:
            names = self._sizes.names[layer][direction]
            weights = {prefix: self._parameters[name] for prefix, name in names.items()}
            pack = self._backend.pack(
                self._sizes.cell.name,
                weights["weight_ih"],
                weights["weight_hh"],
                weights.get("bias_ih"),
                weights.get("bias_hh"),
                weights.get("weight_hr"),
                tf32=self.precision == "tf32",
            )
            if not fresh:
                packs[layer, direction] = pack
        return pack

    def _all_packed(self) -> list[list[PackedLayer]]:
        """Of each layer, by direction."""
        directions = range(self._sizes.directions)
        return [[self._packed(layer, direction) for direction in directions] for layer in range(self.num_layers)]
