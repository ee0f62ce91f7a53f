r"""Rewards by name, checked: a reward that fails stops with the row it failed on, and is never silently zero.

They are called as TRL calls rewards: with lists of completions and of every column of the data set, of one length.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from pessimism.messages import one_line, show

# What TRL hands to a reward beside the columns of the data.
OF_TRL = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
SECONDS = 5  # that math-verify may take to read an answer, and again to compare two
_DELIMITED = re.compile(r"(?<!\\)\$|\\\(|\\\[|\\boxed")


class Reward:
    """A reward function with TRL's signature whose errors say which completion they are about.

    Parameters
    ----------
    name : str
        Name as it was asked for.
    function : callable
        Computes the rewards; it is called with keywords.

    Raises
    ------
    ValueError
        On call, in one line with the row (from 0) and its completion: if the function raises (its error is the cause),
        if it needs a column that is not there, or if it does not return one finite number for each completion.

    Examples
    --------
    >>> Reward("half", lambda completions, **columns: [0.5 for _ in completions])(completions=["a", "b"])
    [0.5, 0.5]
    >>> Reward("none", lambda completions, **columns: [1.0, None])(completions=["a", "b"])
    Traceback (most recent call last):
    ValueError: reward none, row 1 (completion 'b'): returned null, not a finite number
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self.__name__ = name.rpartition(":")[2]  # TRL names its metrics by it

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """Compute the rewards, one for each completion."""
        self._check_columns(columns)
        try:
            values = self.function(completions=completions, **columns)
        except Exception as error:
            raise self._located(error, completions, columns) from error
        if not hasattr(values, "__len__"):
            raise ValueError(f"reward {self.name} returned {show(values)}, not a list of numbers")
        if len(values) != len(completions):
            raise ValueError(f"reward {self.name} returned {len(values)} values for {len(completions)} completions")
        return [self._number(value, row, completions) for row, value in enumerate(values)]

    def require_columns(self, names: Iterable[str]) -> None:
        """Refuse data without a column that the function needs: before a model is made, not at the first completion."""
        self._check_columns((set(names) - {"prompt"}).union(OF_TRL))

    def _check_columns(self, columns: Collection[str]) -> None:
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(self.function).parameters.values():
            needed = parameter.kind in named and parameter.default is parameter.empty
            if needed and parameter.name not in {"completions", *columns}:
                there = ", ".join(sorted(set(columns).difference(OF_TRL))) or "none"
                hint = " (answer_column names it)" if parameter.name == "answer" else ""
                raise ValueError(f"reward {self.name} needs the column {parameter.name!r}{hint}; there are: {there}")

    def _located(self, error: Exception, completions: Sequence[Any], columns: dict[str, Any]) -> ValueError:
        """Find the first row that fails alone; a reward may also fail on a whole batch only."""
        count = len(completions)
        for row in range(count):
            alone = {k: v[row : row + 1] if _per_row(v, count) else v for k, v in columns.items()}
            try:
                self.function(completions=completions[row : row + 1], **alone)
            except Exception as again:
                return ValueError(f"{self._place(row, completions)}: {type(again).__name__}: {one_line(again)}")
        return ValueError(f"reward {self.name}, {count} completions: {type(error).__name__}: {one_line(error)}")

    def _number(self, value: Any, row: int, completions: Sequence[Any]) -> float:
        number = value.item() if getattr(value, "ndim", None) == 0 else value  # of numpy or torch
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{self._place(row, completions)}: returned {show(value)}, not a finite number")
        return float(number)

    def _place(self, row: int, completions: Sequence[Any]) -> str:
        return f"reward {self.name}, row {row} (completion {show(text_of(completions[row]))})"


