"""Arguments of an evaluation: what is accepted, and what is refused with its name and place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pessimism.evaluation import checks


def test_accepted_numbers() -> None:
    assert checks.number("delta", 0.5, above=0.0, below=1.0) == 0.5
    assert checks.number("lam", np.float32(2.0), above=0.0) == 2.0
    assert checks.whole("n", 3.0) == 3
    np.testing.assert_array_equal(checks.integers("action", [0.0, 2.0]), [0, 2])
    np.testing.assert_array_equal(checks.column("reward", torch.tensor([1.0, 2.0], requires_grad=True)), [1.0, 2.0])


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, True, "0.5", None])
def test_numbers_outside_their_limits_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^delta must be "):
        checks.number("delta", value, above=0.0, below=1.0)


@pytest.mark.parametrize("value", [0, -1, 1.5, np.nan, True, "3", None])
def test_what_is_no_positive_integer_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^n must be a positive integer"):
        checks.whole("n", value)


def test_the_place_of_the_first_bad_entry_is_named() -> None:
    array = np.array([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match=r"^policy\[1, 0\] must be small, got 2.0$"):
        checks.refuse("policy", array, array > 1.5, "must be small")
    checks.refuse("policy", array, array > 9.0, "must be small")
    with pytest.raises(ValueError, match=r"^n must be small, got 5$"):
        checks.refuse("n", np.array(5), np.array(True), "must be small")


@pytest.mark.parametrize("values", [[1, "a"], np.array([1, "a"], dtype=object), (None, 1)])
def test_labels_without_an_order_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^id\[\d\] must "):
        checks.sortable_labels("id", values, 2)


def test_long_values_are_shortened_in_messages() -> None:
    assert checks.shown("a\nb") == repr("a\nb")
    assert len(checks.shown(list(range(1000)))) == 60
    assert checks.shown(np.arange(6).reshape(2, 3)).count("\n") == 0
