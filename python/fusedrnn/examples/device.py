"""Where a system computes."""

from __future__ import annotations

from argparse import Namespace

from fusedrnn.backends import choose_gpu, cuda
from fusedrnn.train import world

UNTRAINED = ("cells", "forward", "ptb-reader", "rtrl")  # they show something with NumPy; all others train a model


def chosen_device(options: Namespace, name: str) -> str:
    """What ``--device`` says, or "cpu" where there is no such option; `name` is the system's.

    Of several processes each then has a GPU of its own as the current one.

    Raises
    ------
    ValueError
        The system trains nothing, or there is no GPU for this process, or no NCCL for several of them.

    Examples
    --------
    >>> from argparse import Namespace
    >>> from fusedrnn.examples.device import chosen_device
    >>> chosen_device(Namespace(device="cpu"), "sine")
    'cpu'
    """
    device: str = getattr(options, "device", "cpu")
    if device == "cpu":
        return device
    if name in UNTRAINED:
        raise ValueError(f"{name}: --device must be cpu, for nothing here is trained, got {device}")
    if world().size > 1:
        choose_gpu(name, world())
        return device
    missing = cuda.missing()
    if missing is not None:
        raise ValueError(f"{name}: --device must be cpu here, got {device}: {missing}")
    return device
