"""Console script ``pessimism``: one module for each command, loaded when the command is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from pessimism import __version__
from pessimism.console import exit_code

COMMANDS = {
    "target": "The policy that an objective induces on a bandit.",
    "compare": "The policies of several objectives on the same bandit or log, one row each.",
    "match": "The setting of an objective that gives a wanted KL, value or largest ratio.",
    "diagnose": "What an objective does to the prompt groups of a rollout log.",
    "advise": "What to change: a verdict on a log, candidates, and the number to set.",
    "objectives": "List the objectives that are known by name.",
    "demo": "All of it on a small log that comes with the package.",
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
  pessimism match LOG --objective kimi --kl 0.1
  pessimism advise LOG --trainer config.yaml
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
        Exit status: 0, 2 after one line on stderr for a mistake of the user, 130 after one for an interruption, 141
        where nobody reads the output any more.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(partial(_run, given), "pessimism", process=arguments is None)


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["--version"]:
        print(f"pessimism {__version__}")
    elif arguments[:1] in (["-h"], ["--help"]):
        print(_HELP, end="")
    elif not arguments or arguments[0] not in COMMANDS:
        from pessimism.cli.errors import not_a_command

        raise ValueError(not_a_command(arguments, COMMANDS))
    else:
        from pessimism.cli.parser import run_command

        run_command(arguments[0], arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
