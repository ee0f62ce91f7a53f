"""A mistake of the user on the command line, in a line of plain English."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields

_ADVISE = re.compile(r"^(kl_per_step|share|matched|candidates)(?= must be )")  # arguments that are options of a command
_WHICH_TRAINER = re.compile(r": say which one with trainer=, one of (.*)$", re.DOTALL)  # which no option says


def not_a_command(arguments: list[str], commands: Iterable[str]) -> str:
    """Say which commands there are, and which one may have been meant."""
    import difflib

    known = f"the commands are {', '.join(commands)} (see pessimism --help)"
    if not arguments or arguments[0].startswith("-"):
        return f"a command must come first: {known}"
    close = difflib.get_close_matches(arguments[0], list(commands), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown command {arguments[0]!r}; {hint}{known}"


def as_options(message: str) -> str:
    """Name options as the command line has them, not as keywords of Python; what is quoted stays.

    Parameters
    ----------
    message : str
        A message of the package.

    Returns
    -------
    str
        The same for somebody at a terminal.

    Examples
    --------
    >>> as_options("reward_column 'reward_column' is not a column")
    "--reward-column 'reward_column' is not a column"
    """
    from pessimism.rollouts.options import LogOptions

    message = _ADVISE.sub(lambda name: f"--{name[1].replace('_', '-')}", message)
    message = _WHICH_TRAINER.sub(r"; the trainers known are \1", message)
    names = "|".join(field.name for field in fields(LogOptions) if "_" in field.name)
    said, found, columns = message.partition("; columns found in ")  # which a log may call what it likes
    option = re.compile(rf"(?<![\w'\"-])({names})(?![\w'\"])")
    return option.sub(lambda name: f"--{name[1].replace('_', '-')}", said) + found + columns
