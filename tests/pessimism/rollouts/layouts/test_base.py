"""Records taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pessimism.rollouts.layouts.base import Where, constant, list_of, sampled, spread


def test_columns_of_lists() -> None:
    assert spread({"a": [1, 2], "b": "xy", "c": [3, 4]}, ["c", "a"]) == [{"c": 3, "a": 1}, {"c": 4, "a": 2}]
    with pytest.raises(ValueError, match="b is 'xy', not a list"):
        spread({"a": [1, 2], "b": "xy"}, ["a", "b"])
    with pytest.raises(ValueError, match="a has 2 entries, but b has 1"):
        spread({"a": [1, 2], "b": [1]}, ["a", "b"])
    with pytest.raises(KeyError):
        list_of({}, "a")


def test_entries_that_were_sampled() -> None:
    assert sampled([1, 2, 3], [0, True, 1], "x") == [2, 3]
    with pytest.raises(ValueError, match="x has 1 entries, but the mask of tokens has 2"):
        sampled([1], [0, 1], "x")
    with pytest.raises(ValueError, match="x is None, not a list|x is null, not a list"):
        sampled(None, [0, 1], "x")
    assert constant([2.0, 2.0]) == 2.0
    assert constant([2.0, 1.0]) is constant([]) is None


def test_steps_in_paths() -> None:
    where = Where(Path("runs/step_7/rollouts/step_12/traces.jsonl"), 3)
    assert where.step(r"step_(\d+)/") == {"step": 12}
    assert where.step(r"epoch_(\d+)") == {}
    assert where.unique() != where._replace(number=4).unique()
