"""A bandit problem on the command line: lists of numbers over its actions."""

from __future__ import annotations

from typing import NamedTuple

from pessimism.literals import real
from pessimism.messages import show


class LabeledBandit(NamedTuple):
    """A bandit: a label, and lists over its actions; ``reference`` is None where it is the behavior."""

    label: str
    behavior: list[float]
    reward: list[float]
    reference: list[float] | None


def parse_numbers(name: str, text: str) -> list[float]:
    """Read numbers from "0.4,0.3" or "[0.4, 0.3]".

    Parameters
    ----------
    name : str
        What the numbers are, for the error.
    text : str
        The numbers, separated by commas.

    Returns
    -------
    list of float
        The numbers.

    Raises
    ------
    ValueError
        If an entry is not a number.

    Examples
    --------
    >>> parse_numbers("behavior", "0.5, 0.5")
    [0.5, 0.5]
    """
    numbers = []
    for entry in text.strip().strip("[]").split(","):
        try:
            numbers.append(real(entry))
        except ValueError:
            raise ValueError(f"{name} must be numbers separated by commas, got {show(entry.strip())}") from None
    return numbers
