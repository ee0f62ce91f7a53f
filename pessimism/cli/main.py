"""Console script ``pessimism``: one module for each command, loaded when the command is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from pessimism import __version__
from pessimism.cli.errors import not_a_command
from pessimism.cli.parser import Parser, read_arguments

COMMANDS = {
    "target": "The policy that an objective induces on a bandit.",
    "compare": "The policies of several objectives on the same bandit, one row each.",
    "diagnose": "What an objective does to the prompt groups of a rollout log.",
    "objectives": "List the objectives that are known by name.",
}
_HELP = f"""usage: pessimism COMMAND [options]

Training a policy with an off-policy objective leads to a target policy, which
need not be the one that the paper's derivation names. pessimism computes it and
says how conservative it is: for a bandit, that is for probabilities and rewards
of a few actions, or for the prompt groups in a log of rollouts.

commands:
{chr(10).join(f"  {name:<12}{summary}" for name, summary in COMMANDS.items())}

options:
  -h, --help  Show this help and exit; pessimism COMMAND --help explains a command.
  --version   Show the version and exit.

examples:
  pessimism target --behavior 0.4,0.3,0.2,0.1 --reward 0.2,0.4,0.6,0.8 --objective kimi --beta 0.25
  pessimism compare --behavior 0.5,0.5 --reward 0,1 --objectives kimi shifted_mean:shift=2
  pessimism diagnose LOG --objective oapl --beta1 0.5
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the name of the script; by default those of this process.

    Returns
    -------
    int
        Exit status: 0, or 2 after one line on stderr for a mistake of the user.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--version"]:
        print(f"pessimism {__version__}")
        return 0
    if arguments[:1] in (["-h"], ["--help"]):
        print(_HELP, end="")
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        return _fail(not_a_command(arguments, COMMANDS))
    try:
        _run(arguments[0], arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        sys.stderr.close()
    except (ValueError, TypeError, OSError) as error:
        return _fail(str(error))
    return 0


def _run(name: str, arguments: list[str]) -> None:
    command = import_module(f"pessimism.cli.{name}")
    parser = Parser(name, command.USAGE, command.HELP, explains=not {"-h", "--help"}.isdisjoint(arguments))
    command.add_arguments(parser)
    if (options := read_arguments(parser, arguments)) is not None:
        command.run(options)


def _fail(message: str) -> int:
    print(f"pessimism: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
