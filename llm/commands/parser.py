"""TRL's parser of dataclasses, with one line for a mistake of the user, in a file, too, and among hundreds of fields.

Files are read as YAML 1.2, in which 1e-3 is a number; a field that stands there twice is a mistake.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Sequence
from inspect import get_annotations
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from trl import TrlParser

from pessimism.files import read_small
from pessimism.messages import one_line
from pessimism.trainers.sources import too_much

_LARGEST = 1_000_000  # bytes of a file
_MOST, _DEEPEST = 10_000, 50  # values, and levels of nesting


class Parser(TrlParser):  # type: ignore[misc]
    """Parser of dataclasses whose fields come from a YAML file and from the command line, which wins.

    Parameters
    ----------
    types : tuple of type
        The dataclasses.
    **options : object
        Options of ``argparse.ArgumentParser``, such as ``prog``.

    Examples
    --------
    >>> from llm.settings import EvaluateConfig
    >>> Parser((EvaluateConfig,), prog="evaluate").parse(["--sampels", "3"])
    Traceback (most recent call last):
    ...
    ValueError: unknown field 'sampels'; did you mean 'samples'? evaluate --help lists all
    """

    _file = ""

    def __init__(self, types: tuple[type, ...], **options: Any) -> None:
        # An abbreviation would be a field here, and none in a file.
        super().__init__(types, allow_abbrev=False, **options)

    def parse(self, arguments: Sequence[str]) -> tuple[Any, ...]:
        """Fill the dataclasses.

        Parameters
        ----------
        arguments : sequence of str
            Arguments of the command line; ``--config FILE`` names the file.

        Returns
        -------
        tuple
            The dataclasses.

        Raises
        ------
        ValueError
            In one line, if there is no such field, a value is none of its field, or the file is not YAML; and as the
            dataclasses do.
        """
        given = [part for one in arguments for part in (one.split("=", 1) if one.startswith("--config=") else [one])]
        told: dict[str, Any] = {}
        if "--config" in given[-1:]:
            raise ValueError("--config needs a file")
        if given.count("--config") > 1:
            raise ValueError("--config must be given once")
        if "--config" in given:
            at = given.index("--config")
            self._file = given[at + 1]
            del given[at : at + 2]
            told = self._read()
            if unknown := self.set_defaults_with_config(**told):
                self.error(f"{self._file}: {self._unknown(unknown[0].removeprefix('--'))}")
        if unknown := self.parse_known_args(given)[1]:  # before what the dataclasses miss because of it
            self.error(self._unknown(unknown[0].removeprefix("--")))
        try:
            found: tuple[Any, ...] = self.parse_args_into_dataclasses(given, look_for_args_file=False)
        except TypeError as error:  # of a dataclass: no value where it must have one
            raise ValueError(str(error)) from error
        except ValueError as error:
            names = {part.partition("=")[0].removeprefix("--") for part in given if part.startswith("--")}
            if "hyper-parameter" in str(error) and "hyper" not in names and "hyper" in told:
                raise ValueError(
                    f"{error}; hyper is that of {self._file}: --hyper replaces it, by '{{}}' too"
                ) from error
            raise
        return found

    def _read(self) -> dict[str, Any]:
        """Read the file; its ``env`` goes to the environment, as in TRL."""
        try:
            content = read_small(Path(self._file), _LARGEST)
        except ValueError as error:
            raise ValueError(f"--config {error}") from error
        try:
            text = content.decode()
            # Nothing is built for that: a few lines of aliases of aliases stand for more than any memory holds.
            if why := too_much(YAML(typ="safe", pure=True).parse(text), events, _MOST, _DEEPEST):
                raise ValueError(f"{self._file}{why}")
            found = YAML(typ="safe", pure=True).load(text)
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._file}: not valid UTF-8 (byte {error.start + 1})") from error
        except MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
            raise ValueError(f"{self._file}{line}: {error.problem}") from error
        except YAMLError as error:  # a character that no such file may hold
            raise ValueError(f"{self._file}: {one_line(error)}") from error
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self._file}: must be fields with their values, a YAML mapping")
        environment = found.pop("env", {})
        if not isinstance(environment, dict):
            raise ValueError(f"{self._file}: env must be a mapping, got {environment!r}")
        os.environ.update({str(name): str(value) for name, value in environment.items()})
        return found

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, [action.dest for action in self._actions], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field {name!r}; {hint}{self.prog} --help lists all"

    def error(self, message: str) -> NoReturn:
        """Raise the message alone; argparse would print all fields before it."""
        raise ValueError(message)

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """Check values of the file as those of the command line are checked; argparse takes defaults for right."""
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
