"""`python -m analysis list`, `python -m analysis run NAME --set beta=0.1 --csv FILE`, `python -m analysis findings`."""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.command import exit_code
from pessimism.files import write, write_text
from pessimism.messages import plain, show

if TYPE_CHECKING:
    import pandas as pd


def parse_settings(study: Callable[..., pd.DataFrame], settings: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of a study from `name=value` strings; values are Python literals, or else text.

    Parameters
    ----------
    study : callable
        The study's function.
    settings : sequence of str
        Texts of the form `name=value`.

    Returns
    -------
    dict
        Value by parameter.

    Raises
    ------
    ValueError
        If a string has no `=`, the study has no such parameter, or it is a number and the value is none.

    Examples
    --------
    >>> from analysis import studies
    >>> parse_settings(studies.study("targets").run, ["beta=0.1", "reward=0,1"])
    {'beta': 0.1, 'reward': (0, 1)}
    """
    known = inspect.signature(study).parameters
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--set {setting!r} must be NAME=VALUE with NAME a parameter: {', '.join(known)}")
        try:
            parsed[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            parsed[name] = text
        default = known[name].default
        if isinstance(default, int | float) and not isinstance(default, bool) and isinstance(parsed[name], str):
            raise ValueError(f"--set {name} must be a number, got {show(text)}")
    return parsed


def _list() -> None:
    from analysis import studies

    for name in studies.NAMES:
        run = studies.study(name).run
        print(f"{name:22} {(inspect.getdoc(run) or '').splitlines()[0]}")
        for parameter in inspect.signature(run).parameters.values():
            default = parameter.default
            print(f"{'':24}{parameter.name}={str(default) if isinstance(default, Path) else repr(default)}")


def _run(options: argparse.Namespace) -> int:
    from analysis import studies

    given = parse_settings(studies.study(options.name).run, options.set)
    try:
        frame = studies.run(options.name, options.smoke, options.cache, **given)
    except TypeError as error:
        if not given:
            raise
        raise ValueError(f"--set {', '.join(given)}: a value is of the wrong type ({error})") from error
    if options.csv is None:
        shown = frame.map(lambda value: plain(value) if isinstance(value, str) else value)  # a log may be its source
        print(shown.to_string(index=False, max_rows=60))
    else:
        write({options.csv: lambda part: frame.to_csv(part, index=False, lineterminator="\n")})
    return 0


def _findings(options: argparse.Namespace) -> int:
    from analysis import studies

    text = studies.findings(options.cache)
    if not options.check:
        write_text(studies.PAGE, text)
        print(studies.PAGE)
        return 0
    stale = text != studies.PAGE.read_text(encoding="utf-8")
    if stale:
        print(f"error: {studies.PAGE} is not what the studies find: run `make findings`", file=sys.stderr)
    return int(stale)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; exit code 2 and one line on stderr for a user's mistake.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; that of the process by default.

    Returns
    -------
    int
        Exit code: 0, 2 after a user's mistake, 130 after an interruption.

    Examples
    --------
    >>> main(["run", "targets", "--set", "gamma=1"])
    2
    """
    return exit_code(partial(_command, arguments), process=arguments is None)


def _command(arguments: Sequence[str] | None) -> int:
    from analysis import studies
    from analysis.work import CACHE

    parser = argparse.ArgumentParser(prog="python -m analysis", description="Studies that return a tidy table.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the studies and their parameters")
    run = commands.add_parser("run", help="run one study")
    run.add_argument("name", choices=studies.NAMES)
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated")
    run.add_argument("--smoke", action="store_true", help="fewer points, for a quick look")
    run.add_argument("--csv", type=Path, help="write the table here instead of printing it")
    all_of_them = commands.add_parser("findings", help="run all studies, write what they found to docs/findings.md")
    all_of_them.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    for command in (run, all_of_them):
        command.add_argument("--cache", type=Path, default=CACHE, help="where finished work is kept")
    options = parser.parse_args(arguments)
    if options.command == "list":
        _list()
        return 0
    return _run(options) if options.command == "run" else _findings(options)


if __name__ == "__main__":
    sys.exit(main())
