"""How a command of the studies ends: what the user has to know in one line, and an exit code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from pessimism import console

_GROUPS = Path(__file__).resolve().parents[1] / "pyproject.toml"


def exit_code(command: Callable[[], int | None], *, process: bool = False) -> int:
    """Run a command; what a user can mend is one line on stderr and 2, an interruption one and 130.

    That is a wrong value, a file, a package that is missing and numbers that stopped being finite. The rest is as in
    `pessimism.console.exit_code`.

    Parameters
    ----------
    command : callable
        Runs the command and returns its exit code, None for 0. What it needs of other packages it imports itself.
    process : bool, default False
        Whether the process ends with the command.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> exit_code(lambda: 0)
    0
    """
    return console.exit_code(
        lambda: _with_packages(command),
        "error",
        interrupted="interrupted: run it again to go on from what was saved",
        mistakes=(*console.MISTAKES, ImportError, FloatingPointError),
        process=process,
    )


def _with_packages(command: Callable[[], int | None]) -> int | None:
    try:
        return command()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}{_group(error.name or '')}", name=error.name) from error


def _group(module: str) -> str:
    """Say which dependency group of this repository brings a module, where one does."""
    package = _distribution(module.partition(".")[0])
    groups = tomllib.loads(_GROUPS.read_text(encoding="utf-8"))["dependency-groups"]
    for name, entries in groups.items():
        listed = [re.split(r"[^\w.-]", entry)[0] for entry in entries if isinstance(entry, str)]
        if any(f"{_distribution(one)}-".startswith(f"{package}-") for one in listed):
            return f"; it comes with the dependency group {name}: pip install -e . --group {name}"
    return ""


def _distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
