"""Numbers as people and programs write them in texts: ASCII digits, a point, an exponent, and nothing else."""

from __future__ import annotations

import re

# Python's float and int also take underscores (1_000) and the digits of every script, which nobody writes for a number.
# Digits that were taken are not given back (++): what is no number is known in one pass, however long it is.
_REAL = re.compile(r"[+-]?(\d++\.?\d*+|\.\d++)(e[+-]?\d++)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_SPACE = " \t\r\n"


def real(text: str) -> float:
    """Read a real number, infinity or nan.

    Parameters
    ----------
    text : str
        The number, with blanks around it or without.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If the text is no number.

    Examples
    --------
    >>> real(" -1.5e-3 "), real("inf")
    (-0.0015, inf)
    >>> real("1_000")
    Traceback (most recent call last):
    ...
    ValueError: not a number
    """
    inner = text.strip(_SPACE)
    if not _REAL.fullmatch(inner):
        raise ValueError("not a number")
    return float(inner)


def whole(text: str) -> int:
    """Read an integer.

    Parameters
    ----------
    text : str
        The integer, with blanks around it or without.

    Returns
    -------
    int
        The integer.

    Raises
    ------
    ValueError
        If the text is no integer.

    Examples
    --------
    >>> whole("+12")
    12
    """
    inner = text.strip(_SPACE)
    if not _WHOLE.fullmatch(inner):
        raise ValueError("not an integer")
    return int(inner)
