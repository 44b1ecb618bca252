"""Arrays on a GPU, or on the emulated one, that are of another library than CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import Case, make_layer

from fusedrnn.settings import parameter_dtype

pytestmark = pytest.mark.gpu


class Interface:
    """An array that has the CUDA array interface and nothing else."""

    def __init__(self, array: Any) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self._array = array


class Exchanged:
    """An array like a tensor of PyTorch, which has both ways and whose interface may refuse."""

    def __init__(self, array: Any, refusal: str = "") -> None:
        self._array, self._refusal = array, refusal
        self.dtype, self.shape = f"torch.{array.dtype}", array.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError(f"the interface was asked for: {self._refusal}")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **settings: Any) -> Any:
        if self._refusal:
            raise BufferError(self._refusal)
        return self._array.__dlpack__(**settings)


class OnHost:
    """An array like a tensor of PyTorch in host memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise AssertionError("asked for what is in host memory")

    def __repr__(self) -> str:
        return "a tensor"


KINDS = [Interface, Exchanged]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_reads_them_in_place(gpu: Any, kind: type) -> None:
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    assert np.array_equal(gpu.asnumpy(layer(kind(x))[0]), gpu.asnumpy(layer(x)[0]))


def test_bfloat16_comes_by_dlpack_alone(gpu: Any) -> None:
    pytest.importorskip("ml_dtypes")
    dtype = parameter_dtype("test", "bfloat16", ["bfloat16"])
    layer, x = make_layer(Case(), dtype, device="cuda"), gpu.asarray(np.ones((5, 3, 4), dtype))
    y = layer(Exchanged(x))[0]
    assert gpu.asnumpy(y).tobytes() == gpu.asnumpy(layer(x)[0]).tobytes()
    message = "x must be a cupy array of bfloat16, got one whose interface does not tell the dtype; give it with"
    with pytest.raises(TypeError, match=message):
        layer(Interface(x))


def test_what_cannot_be_taken_says_why(gpu: Any) -> None:
    layer, x = make_layer(Case(), device="cuda"), gpu.asarray(np.ones((5, 3, 4)))
    with pytest.raises(TypeError, match="x must be a cupy array of float64, got a tensor; nothing is moved"):
        layer(OnHost())
    with pytest.raises(TypeError, match="x must be an array that may be shared, got one that says: it needs detach"):
        layer(Exchanged(x, "it needs detach"))
    on_cpu = make_layer(Case())
    with pytest.raises(
        TypeError, match=r"x must be a numpy array of float64, got a float64 array of shape \(5, 3, 4\)"
    ):
        on_cpu(Exchanged(x))
    with pytest.raises(TypeError, match="x must be a numpy array of float64, got an array of Interface on a GPU"):
        on_cpu(Interface(x))
