"""Rewards against divergences: the slope of every penalty, corners, bounds on ratios."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq

from pessimism.convex.penalties import penalized_program
from tests.helpers import Array, make_problem
from tests.pessimism.convex.conditions import Q, R, slopes_agree

SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "kl": lambda pi, nu: np.log(pi / nu),
    "forward_kl": lambda pi, nu: 1.0 - nu / pi,
    "chi_square": lambda pi, nu: pi / nu - 1.0,
    "hellinger": lambda pi, nu: 1.0 - np.sqrt(nu / pi),
    "inf": lambda pi, nu: nu**-0.5 - pi**-0.5,
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_penalty_has_the_slope_that_it_states(name: str) -> None:
    reference = make_problem(1, 4)[0]
    found = penalized_program(Q, R, {name: 0.7}, reference=reference)
    with np.errstate(divide="ignore"):
        slopes_agree(R - 0.7 * SLOPES[name](np.maximum(found.policy, 0.0), reference), found)
    value = float(found.policy @ R) - found.value
    assert found.value_of is not None
    assert found.value_of(np.log(found.policy)) == pytest.approx(found.value, abs=1e-9)
    assert value > 0  # the penalty is not negative
    assert found.value_of(np.log(reference)) == pytest.approx(reference @ R, abs=1e-12)


def test_penalties_add_up_each_around_its_base() -> None:
    found = penalized_program(Q, R, {"kl": (1.0, np.ones(4)), "chi_square": (0.5, Q)})
    slopes_agree(R - np.log(found.policy) - 0.5 * (found.policy / Q - 1.0), found)


def test_total_variation_moves_mass_only_where_it_pays() -> None:
    # Moving mass from a to b gains R_b - R_a and costs (Q_a + Q_b)/2 times the coefficient.
    assert penalized_program(Q, R, {"total_variation": 5.0}).policy == pytest.approx(Q, abs=1e-7)
    cheap = penalized_program(Q, R, {"total_variation": 0.1}).policy
    assert cheap == pytest.approx([0.0, 0.0, 0.0, 1.0], abs=1e-7)


def test_ratios_stay_in_their_bounds() -> None:
    found = penalized_program(Q, 10.0 * R, {"kl": 0.1}, ratio_bounds=(0.8, 1.5))
    np.testing.assert_allclose(found.policy / Q, [0.8, 0.8, 1.45, 1.5], atol=1e-6)


def test_capped_weights_are_nominal_up_to_a_ceiling() -> None:
    found = penalized_program(Q, R, {"kl": 0.2}, max_ratio=1.3)
    free = brentq(lambda c: Q @ np.minimum(c * np.exp(R / 0.2), max(1.3, c)) - 1.0, 1e-6, 1.0)
    np.testing.assert_allclose(found.policy, Q * np.minimum(free * np.exp(R / 0.2), 1.3), atol=1e-5)
