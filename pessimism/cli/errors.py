"""A mistake of the user on the command line, in a line of plain English."""

from __future__ import annotations

from collections.abc import Iterable


def not_a_command(arguments: list[str], commands: Iterable[str]) -> str:
    """Say which commands there are, and which one may have been meant."""
    import difflib

    known = f"the commands are {', '.join(commands)} (see pessimism --help)"
    if not arguments or arguments[0].startswith("-"):
        return f"a command must come first: {known}"
    close = difflib.get_close_matches(arguments[0], list(commands), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown command {arguments[0]!r}; {hint}{known}"
