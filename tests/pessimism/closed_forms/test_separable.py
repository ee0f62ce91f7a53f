"""One multiplier a row: roots, and bounds that enclose none."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.closed_forms.separable import normalizing_multiplier
from tests.helpers import Array


def water(q: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Multiplier with which sum q (slope - lam)_+ is one, by trying how many of the best actions are wet."""
    lam = []
    for weights, heights in zip(q, slope, strict=True):
        order = np.argsort(-heights)
        levels = (np.cumsum((weights * heights)[order]) - 1.0) / np.cumsum(weights[order])
        lam.append(levels.max())
    return np.array(lam), slope.min(axis=-1) - 2.0 / q.min(axis=-1), slope.max(axis=-1)


def test_the_multiplier_normalizes_every_row() -> None:
    rng = np.random.default_rng(0)
    q, slope = rng.dirichlet(np.ones(6), size=50), 5.0 * rng.normal(size=(50, 6))
    expected, low, high = water(q, slope)

    def mass(lam: Array, row: Array) -> Array:
        return np.vecdot(q[row], np.maximum(slope[row] - lam[:, None], 0.0))

    np.testing.assert_allclose(normalizing_multiplier(mass, low, high), expected, rtol=1e-12, atol=1e-12)


def test_a_root_on_a_bound_is_that_bound() -> None:
    def mass(lam: Array, row: Array) -> Array:
        return np.exp(-lam)

    np.testing.assert_array_equal(normalizing_multiplier(mass, np.array([0.0, -1.0]), np.array([3.0, 0.0])), [0.0, 0.0])


@pytest.mark.parametrize(("low", "high"), [(0.5, 3.0), (-3.0, -0.5)])
def test_bounds_without_a_root_give_none_to_that_row_alone(low: float, high: float) -> None:
    ends = np.array([low, -1.0]), np.array([high, 2.0])
    found = normalizing_multiplier(lambda lam, row: np.exp(-lam), *ends)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.0, abs=1e-12)
