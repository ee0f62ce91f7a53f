"""The command ``objectives``: what is known by name."""

from __future__ import annotations

import argparse
import json

from pessimism.cli.options import add_format, check_format
from pessimism.cli.output import print_columns
from pessimism.cli.parser import Parser
from pessimism.losses.index import described
from pessimism.losses.registry import objectives

USAGE = "[options]"
HELP = """\
List the objectives that are known by name: the paper, the loss, the defaults of
the hyper-parameters, the policy that each one induces, and how that was verified."""


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    add_format(parser, "every value is a text")


def run(options: argparse.Namespace) -> None:
    """Print the list."""
    check_format(options)
    rows = [described(cls) for cls in objectives().values()]
    if options.json:
        print(json.dumps({"objectives": rows}))
    elif options.csv:
        print_columns({name: [row[name] for row in rows] for name in rows[0]}, csv=True)
    else:
        for row in rows:
            print(f"{row['name']}({row['defaults']})  {row['title']}, arXiv {row['paper']}")
            print(f"    loss     {row['loss']}")
            print(f"    data     {row['sampling']}, reference {row['reference']}, baseline {row['baseline']}")
            print(f"    induces  {row['induces']}")
            print(f"    regime   {row['regime']}; verified: {row['verified']}")
