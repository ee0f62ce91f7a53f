"""The law of the rewards in a group: compositions, counts as weights."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pessimism.groups.reward_law import compositions, expected_by_counts, kept_given_value
from tests.pessimism.groups.enumerated import SQUARED


def test_counts_as_weights_are_the_groups_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for objective in SQUARED:
        short = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.setattr("pessimism.groups.reward_law._DENSE", 1)
        again = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.setattr("pessimism.groups.reward_law._CHUNK", 64)
        chunks = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.undo()
        np.testing.assert_allclose(again, short, rtol=1e-13)
        np.testing.assert_allclose(chunks, short, rtol=1e-13)


def test_compositions_are_all_of_them() -> None:
    for size, width in ((4, 1), (5, 2), (4, 3), (3, 5)):
        found = compositions(size, width)
        brute = {c for c in product(range(size + 1), repeat=width) if sum(c) == size}
        assert {tuple(row) for row in found.tolist()} == brute
        assert len(found) == len(brute)


@pytest.mark.parametrize("mass", [[0.2, 0.5, 0.3], [1.0 - 3e-17, 1e-17, 2e-17], [1e-300, 1.0], [1.0]])
def test_chance_that_a_group_has_other_rewards(mass: list[float]) -> None:
    assert not kept_given_value(np.array(mass), 1).any()
    for size in (2, 9):
        with np.errstate(divide="ignore"):  # the others may have all the mass that float64 knows
            expected = [-np.expm1((size - 1) * np.log1p(-sum(mass[:v] + mass[v + 1 :]))) for v in range(len(mass))]
        np.testing.assert_allclose(kept_given_value(np.array(mass), size), expected, rtol=1e-14)
