"""Sums as a task: its prompts and answers, and completions noisy enough to leave something to learn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset


@dataclass(frozen=True)
class Addition:
    """Sums of two numbers of a few digits whose sum has no more digits: "07+38=" and "45".

    Attributes
    ----------
    digits : int, default 2
        Digits of each number and of the sum; leading zeros are written.
    steps : bool, default False
        Whether a completion writes down the sum of each column with its carry before the answer, last column first:
        "347+286=" and "7+6+0=13;4+8+1=13;3+2+1=06;633".
    noise : float, default 0.5
        Share of the completions in `examples` that go wrong somewhere: in the answer, or, with `steps`, in one column,
        which the columns after it then follow.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> task = Addition()
    >>> task.prompt(7, 38), task.answer(7, 38), len(task.pairs())
    ('07+38=', '45', 5050)
    >>> chain = Addition(digits=3, steps=True)
    >>> chain.solution(347, 286), chain.final(chain.solution(347, 286))
    ('7+6+0=13;4+8+1=13;3+2+1=06;633', '633')
    """

    digits: int = 2
    steps: bool = False
    noise: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.digits, bool) or not isinstance(self.digits, int) or self.digits < 1:
            raise ValueError(f"digits must be an integer >= 1, got {self.digits!r}")
        if not isinstance(self.steps, bool):
            raise ValueError(f"steps must be true or false, got {self.steps!r}")
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"noise must be in [0, 1], got {self.noise!r}")
        object.__setattr__(self, "noise", float(self.noise))  # 1 and 1.0 are one setting

    @property
    def alphabet(self) -> str:
        """Every character of a prompt or a completion."""
        return "0123456789+=" + (";" if self.steps else "")

    @property
    def completion_length(self) -> int:
        """Characters of a correct completion."""
        return self.digits + (9 * self.digits if self.steps else 0)

    def pairs(self) -> np.ndarray:
        """List all pairs ``(n, 2)`` whose sum has no more digits, in order; only for up to two digits."""
        if self.digits > 2:
            raise ValueError(f"pairs are listed for up to 2 digits, got digits={self.digits}: draw them instead")
        pairs: np.ndarray = np.stack(np.divmod(np.arange(100**self.digits), 10**self.digits), axis=-1)
        return np.asarray(pairs[pairs.sum(axis=-1) < 10**self.digits])

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw pairs ``(count, 2)``, uniformly among those whose sum has no more digits."""
        numbers = rng.integers(10**self.digits, size=(count, 2))
        while np.any(too_large := numbers.sum(axis=-1) >= 10**self.digits):
            numbers[too_large] = rng.integers(10**self.digits, size=(int(too_large.sum()), 2))
        return numbers

    def prompt(self, a: int, b: int) -> str:
        """Text that the model reads."""
        return f"{a:0{self.digits}d}+{b:0{self.digits}d}="

    def answer(self, a: int, b: int) -> str:
        """Text of the right answer."""
        return f"{a + b:0{self.digits}d}"

    def solution(self, a: int, b: int, wrong: tuple[int, int] | None = None) -> str:
        """Write a completion: a right one, or one with a slip.

        Parameters
        ----------
        a, b : int
            The two numbers.
        wrong : tuple of int, optional
            The slip: its column (the last one is 0), and how much the sum of that column is raised by, modulo 20.
            Without steps the answer is raised by that much. By default there is none.

        Returns
        -------
        str
            The completion.
        """
        if not self.steps:
            slip = 0 if wrong is None else wrong[1]
            return f"{(a + b + slip) % 10**self.digits:0{self.digits}d}"
        carry, written, result = 0, [], ""
        for column in range(self.digits):
            x, y = a // 10**column % 10, b // 10**column % 10
            total = x + y + carry
            if wrong is not None and wrong[0] == column:
                total = (total + wrong[1]) % 20
            written.append(f"{x}+{y}+{carry}={total:02d}")
            carry, result = total // 10, f"{total % 10}{result}"
        return ";".join([*written, result])

    def final(self, completion: str) -> str:
        """Cut the answer out of a completion: the text after the last column."""
        return completion.rpartition(";")[2] if self.steps else completion

    def examples(self, seed: int, batch: int) -> Iterator[list[tuple[str, str]]]:
        """Draw batches of prompts and completions without end.

        Parameters
        ----------
        seed : int
            Equal seeds give equal batches.
        batch : int
            Number of examples in a batch.

        Yields
        ------
        list of tuple of str
            Pairs of a prompt and a completion; a share `noise` of the completions is wrong.
        """
        rng = np.random.default_rng(seed)
        while True:
            rows = []
            for a, b in self.draw(rng, batch).tolist():
                slips = 20 if self.steps else 10**self.digits
                wrong = (
                    (int(rng.integers(self.digits)), int(rng.integers(1, slips))) if rng.random() < self.noise else None
                )
                rows.append((self.prompt(a, b), self.solution(a, b, wrong)))
            yield rows