def reward_function(name: str) -> Reward:
    r"""Find a reward by its name.

    Parameters
    ----------
    name : str
        One of

        - "exact": 1 where the completion is the answer, blanks at the ends aside;
        - "final": 1 where the text after the last ";" of the completion is the answer, as in a chain of thought of
          `llm.data.addition.Addition`;
        - "math_verify": 1 where the two are equal as mathematics;
        - "package.module:function": any reward function written for TRL.

    Returns
    -------
    Reward
        The reward function.

    Raises
    ------
    ValueError
        If there is no such name, module or function, or the function is asynchronous. For errors on call see `Reward`.

    Examples
    --------
    >>> reward_function("exact")(completions=[" 45", "045"], answer=["45", "45"])
    [1.0, 0.0]
    >>> reward_function("final")(completions=["7+8+0=15;3+0+1=04;45"], answer=["45"])
    [1.0]
    >>> reward_function("math_verify")(completions=[r"It is $\frac{1}{2}$.", "0.5", "2"], answer=["1/2"] * 3)
    [1.0, 1.0, 0.0]
    """
    if name in BUILT_IN:
        return Reward(name, BUILT_IN[name])
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ValueError(f"reward must be one of {', '.join(BUILT_IN)}, or 'package.module:function', got {name!r}")
    try:
        function = attrgetter(path)(importlib.import_module(module))
    except Exception as error:  # a module of somebody else's may raise anything
        raise ValueError(f"reward {name}: {type(error).__name__}: {one_line(error)}") from error
    if inspect.isclass(function) or not callable(function):
        raise ValueError(f"reward {name} must be a function, or an object that can be called, got {show(function)}")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(function.__call__):
        raise ValueError(f"reward {name} is asynchronous, which is not supported")
    return Reward(name, function)


def text_of(completion: Any) -> Any:
    """Take the text of a completion.

    Parameters
    ----------
    completion : str or list of dict
        A text, or a conversation, whose last message counts.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> text_of("45"), text_of([{"role": "assistant", "content": "45"}])
    ('45', '45')
    """
    return completion[-1]["content"] if isinstance(completion, list) else completion


def exact(completions: Sequence[Any], answer: Sequence[str], **_: Any) -> list[float]:
    """Reward 1 where the completion, without blanks at its ends, is the answer."""
    return [float(text_of(c).strip() == a.strip()) for c, a in zip(completions, answer, strict=True)]


def final(completions: Sequence[Any], answer: Sequence[str], **_: Any) -> list[float]:
    """Reward 1 where the text after the last ";" of the completion is the answer."""
    return [float(text_of(c).rpartition(";")[2].strip() == a.strip()) for c, a in zip(completions, answer, strict=True)]


def math_verify(completions: Sequence[Any], answer: Sequence[str], **_: Any) -> list[float]:
    r"""Reward 1 where math-verify reads something in the completion that equals the answer, else 0.

    Parameters
    ----------
    completions : sequence
        Texts or conversations. What is read in them is ``\boxed{}`` first, then formulas between dollars and numbers:
        those after "the answer is" before the last ones. LaTeX outside of these is not read: of a bare ``2\sqrt{3}``
        only the 2 is seen.
    answer : sequence of str
        The answer to each; it may be bare LaTeX.
    **_ : object
        Other columns of the data, which are not read.

    Returns
    -------
    list of float
        Rewards.

    Raises
    ------
    ValueError
        If an answer, the reference, cannot be read as mathematics.

    Notes
    -----
    A comparison that takes longer than `SECONDS` counts as unequal and is logged. The limit is a signal, and only the
    main thread gets signals: in other threads there is no limit, and math-verify warns of that.
    """
    return [float(_equal(text_of(c), a)) for c, a in zip(completions, answer, strict=True)]


def _equal(completion: str, answer: str) -> bool:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify  # takes long: sympy

    seconds = _seconds()
    kinds = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    found = parse(completion, kinds, extraction_mode="first_match", parsing_timeout=seconds)
    return bool(verify(list(_reference(answer, seconds)), found, timeout_seconds=seconds))


@lru_cache(maxsize=4096)  # all completions of a group have the same
def _reference(answer: str, seconds: int | None) -> tuple[Any, ...]:
    r"""Parse an answer. Bare LaTeX is boxed first: of ``2\sqrt{3}`` math-verify would see the 2 only."""
    from math_verify import parse

    found = parse(answer if _DELIMITED.search(answer) else rf"\boxed{{{answer}}}", parsing_timeout=seconds)
    if all(isinstance(each, str) for each in found):  # a text is what it falls back to
        raise ValueError(f"the reference answer {show(answer)} cannot be read as mathematics")
    return tuple(found)


def _seconds() -> int | None:
    return SECONDS if threading.current_thread() is threading.main_thread() else None


def _per_row(values: Any, count: int) -> bool:
    return isinstance(values, list | tuple) and len(values) == count


BUILT_IN: dict[str, Callable[..., list[float]]] = {"exact": exact, "final": final, "math_verify": math_verify}
