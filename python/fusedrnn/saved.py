"""What a forward pass hands to its backward pass: named values that one backward uses up.

Using them up frees memory as early as possible, and a second backward by mistake is an error instead of a
gradient counted twice. ``backward(saved, ..., retain=True)`` keeps them for another one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Saved:
    """Named values kept for one backward pass.

    Parameters
    ----------
    owner : optional
        Who saved the values: the layer itself, or the forward function. Whoever reads them with another owner
        gets an error; two layers of equal shape could otherwise swap their values unnoticed.
    **fields
        The values.

    Examples
    --------
    >>> from fusedrnn.saved import Saved
    >>> saved = Saved(x=3, y=4)
    >>> saved.take("f_backward", retain=True).x
    3
    >>> saved.take("f_backward", retain=False).y
    4
    >>> saved.take("f_backward", retain=False)
    Traceback (most recent call last):
        ...
    RuntimeError: f_backward: saved must be unused, but an earlier backward used it up; give that one retain=True
    """

    __slots__ = ("_fields", "_owner")

    def __init__(self, owner: object = None, /, **fields: Any) -> None:
        self._owner = owner
        self._fields: SimpleNamespace | None = SimpleNamespace(**fields)

    def read(self, where: str, owner: object = None) -> SimpleNamespace:
        """Return the values without using them up, so that arguments can be checked against them first.

        Raises
        ------
        RuntimeError
            The values were used up.
        ValueError
            `owner` is not who saved them.
        """
        if self._owner is not owner:
            raise ValueError(f"{where}: saved must come from the forward of the same layer, got that of another one")
        if self._fields is None:
            raise RuntimeError(
                f"{where}: saved must be unused, but an earlier backward used it up; give that one retain=True"
            )
        return self._fields

    def take(self, where: str, retain: bool, owner: object = None) -> SimpleNamespace:
        """Return the values and, unless `retain`, use them up; errors as of `read`."""
        fields = self.read(where, owner)
        if not retain:
            self._fields = None
        return fields


def expect(where: str, value: Any) -> Saved:
    """Return `value` if it is a `Saved`, else raise TypeError."""
    if not isinstance(value, Saved):
        raise TypeError(f"{where}: saved must be what forward returned, got {type(value).__name__}")
    return value
