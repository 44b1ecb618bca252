"""Noise contrastive estimation: an output layer and its loss in one, for many classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedrnn import checks, functional, initializers, random
from fusedrnn.backends import of_device
from fusedrnn.module import Module
from fusedrnn.saved import Saved, expect
from fusedrnn.settings import parameter_dtype


class NCE(Module):
    """Noise contrastive estimation (Gutmann and Hyvärinen, 2010), as TensorFlow's ``nce_loss`` computes it.

    In training, each row tells its class from S sampled ones instead of from all V: the loss is the cross entropy of
    these 1 + S yes-or-no questions, with logits ``x · weight[v] + bias[v] - log Q(v)``, where Q(v) is how often class
    v is expected among the candidates. The mathematics stands in `fusedrnn.functional.nce`, that of the sampler in
    `fusedrnn.functional.log_uniform`.

    Parameters
    ----------
    num_classes : V; class 0 is the most frequent, as the vocabularies of `fusedrnn.data` number them
    dim : D, columns of x
    num_sampled : S, the number of candidates, with `unique` at most V
    unique : whether the candidates of a step differ
    remove_accidental_hits : leave a candidate out of the rows whose target it is
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of the weights (the number of rows without weights).
    site : number of the place in a model, 0 <= site < 256
        A dropout of the same seed needs another one.
    init : "torch", "keras" or an initializer, as for `Linear` with D columns in and V out
    dtype : "float32" or "float64"
    device : "cpu", or "cuda": parameters and arrays are CuPy's on the current GPU
        The candidates are drawn in host memory there too, from `seed` and the step alone, so that nothing waits.
    seed : of the initial values and of the candidates, 0 <= seed < 2**64

    Attributes
    ----------
    num_classes, dim, num_sampled, seed, site : int
    dtype : numpy.dtype
    device : str

    Notes
    -----
    ``state_dict()`` has ``weight`` (V, D) and ``bias`` (V,).

    Examples
    --------
    >>> nce = fr.nn.NCE(1000, 8, num_sampled=20, seed=0)
    >>> x = np.ones((5, 8), "float32")
    >>> loss, saved = nce.forward(x, np.array([0, 3, 1, 0, 999]), step=4)
    >>> dx, grads = nce.backward(saved)
    >>> dx.shape, grads["weight"].shape, nce.logits(x).shape
    ((5, 8), (1000, 8), (5, 1000))
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        num_sampled: int,
        unique: bool = True,
        remove_accidental_hits: bool = False,
        reduction: functional.Reduction = "mean",
        site: int = 0,
        init: str | initializers.Initializer = "torch",
        dtype: Any = "float32",
        device: str = "cpu",
        seed: int,
    ) -> None:
        super().__init__()
        where = "NCE"
        self.num_classes = checks.integer(where, "num_classes", num_classes, 1)
        self.dim = checks.integer(where, "dim", dim, 1)
        self.unique = checks.boolean(where, "unique", unique)
        self.num_sampled = checks.integer(where, "num_sampled", num_sampled, 1, self.num_classes if unique else None)
        self.remove_accidental_hits = checks.boolean(where, "remove_accidental_hits", remove_accidental_hits)
        checks.choice(where, "reduction", reduction, functional.REDUCTIONS)
        self.reduction = reduction
        self.seed = checks.integer(where, "seed", seed, 0, random.MAX_SEED)
        self.site = checks.integer(where, "site", site, 0, random.MAX_SITE)
        self.dtype = parameter_dtype(where, dtype)
        self._backend = of_device(where, device)
        self.device = self._backend.name
        draw = initializers.resolve_linear(init, self.dim, where=where)
        generator = random.initial_generator(self.seed)
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.num_classes, self.dim), "bias": (self.num_classes,)}
        for name, shape in shapes.items():
            value = initializers.initialise(draw, name, shape, generator, self.dtype, where=where)
            self._add_parameter(name, self._backend.own(value))

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits (..., V) of all classes for x (..., D): what to evaluate a trained model with."""
        return functional.linear_forward(x, self._parameters["weight"], self._parameters["bias"], where="NCE.logits")

    def __call__(
        self, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, *, step: int = 0
    ) -> float | np.ndarray:
        """The loss alone, see `forward`."""
        return self._loss("NCE", x, targets, weights, step)[0]

    def forward(
        self, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, *, step: int = 0
    ) -> tuple[float | np.ndarray, Saved]:
        """Loss of rows x (..., D) against integer targets (...).

        Parameters
        ----------
        x : (..., D) array
        targets : (...) array of any integer dtype, each 0 <= target < V
            On a GPU they are not looked at, since that waits for it; a bad one makes the loss NaN there.
        weights : (...) array of the dtype of `x`, or bool, optional
            A row of weight 0 is ignored; x and its target are not read.
        step : number of the training step, 0 <= step < 2**32; it decides the candidates

        Returns
        -------
        loss : float, summed in float64; on a GPU an array without axes of it
            With "none" a (...) array of the dtype of `x`
        saved : Saved, for one `backward`
        """
        loss, inner = self._loss("NCE.forward", x, targets, weights, step)
        return loss, Saved(self, inner=inner)

    def _loss(
        self, where: str, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, step: int
    ) -> tuple[float | np.ndarray, Saved]:
        return functional.nce_forward(
            x,
            self._parameters["weight"],
            self._parameters["bias"],
            targets,
            num_sampled=self.num_sampled,
            seed=self.seed,
            site=self.site,
            step=step,
            unique=self.unique,
            remove_accidental_hits=self.remove_accidental_hits,
            reduction=self.reduction,
            weights=weights,
            where=where,
        )

    def backward(
        self, saved: Saved, dloss: float | np.ndarray = 1.0, *, retain: bool = False
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Gradients for the forward call that returned `saved`, times `dloss`.

        Parameters
        ----------
        saved : what `forward` returned; used up unless `retain`
        dloss : number, or with "none" a (...) array of the dtype of x
        retain : keep `saved` for another backward

        Returns
        -------
        dx : (..., D) array
        grads : names and shapes of ``state_dict()``; zero for classes that are neither a target nor a candidate

        Raises
        ------
        RuntimeError
            `saved` was used up by an earlier backward.
        """
        where = "NCE.backward"
        inner = expect(where, saved).read(where, self).inner
        dx, dweight, dbias = functional.nce_backward(inner, dloss, retain=retain, where=where)
        saved.take(where, retain, self)
        return dx, {"weight": dweight, "bias": dbias}
