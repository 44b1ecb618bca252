"""Dropout by counter: the mask follows from coordinates, so nothing is stored for the backward pass."""

from __future__ import annotations

import numpy as np

from fusedrnn import checks, functional, random
from fusedrnn.backends import of_array
from fusedrnn.module import Module
from fusedrnn.saved import Saved, expect


class Dropout(Module):
    """Set entries to zero with probability p in training and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : probability of dropping, 0 <= p <= 1
    seed : of the masks, 0 <= seed < 2**64
    site : number of the place in a model, 0 <= site < 256
        Dropouts of one seed need different sites, or they draw the same mask.

    Notes
    -----
    A mask depends on seed, site, `step`, the position and the column, and on nothing else: a trainer passes its
    step count, and a part of a batch that starts at row b of the whole passes ``row_offset=b``.

    Examples
    --------
    >>> dropout = fr.nn.Dropout(0.5, seed=1)
    >>> x = np.ones((2, 3, 8), "float32")
    >>> out, saved = dropout.forward(x, step=7)
    >>> din, grads = dropout.backward(saved, x)
    >>> bool((din == out).all()), bool((dropout(x) == x).all()), grads
    (True, True, {})
    """

    def __init__(self, p: float, *, seed: int, site: int = 0) -> None:
        super().__init__()
        self.p = checks.real("Dropout", "p", p, 0.0, 1.0)
        self.seed = checks.integer("Dropout", "seed", seed, 0, random.MAX_SEED)
        self.site = checks.integer("Dropout", "site", site, 0, random.MAX_SITE)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return a copy of x: nothing is dropped at inference."""
        return functional.float_array("Dropout", "x", x, narrow=True).copy(order="C")

    def forward(
        self, x: np.ndarray, *, training: bool = True, step: int = 0, row_offset: int = 0
    ) -> tuple[np.ndarray, Saved]:
        """Drop entries of x.

        Parameters
        ----------
        x : (T, B, C) array
        training : False drops nothing
        step : number of the training step, 0 <= step < 2**32
        row_offset : the row of the whole batch that is row 0 of x

        Returns
        -------
        out : (T, B, C) array
        saved : Saved, for one `backward`
        """
        where = "Dropout.forward"
        p = self.p if checks.boolean(where, "training", training) else 0.0
        coordinates = {"seed": self.seed, "site": self.site, "step": step, "row_offset": row_offset}
        out = functional.dropout_forward(x, p, **coordinates, where=where)
        device = of_array(out)
        return out, Saved(self, p=p, coordinates=coordinates, shape=out.shape, dtype=out.dtype, device=device)

    def backward(
        self, saved: Saved, dout: np.ndarray, *, retain: bool = False
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Gradient for the forward call that returned `saved`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dout : (T, B, C) array
        retain : keep `saved` for another backward

        Returns
        -------
        din : (T, B, C) array
        grads : {}, for there are no parameters

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "Dropout.backward"
        retain = checks.boolean(where, "retain", retain)
        fields = expect(where, saved).read(where, self)
        checks.shape(where, "dout", fields.device.array(where, "dout", dout, fields.dtype), "(T, B, C)", fields.shape)
        din = functional.dropout_backward(dout, fields.p, **fields.coordinates, where=where)
        saved.take(where, retain, self)
        return din, {}
