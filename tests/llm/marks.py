"""Families of tests of which one member is quick enough for every run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(quick: Iterable[int], values: Iterable[Any]) -> list[Any]:
    """Parameters of which all are marked slow but those in some places; tuples are several parameters."""
    places, every = set(quick), [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*value, marks=[] if i in places else pytest.mark.slow) for i, value in enumerate(every)]
