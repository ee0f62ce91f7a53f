"""Settings of a trainer as text: YAML, JSON, TOML, a list of arguments, or a shell script with a command in it."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pessimism.files import read_small
from pessimism.messages import one_line, show
from pessimism.rollouts.lines import read_json

_MOST = 2**20  # bytes of a file of settings
_VALUES = 10_000  # settings and entries of lists; the largest configuration of verl has about a thousand
_DEEPEST = 20  # sections in sections
_LEVELS = 50  # of nesting in YAML
# Of one line each: blanks that go on to the next would be tried anew from each of many empty lines.
_ASSIGNED = re.compile(
    r"^[ \t]*+(?:export[ \t]++)?([A-Za-z_]\w*+)=(\"[^\"]*\"|'[^']*'|[^\s;&|()]*+)[ \t\r]*+(?:#.*)?$", re.MULTILINE
)
_PLAIN = 100  # characters of a variable's value that is put in its place
_ENDS = {")", "|", "||", "&&", "&", ";", ">", ">>", "2>&1", "$@", "$*"}  # of a command, or what stands for others
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?-([^${}]*))?\}|([A-Za-z_]\w*))")


class Source(NamedTuple):
    """Settings by name, sections joined by dots, and the words that stand beside them in a command."""

    settings: dict[str, Any]
    words: tuple[str, ...] = ()
    place: str = "settings"
    suffix: str = ""


def read_source(source: Any) -> Source:
    """Read settings from a file, a list of arguments, a mapping or a dataclass such as `trl.GRPOConfig`.

    Parameters
    ----------
    source : str, Path, list of str, mapping or dataclass
        The settings.

    Returns
    -------
    Source
        Their names and values, which are text where they were text.

    Raises
    ------
    ValueError
        If a file is none, too large or does not parse.
    TypeError
        If it is something else.
    """
    if isinstance(source, str | Path):
        return _file(Path(source))
    if is_dataclass(source) and not isinstance(source, type):
        kind = type(source).__name__
        return Source({f.name: getattr(source, f.name) for f in fields(source)}, (kind,), kind)
    if isinstance(source, Mapping):
        _check_size(source)
        return Source(flat(source))
    if isinstance(source, Sequence) and all(isinstance(word, str) for word in source):
        return arguments(source, "arguments", Path())
    raise TypeError(f"settings must be a file, a list of arguments, a mapping or a dataclass, got {show(source)}")


def flat(given: Mapping[Any, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """Join the names of sections by dots; an empty section is left out.

    Parameters
    ----------
    given : mapping
        Settings, with mappings for sections.
    before : str, optional
        What every name begins with.
    depth : int, optional
        Sections around these.

    Returns
    -------
    dict of str to object
        The settings.

    Examples
    --------
    >>> flat({"algorithm": {"adv_estimator": "grpo"}, "data": {}})
    {'algorithm.adv_estimator': 'grpo'}
    """
    if depth > _DEEPEST:
        raise ValueError(f"settings are nested deeper than {_DEEPEST} sections, at {show(before)}")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.", depth + 1)
        else:
            found[f"{before}{name}"] = value
    return found


def arguments(words: Sequence[str], place: str, folder: Path) -> Source:
    """Read a list of arguments: ``--name value``, ``--name=value``, ``--flag`` and hydra's ``a.b=value``.

    Parameters
    ----------
    words : sequence of str
        The arguments; what is no setting, such as the name of a program, may stand among them.
    place : str
        What an error message begins with.
    folder : Path
        Folder that a file named by ``--config`` is sought in.

    Returns
    -------
    Source
        The settings; a later one counts, and one beside ``--config`` more than one in that file.

    Examples
    --------
    >>> arguments(["trl", "grpo", "--beta", "-0.1", "--use-vllm", "--lr=1"], "arguments", Path()).settings
    {'beta': '-0.1', 'use_vllm': True, 'lr': '1'}
    """
    found: dict[str, Any] = {}
    others: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in _ENDS:
            continue
        name, equals, value = word.lstrip("-+").partition("=")
        if word.startswith("--") and name:
            name = name.replace("-", "_")
            values = [value] if equals else []
            while not equals and at < len(words) and not _is_option(words[at]):
                values.append(words[at])
                at += 1
            found[name] = (values[0] if len(values) == 1 else values) if values else True
        elif equals and re.fullmatch(r"[\w.]+", name) and ("." in name or word[0] == "+"):
            found[name] = value.strip("'\"")
        elif word.startswith("~"):
            found[word[1:].partition("=")[0]] = None
        else:
            others.append(word)
    base = Source({})
    if isinstance(file := found.pop("config", None), str):
        base = _file(folder / file, command=False)
    return Source(base.settings | found, (*base.words, *others), place)


def _is_option(word: str) -> bool:
    if word in _ENDS:
        return True
    return re.match(r"--?[A-Za-z_]|\+", word) is not None or re.match(r"[A-Za-z_]\w*(\.\w+)+=", word) is not None


def _check_size(given: Any) -> None:
    """Raise ``ValueError`` where there are too many values: in YAML a few lines can stand for billions."""
    left, count = [given], 0
    while left:
        value = left.pop()
        count += 1
        if count > _VALUES:
            raise ValueError(f"settings have more than {_VALUES} values")
        left += value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def _file(path: Path, *, command: bool = True) -> Source:
    """Settings in a file, which may be a command unless a command names it."""
    try:
        text = read_small(path, _MOST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    suffix = path.suffix.lower()
    if suffix in (".json", ".toml", ".yaml", ".yml"):
        parsed = _parsed(path, suffix, text)
        try:
            _check_size(parsed)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if command and isinstance(parsed, list) and all(isinstance(word, str) for word in parsed):
            return arguments(parsed, str(path), path.parent)
        if not isinstance(parsed, Mapping):
            raise ValueError(f"{path} must hold settings by name, got {show(parsed)}")
        try:
            return Source(flat(parsed), (), str(path), suffix)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if not command:
        raise ValueError(f"{path} must be YAML, JSON or TOML by its name, as what --config names")
    try:
        words = _words(text)
    except ValueError as error:
        raise ValueError(f"{path} does not read as a command: {one_line(error)}") from None
    return arguments(words, str(path), path.parent)


def _parsed(path: Path, suffix: str, text: str) -> Any:
    try:
        if suffix == ".json":
            return read_json(text)
        if suffix == ".toml":
            return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not {suffix[1:].upper()}: {one_line(error)}") from None
    try:
        import yaml
    except ImportError:
        raise ValueError(f"{path} is YAML, which needs PyYAML (pip install pyyaml); JSON and TOML do without") from None
    try:
        if why := too_much(yaml.parse(text), yaml.events, _VALUES, _LEVELS):
            raise ValueError(f"{path}{why}")
        return yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {one_line(error)}") from None


def too_much(events: Iterable[Any], kinds: Any, most: int, deepest: int) -> str | None:
    """Say where a YAML text has too many values, each alias counted as all it stands for, or is nested too deep.

    Parameters
    ----------
    events : iterable
        What a parser of PyYAML, or of ruamel.yaml, says of the text; nothing is built of it.
    kinds : module
        The classes of these events.
    most : int
        Values that there may be.
    deepest : int
        Levels of nesting that there may not be.

    Returns
    -------
    str or None
        The line and what is wrong with it, to follow the name of a file.
    """
    sizes: dict[str | None, int] = {}
    path: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values of each level so far
    for event in events:
        more = 0
        if isinstance(event, kinds.CollectionStartEvent):
            path.append((event.anchor, 1))
        elif isinstance(event, kinds.CollectionEndEvent):
            anchor, more = path.pop()
            sizes[anchor] = more
        elif isinstance(event, kinds.ScalarEvent):
            more = sizes[event.anchor] = 1
        elif isinstance(event, kinds.AliasEvent):  # of what is still open: without end; of nothing: an error later
            more = most + 1 if event.anchor in {anchor for anchor, _ in path} else sizes.get(event.anchor, 0)
        path[-1] = path[-1][0], path[-1][1] + more
        if len(path) > deepest:
            return f":{event.start_mark.line + 1}: nested more than {deepest - 1} levels deep"
        if path[-1][1] > most:
            return f":{event.start_mark.line + 1}: more than {most} values, aliases counted as what they stand for"
    return None


def _words(script: str) -> list[str]:
    """Words of a shell script, in which variables that it sets to plain text are replaced; nothing is run."""
    script = script.replace("\\\n", " ")
    for _ in range(5):  # a variable may be set to another one
        known = {name: value.strip("'\"") for name, value in _ASSIGNED.findall(script) if len(value) <= _PLAIN}
        filled = _filled(script, known)
        if filled == script or len(filled) > _MOST:
            break
        script = filled
    try:
        words = shlex.split(script, comments=True)
    except ValueError:  # an apostrophe in some text that is no command
        words = [word for line in script.splitlines() for word in shlex.split(line, comments=True)]
    return [part for word in words for part in (shlex.split(word) if " --" in word else [word])]


def _filled(script: str, known: Mapping[str, str]) -> str:
    """Script with the values of variables; ``${NAME:-value}`` has one where the script sets none."""

    def value(found: re.Match[str]) -> str:
        name, default = found[1] or found[3], found[2]
        return known.get(name, found[0] if default is None else default)

    return _VARIABLE.sub(value, script)
