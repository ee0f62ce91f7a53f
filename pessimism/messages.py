"""Values and errors of other libraries as a message of one line quotes them."""

from __future__ import annotations


def show(value: object) -> str:
    """Return a value as an error message quotes it."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def one_line(error: Exception) -> str:
    """Return the text of an error of another library, for a message of one line."""
    return " ".join(str(error).split())[:120]
