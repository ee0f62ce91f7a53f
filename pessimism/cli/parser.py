"""The parser of a command: that of the standard library, whose mistakes are a line of plain English."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import NoReturn

from pessimism.literals import real, whole
from pessimism.messages import show

_PHRASES = (  # what argparse says, and what we say
    (r"argument (\S+): expected (?:one|at least one) argument", r"\1 needs a value"),
    (r"argument (\S+): ignored explicit argument .*", r"\1 takes no value"),
    (r"argument (\S+): (.*)", r"\1 \2"),
    (r"the following arguments are required: (.*)", r"{command} needs \1"),
    (r"unrecognized arguments: (-\S+).*", r"unknown option \1"),
    (r"unrecognized arguments: (\S+).*", r"unexpected argument \1"),
)


class Parser(argparse.ArgumentParser):
    """The options of a command.

    Parameters
    ----------
    command : str
        Name of the command.
    usage : str
        What follows the name of the command, in short.
    description : str
        What the command does, in lines as they are printed above the options.
    explains : bool, default False
        Whether help is asked for, so that the options need their explanations.
    """

    def __init__(self, command: str, usage: str, description: str, *, explains: bool = False) -> None:
        super().__init__(
            prog=f"pessimism {command}",
            usage=f"pessimism {command} {usage}".rstrip(),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help="Show this help and exit.")
        self.command = command
        self.explains = explains

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong as a ``ValueError`` in our words."""
        for theirs, ours in _PHRASES:
            message = re.sub(f"^{theirs}$", ours.replace("{command}", self.command), message)
        raise ValueError(f"{message} (see pessimism {self.command} --help)")


def run_command(name: str, arguments: list[str]) -> None:
    """Run a command, which is the module of its name, on what follows the name."""
    command = import_module(f"pessimism.cli.{name}")
    parser = Parser(name, command.USAGE, command.HELP, explains=not {"-h", "--help"}.isdisjoint(arguments))
    command.add_arguments(parser)
    if (options := read_arguments(parser, arguments)) is not None:
        try:
            command.run(options)
        except ValueError as error:
            from pessimism.cli.errors import as_options

            raise ValueError(as_options(str(error))) from None


def read_arguments(parser: Parser, arguments: list[str]) -> argparse.Namespace | None:
    """Read the arguments of a command; None where they asked for help, which is printed then."""
    try:
        return parser.parse_args(_plain(arguments))
    except SystemExit:
        return None


def _plain(arguments: list[str]) -> list[str]:
    """Write options with hyphens, and join a value such as "-1,0" to its option, lest it is read as one."""
    plain: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            plain.append(name.replace("_", "-") + equals + value)
        elif re.match(r"-(\d|\.|inf)", argument) and plain and plain[-1].startswith("--") and "=" not in plain[-1]:
            plain[-1] += f"={argument}"
        else:
            plain.append(argument)
    return plain


def number(text: str) -> float:
    """Read a real number; what is not one is a mistake of the user."""
    try:
        return real(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {show(text)}") from None


def integer(text: str) -> int:
    """Read an integer; what is not one is a mistake of the user."""
    try:
        return whole(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {show(text)}") from None
