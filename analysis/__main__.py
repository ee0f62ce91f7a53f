"""`python -m analysis list` and `python -m analysis run NAME --set beta=0.1 --csv FILE`."""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.pass_rate import pass_rate
from analysis.targets import targets

STUDIES: dict[str, Callable[..., pd.DataFrame]] = {"pass_rate": pass_rate, "targets": targets}


def parse_settings(study: Callable[..., pd.DataFrame], settings: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of a study from `name=value` strings; values are Python literals, or else text.

    Raises
    ------
    ValueError
        If a string has no `=` or the study has no such parameter.

    Examples
    --------
    >>> parse_settings(targets, ["beta=0.1", "reward=0,1"])
    {'beta': 0.1, 'reward': (0, 1)}
    """
    known = inspect.signature(study).parameters
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--set {setting!r} is not NAME=VALUE with NAME one of {', '.join(known)}")
        try:
            parsed[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            parsed[name] = text
    return parsed


def _list() -> None:
    for name, study in STUDIES.items():
        print(f"{name:10} {(inspect.getdoc(study) or '').splitlines()[0]}")
        for parameter in inspect.signature(study).parameters.values():
            default = parameter.default
            print(f"{'':12}{parameter.name}={str(default) if isinstance(default, Path) else repr(default)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; exit code 2 and one line on stderr for a user's mistake.

    Examples
    --------
    >>> main(["run", "targets", "--set", "gamma=1"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Studies that return a tidy table.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the studies and their parameters")
    run = commands.add_parser("run", help="run one study")
    run.add_argument("name", choices=sorted(STUDIES))
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated")
    run.add_argument("--csv", type=Path, help="write the table here instead of printing it")
    options = parser.parse_args(arguments)
    if options.command == "list":
        _list()
        return 0
    study = STUDIES[options.name]
    try:
        frame = study(**parse_settings(study, options.set))
        if options.csv is None:
            print(frame.to_string(index=False, max_rows=60))
        else:
            frame.to_csv(options.csv, index=False, lineterminator="\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
