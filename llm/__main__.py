"""Train language models, measure and evaluate them, and validate theory on them.

    python -m llm COMMAND [--config FILE.yaml] [--FIELD VALUE ...]

    train      train a model with an objective of pessimism
    measure    compare a trained model with its behavior, and with what theory predicts
    evaluate   pass@k of a model, with intervals
    validate   run the experiments that check theory on a small model

`python -m llm COMMAND --help` lists the fields of a command. A field on the command line wins over the same field in
the file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from analysis.command import exit_code


def _train(arguments: list[str]) -> int:
    from trl import ModelConfig

    from llm.settings import TrainConfig
    from llm.training.config import OffPolicyConfig
    from llm.training.train import train

    print(train(*_parsed("train", (TrainConfig, OffPolicyConfig, ModelConfig), arguments)))
    return 0


def _measure(arguments: list[str]) -> int:
    from llm.commands.run import measured, require_writable, table, write
    from llm.settings import MeasureConfig

    (settings,) = _parsed("measure", (MeasureConfig,), arguments)
    require_writable(settings.out)
    frame = measured(settings)
    write(frame, settings.out)
    print(table(frame))
    return 0


def _evaluate(arguments: list[str]) -> int:
    from llm.commands.run import evaluated, intervals, require_writable, write
    from llm.settings import EvaluateConfig

    (settings,) = _parsed("evaluate", (EvaluateConfig,), arguments)
    require_writable(settings.out)
    frame, found = evaluated(settings)
    write(frame, settings.out)
    print(f"{settings.model} on {settings.data}, reward {settings.reward}")
    print(intervals(found))
    return 0


def _validate(arguments: list[str]) -> int:
    from llm.validation.run import ValidateConfig, validate

    for path in validate(*_parsed("validate", (ValidateConfig,), arguments)):
        print(path)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "measure": _measure,
    "evaluate": _evaluate,
    "validate": _validate,
}


def _parsed(command: str, types: tuple[type, ...], arguments: list[str]) -> tuple[Any, ...]:
    from llm.commands.parser import Parser

    if not sys.stderr.isatty():
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
    return Parser(types, prog=f"python -m llm {command}").parse(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of the console.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments of the command line; those of this process by default.

    Returns
    -------
    int
        Exit code: 0, or 2 after a mistake of the user, which is said in one line on stderr.

    Examples
    --------
    >>> main(["tain"])
    2
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(partial(_dispatch, given), process=arguments is None)


def _dispatch(given: list[str]) -> int:
    if given[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if not given or given[0] not in COMMANDS:
        said = f"unknown command {given[0]!r}" if given else "a command must come first"
        raise ValueError(f"{said}: the commands are {', '.join(COMMANDS)}")
    return COMMANDS[given[0]](given[1:])


if __name__ == "__main__":
    sys.exit(main())
