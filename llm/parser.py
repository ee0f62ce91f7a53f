"""TRL's parser of dataclasses, with a user's mistake in one line: in a file, too, and among hundreds of fields."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from inspect import get_annotations
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from trl import TrlParser


class Parser(TrlParser):  # type: ignore[misc]
    """Fields of dataclasses from a YAML file and the command line, which wins.

    Examples
    --------
    >>> from llm.settings import EvaluateConfig
    >>> Parser((EvaluateConfig,), prog="evaluate").parse(["--sampels", "3"])
    Traceback (most recent call last):
    ...
    ValueError: unknown field 'sampels'; did you mean 'samples'? evaluate --help lists all
    """

    _file = ""

    def parse(self, arguments: Sequence[str]) -> tuple[Any, ...]:
        """The dataclasses, filled.

        Raises
        ------
        ValueError
            Of one line: no such field, a value that is none of it, a file that is not YAML; and as the dataclasses do.
        """
        given = [part for one in arguments for part in (one.split("=", 1) if one.startswith("--config=") else [one])]
        if "--config" in given[-1:]:
            raise ValueError("--config needs a file")
        if "--config" in given:
            self._file = given[given.index("--config") + 1]
        try:
            *found, in_file, given_here = self.parse_args_and_config(
                given, return_remaining_strings=True, separate_remaining_strings=True
            )
        except (TypeError, yaml.YAMLError) as error:  # of a dataclass: no value where it must have one
            raise ValueError(str(error)) from error
        for where, unknown in ((f"{self._file}: ", in_file), ("", given_here)):
            if unknown:
                self.error(where + self._unknown(unknown[0].removeprefix("--")))
        return tuple(found)

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, [action.dest for action in self._actions], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field {name!r}; {hint}{self.prog} --help lists all"

    def error(self, message: str) -> NoReturn:
        """Without all fields there are, which argparse prints."""
        raise ValueError(message)

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """TRL's, of values checked as those of the command line are: argparse takes defaults for right."""
        known = {action.dest: action for action in self._actions}
        made = {name: self._value(known[name], value) if name in known else value for name, value in config.items()}
        rest: list[str] = super().set_defaults_with_config(**made)
        return rest

    def _value(self, action: argparse.Action, value: Any) -> Any:
        if action.nargs in ("+", "*") and value is not None:
            return [self._one(action, part) for part in (value if isinstance(value, list) else [value])]
        return self._one(action, value)

    def _one(self, action: argparse.Action, value: Any) -> Any:
        if value is None or (isinstance(value, dict | list) and action.dest in self._structured):
            return value
        try:
            if isinstance(value, dict | list):
                raise argparse.ArgumentError(action, f"must be one value, got {value!r}")
            made = self._get_value(action, str(value))
            self._check_value(action, made)
        except argparse.ArgumentError as error:
            self.error(f"{self._file}: {error}")
        return made

    @property
    def _structured(self) -> set[str]:
        """Fields whose one value may be a mapping or a list."""
        # As annotated: of a union the parser of transformers keeps the text alone.
        said = [pair for one in self.dataclass_types for base in one.__mro__ for pair in get_annotations(base).items()]
        return {name for name, kind in said if "dict" in str(kind) or "list" in str(kind)}
