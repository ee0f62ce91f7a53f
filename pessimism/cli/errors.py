"""A user's mistake on the command line, in a line of plain English."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from itertools import dropwhile, takewhile


def _choice(said: re.Match[str]) -> str:
    """The choices in a fixed order, without the None that is not one."""
    choices = sorted(set(re.findall(r"'([^']*)'", said[3])) - {"None"})
    return f"{said[2]} must be one of {', '.join(choices)}, got {said[1]}"


_PHRASES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (  # what tyro says, and what we say
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 must be a number, got \2"),
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 must be an integer, got \2"),
    (r"Error parsing (\S+): no type matching .*FLOAT.* from \[(.*)\]\.", r"\1 must be a number, got \2"),
    (r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)\.", _choice),
    (r"Missing from pessimism (\w+): (\S+).*", r"\1 needs \2"),
    (r"Missing value for argument '(.*)'\..*", r"\1 needs a value"),
    (r"Unrecognized options: (.*)", r"unknown option \1"),
)


def not_a_command(arguments: list[str], commands: Iterable[str]) -> str:
    """Say which commands there are, and which one may have been meant."""
    known = f"the commands are {', '.join(commands)} (see pessimism --help)"
    if not arguments or arguments[0].startswith("-"):
        return f"a command must come first: {known}"
    close = difflib.get_close_matches(arguments[0], list(commands), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown command {arguments[0]!r}; {hint}{known}"


def one_line(box: str, command: str) -> str:
    """Return the first paragraph of tyro's framed message, without the frame and in our words."""
    # The frame is drawn in lines or, where the terminal lacks them, with a rule of hyphens below the title.
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()[1:]]
    lines = ["" if set(line) <= {"─", "-"} else line for line in lines]
    said = " ".join(takewhile(bool, dropwhile(operator.not_, lines)))
    for theirs, ours in _PHRASES:
        said = re.sub(f"^{theirs}$", ours, said)
    return f"{said} (see pessimism {command} --help)"
