"""Tables of aligned columns, and figures to so many digits."""

from __future__ import annotations

from collections.abc import Sequence


def align(lines: Sequence[Sequence[str]], left: int) -> str:
    """Columns of equal width: the first `left` of them flush left, the others flush right; the first line is a head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(
            text.ljust(width) if index < left else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([aligned[0], "-" * len(aligned[0]), *aligned[1:]])


def number(value: float | None, digits: int = 3) -> str:
    """A figure to so many significant digits, without an exponent."""
    if value is None:
        return "-"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(digits - whole, 0)}f}"


def percent(value: float | None) -> str:
    """A share in percent.

    Examples
    --------
    >>> percent(0.876), percent(None)
    ('88%', '-')
    """
    return "-" if value is None else f"{value:.0%}"
