"""Sums as a data set: all of them in order, or some drawn without repetition."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset

from llm.data.addition import Addition
from llm.data.sources import settings_in


def read_sums(source: str, limit: int | None) -> Dataset:
    """Sums of a source such as ``"addition:digits=3,steps=true,seed=1"``: all in order, or ``limit`` of them drawn.

    Raises
    ------
    ValueError
        Naming the source: an unknown setting or a bad value; more than two digits and no limit.
    """
    task, seed = _settings(source)
    if limit is None and task.digits > 2:
        raise ValueError(f"{source}: limit is required for more than 2 digits, to say how many sums to draw")
    return addition_examples(task, None if limit is None else min(limit, _sums_of(task)), seed)


def sums_task(source: str) -> Addition:
    """The task of such a source; raises `ValueError` as `read_sums` does.

    Examples
    --------
    >>> sums_task("addition:digits=3,steps=True").steps
    True
    """
    return _settings(source)[0]


def _settings(source: str) -> tuple[Addition, int]:
    given: dict[str, Any] = {"digits": 2, "steps": False, "seed": 0}
    for name, value in settings_in(source, given):
        number = {"true": True, "false": False}.get(value.lower()) if name == "steps" else _digits(value)
        if number is None:
            raise ValueError(f"{source}: {name} must be {'true or false' if name == 'steps' else 'an integer'}")
        given[name] = number
    try:
        return Addition(digits=given["digits"], steps=given["steps"]), given["seed"]
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def addition_examples(task: Addition, count: int | None = None, seed: int = 0) -> Dataset:
    """Sums with their final answers: all of up to two digits, in order, or ``count`` drawn without repetition.

    Raises
    ------
    ValueError
        If ``count`` is not from 1 to the number of sums, or is None for more than two digits.

    Examples
    --------
    >>> addition_examples(Addition(digits=3, steps=True), 1, seed=3)[0]
    {'prompt': '811+085=', 'answer': '896'}
    >>> len(addition_examples(Addition(digits=2)))
    5050
    """
    pairs = task.pairs().tolist() if count is None else _distinct_pairs(task, count, np.random.default_rng(seed))
    return Dataset.from_dict(
        {"prompt": [task.prompt(a, b) for a, b in pairs], "answer": [task.answer(a, b) for a, b in pairs]}
    )


def _digits(value: str) -> int | None:
    return int(value) if value.isdecimal() else None


def _sums_of(task: Addition) -> int:
    top: int = 10**task.digits
    return top * (top + 1) // 2


def _distinct_pairs(task: Addition, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    if not 1 <= count <= _sums_of(task):
        raise ValueError(f"count must be from 1 to {_sums_of(task)}, the number of sums, got {count!r}")
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < count:
        pairs.update(dict.fromkeys((a, b) for a, b in task.draw(rng, count).tolist()))
    return list(pairs)[:count]
