"""The command ``demo``: the commands that answer questions about a log, on one that comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

import pessimism
from pessimism.cli.parser import Parser, run_command
from pessimism.files import write_text

USAGE = "[options]"
HELP = """\
Show what the commands say about a small log: 32 additions, learned with GRPO on data
that lag. The log and the settings of its trainer come with the package. Each command
is printed as one would type it, and then what it prints."""
_DATA = Path(pessimism.__file__).parent / "demo"
_LOG, _SETTINGS = "rollouts.jsonl", "grpo.yaml"
_SHOWN = (
    (
        "Where does training with these settings pull the policy, and how far?",
        ("diagnose", _LOG, "--trainer", _SETTINGS, "--rows", "5"),
    ),
    (
        "What would other objectives do, at the same distance from the behavior?",
        ("compare", _LOG, "--objectives", "nominal", "kimi", "oapl", "chi2", "shifted_mean", "--matched", "kl=0.02"),
    ),
    (
        "Which temperature of Kimi's objective moves the policy by a KL of 0.1?",
        ("match", _LOG, "--objective", "kimi", "--kl", "0.1"),
    ),
    (
        "What should be changed, and what does the age of the data do?",
        ("advise", _LOG, "--trainer", _SETTINGS, "--candidates", "nominal", "kimi", "--kl-per-step", "0.001"),
    ),
)


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--copy",
        metavar="FOLDER",
        type=Path,
        help="Copy the log and the settings into this folder, instead, to try the commands on them.",
    )


def run(options: argparse.Namespace) -> None:
    """Run the commands one after the other, or copy what they read."""
    if options.copy is not None:
        _copy(options.copy)
        return
    print(f"{_LOG} and {_SETTINGS} are in {_DATA}; pessimism demo --copy FOLDER copies them.")
    for question, arguments in _SHOWN:
        print(f"\n{question}\n$ pessimism {' '.join(arguments)}")
        command, *rest = (str(_DATA / word) if word in (_LOG, _SETTINGS) else word for word in arguments)
        run_command(command, rest)


def _copy(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--copy must be a folder, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_LOG, _SETTINGS):
        write_text(folder / name, (_DATA / name).read_text(encoding="utf-8"))
        print(folder / name)
