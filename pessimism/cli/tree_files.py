"""Token trees from a file: a completion a line, with its tokens, their log-probabilities and its reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pessimism.messages import names, show
from pessimism.rollouts.lines import json_object, read_lines
from pessimism.tokens.tree import TokenTree

_NEEDED = ("tokens", "log_probs", "reward")
_OPTIONAL = ("reference_log_probs", "mask", "truncated")


def read_tree(path: Path, **rest: Any) -> TokenTree:
    """Read the completions of one prompt from JSON lines.

    Parameters
    ----------
    path : Path
        The file; each line is an object with ``tokens``, ``log_probs`` and ``reward``, and optionally
        ``reference_log_probs``, ``mask`` and ``truncated``, which then stand in every line.
    **rest : Any
        What :meth:`pessimism.TokenTree.from_completions` is told of completions that are not listed.

    Returns
    -------
    TokenTree
        The tree.

    Raises
    ------
    ValueError
        Names the file and the line that cannot be read, or the rule that the completions break.
    """
    columns: dict[str, list[Any]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            found = json_object(line)
            missing = [name for name in _NEEDED if name not in found]
            if missing:
                raise ValueError(f"no {names(missing)}; found {names(found)}")
            given = [*_NEEDED, *(name for name in _OPTIONAL if name in found)]
            if columns and set(given) != set(columns):
                raise ValueError(f"it has {names(given)}, but the first line {names(columns)}")
            for name in given:
                columns.setdefault(name, []).append(_checked(name, found[name]))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    if not columns:
        raise ValueError(f"{path}: no completion in it")
    try:
        completions, log_probs, reward = (columns.pop(name) for name in _NEEDED)
        optional: dict[str, Any] = {**columns, **rest}
        return TokenTree.from_completions(completions, log_probs, reward, **optional)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(name: str, value: Any) -> Any:
    """A value of the kind that its name says."""
    kind, what = {
        "tokens": (int, "a list of token ids"),
        "reward": (float, "a number"),
        "mask": (bool, "a list of true and false"),
        "truncated": (bool, "true or false"),
    }.get(name, (float, "a list of numbers"))
    entries = value if isinstance(value, list) else [value]
    alone = name in ("reward", "truncated")
    if alone == isinstance(value, list) or not all(_is(kind, entry) for entry in entries):
        raise ValueError(f"{name} must be {what}, got {show(value)}")
    return value


def _is(kind: type, entry: Any) -> bool:
    if kind is bool:
        return isinstance(entry, bool)
    return not isinstance(entry, bool) and isinstance(entry, int if kind is int else int | float)
