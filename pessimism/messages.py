"""Values, names and errors of others as a message of one line quotes them: short, and without control characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_SHOWN = 40  # characters of a value or a name
_NAMES = 20  # names of a list


def show(value: object) -> str:
    """Return a value as an error message quotes it."""
    try:
        text = "null" if value is None else repr(value)
    except RecursionError:  # lists in lists, deeper than Python goes
        text = f"a {type(value).__name__} nested too deeply"
    return cut(text)


def cut(text: str, length: int = _SHOWN) -> str:
    """Return the beginning of a text, with dots where that is not all."""
    return text if len(text) <= length else text[: length - 3] + "..."


def counted(count: int, what: str) -> str:
    """Return a number of things that take an s where there are several.

    Parameters
    ----------
    count : int
        How many.
    what : str
        One of them.

    Returns
    -------
    str
        Number and name.

    Examples
    --------
    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def names(found: Iterable[object], none: str = "none") -> str:
    """Return names separated by commas: the first ones, each cut, and how many more there are.

    Parameters
    ----------
    found : iterable
        The names.
    none : str, optional
        What to say where there are none.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> names(["prompt", "reward"]), names(f"c{i}" for i in range(300_000))[-29:]
    ('prompt, reward', 'c17, c18, c19 and 299980 more')
    """
    every = list(found)
    more = f" and {len(every) - _NAMES} more" if len(every) > _NAMES else ""
    return (", ".join(plain(cut(str(name))) for name in every[:_NAMES]) or none) + more


def plain(text: str) -> str:
    r"""Return a text as a terminal may show it: what controls it, or turns the direction of writing, is escaped.

    Parameters
    ----------
    text : str
        Any text, such as a prompt.

    Returns
    -------
    str
        The same where all is visible.

    Examples
    --------
    >>> plain("2 + 2 = ?"), plain("\x1b[2J"), plain("a\u202eb\n")
    ('2 + 2 = ?', '\\x1b[2J', 'a\\u202eb\\n')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def reason(error: Exception) -> str:
    """Return why a file cannot be read or written: what the system says, or else the text of the error."""
    return getattr(error, "strerror", None) or one_line(error)


def one_line(error: Exception) -> str:
    """Return the text of an error of another library, for a message of one line."""
    return plain(" ".join(str(error).split())[:120])