def digits_right(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """Reward the share of the digits of the answer that stand in their places.

    Parameters
    ----------
    completions : list of str
        Completions.
    answer : list of str
        The answer to each.
    **_ : object
        Other columns of the data, which are not read.

    Returns
    -------
    list of float
        Rewards in [0, 1]; 0 for a completion that is longer or shorter than the answer.

    Examples
    --------
    >>> digits_right(["45", "35", "4", "450"], ["45"] * 4)
    [1.0, 0.5, 0.0, 0.0]
    """
    return [
        float(np.mean([a == b for a, b in zip(said, right, strict=True)])) if len(said) == len(right) else 0.0
        for said, right in zip(completions, answer, strict=True)
    ]


def settings_in(source: str, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Read the settings after the colon of a source such as "addition:digits=2".

    Parameters
    ----------
    source : str
        Text of the form "NAME" or "NAME:SETTING=VALUE,...".
    known : collection of str
        Names that a setting may have.

    Yields
    ------
    tuple of str
        Name and value of each setting, as text.

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> list(settings_in("addition:digits=2, steps=true", ("digits", "steps")))
    [('digits', '2'), ('steps', 'true')]
    """
    for pair in filter(None, source.partition(":")[2].split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in known:
            raise ValueError(f"{source}: unknown setting {name!r}; known are {', '.join(known)}")
        yield name, value


def read_sums(source: str, limit: int | None) -> Dataset:
    """Make the sums of a source such as "addition:digits=3,steps=true,seed=1".

    Parameters
    ----------
    source : str
        Starts with "addition"; settings are `digits`, `steps` and `seed`.
    limit : int or None
        How many sums are drawn; None takes all of them in order.

    Returns
    -------
    datasets.Dataset
        Columns ``prompt`` and ``answer``.

    Raises
    ------
    ValueError
        If a setting is unknown or its value is bad, or if there is no limit and more than two digits. The message
        names the source.
    """
    task, seed = _settings(source)
    if limit is None and task.digits > 2:
        raise ValueError(f"{source}: limit is required for more than 2 digits, to say how many sums to draw")
    return addition_examples(task, None if limit is None else min(limit, _sums_of(task)), seed)


def sums_task(source: str) -> Addition:
    """Read the task out of a source as `read_sums` takes it.

    Parameters
    ----------
    source : str
        Starts with "addition".

    Returns
    -------
    Addition
        The task.

    Raises
    ------
    ValueError
        If a setting is unknown or its value is bad.

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
    """Make sums with their final answers.

    Parameters
    ----------
    task : Addition
        The task.
    count : int, optional
        How many sums are drawn, without repetition; by default all sums of up to two digits, in order.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    datasets.Dataset
        Columns ``prompt`` and ``answer``.

    Raises
    ------
    ValueError
        If `count` is not from 1 to the number of sums, or is None for more than two digits.

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
