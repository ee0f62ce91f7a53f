"""The layouts that are known, and which of them a record has."""

from __future__ import annotations

from pessimism.rollouts.layouts.areal import AREAL
from pessimism.rollouts.layouts.atropos import ATROPOS
from pessimism.rollouts.layouts.base import Layout, Record, Where
from pessimism.rollouts.layouts.nemo_rl import NEMO_RL
from pessimism.rollouts.layouts.nested import NESTED
from pessimism.rollouts.layouts.open_instruct import OPEN_INSTRUCT
from pessimism.rollouts.layouts.prime_rl import PRIME_RL, TOKEN_EXPORTS
from pessimism.rollouts.layouts.roll import ROLL
from pessimism.rollouts.layouts.skyrl import SKYRL
from pessimism.rollouts.layouts.slime import SLIME
from pessimism.rollouts.layouts.swift import SWIFT
from pessimism.rollouts.layouts.tinker import TINKER
from pessimism.rollouts.layouts.verifiers import VERIFIERS

LAYOUTS = (
    *(SWIFT, NEMO_RL, OPEN_INSTRUCT, PRIME_RL, *TOKEN_EXPORTS, AREAL, SLIME, SKYRL, TINKER, VERIFIERS, ROLL, ATROPOS),
    NESTED,  # the most general one last
)


def recognize(record: Record, where: Where) -> Layout | None:
    """Return the layout that a record has.

    Parameters
    ----------
    record : mapping
        One of the first records of a file.
    where : Where
        Its place.

    Returns
    -------
    Layout or None
        None for a row of plain columns.

    Examples
    --------
    >>> from pathlib import Path
    >>> recognize({"prompt": "a", "reward": 1.0}, Where(Path("log.jsonl")))
    >>> recognize({"prompt": "a", "responses": [{"score": 1.0}]}, Where(Path("log.jsonl"))).name
    'a prompt with its responses'
    """
    return next((layout for layout in LAYOUTS if layout.recognize(record, where)), None)
