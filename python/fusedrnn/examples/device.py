"""Where a system computes."""

from __future__ import annotations

from argparse import Namespace


def chosen_device(options: Namespace, name: str) -> str:
    """What ``--device`` says, or "cpu" where there is no such option; `name` is the system's.

    Raises
    ------
    ValueError
        This installation does not compute there.

    Examples
    --------
    >>> from argparse import Namespace
    >>> from fusedrnn.examples.device import chosen_device
    >>> chosen_device(Namespace(device="cpu"), "sine")
    'cpu'
    """
    device: str = getattr(options, "device", "cpu")
    if device != "cpu":
        raise ValueError(f"{name}: --device must be cpu, for this installation computes on nothing else, got {device}")
    return device
