"""Where a system computes."""

from __future__ import annotations

from argparse import Namespace

from fusedrnn.backends import cuda
from fusedrnn.train import world

UNTRAINED = ("cells", "forward", "ptb-reader", "rtrl")  # they show something with NumPy; all others train a model


def chosen_device(options: Namespace, name: str) -> str:
    """What ``--device`` says, or "cpu" where there is no such option; `name` is the system's.

    Raises
    ------
    ValueError
        The system trains nothing, or this installation has no GPU, or several processes share the run.

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
        raise ValueError(f"{name}: --device must be cpu for several processes, got {device} for {world().size}")
    missing = cuda.missing()
    if missing is not None:
        raise ValueError(f"{name}: --device must be cpu here, got {device}: {missing}")
    return device
