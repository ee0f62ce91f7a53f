"""The regression in the log-ratio as a program: its optimum by the Lambert function, its leak, another reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import wrightomega

from pessimism.convex.log_ratio import u_program
from tests.helpers import make_problem
from tests.pessimism.convex.conditions import Q, R, slopes_agree


@pytest.mark.parametrize("beta", [1e-4, 1e-2, 1.0, 1e2])
def test_regression_in_the_log_ratio(beta: float) -> None:
    """log w + kappa w = A/beta with kappa = dual / (2 beta^2), at temperatures far apart."""
    q, reward = make_problem(3, 7)
    advantage = reward - q @ reward
    found = u_program(q, advantage, beta)
    kappa = found.dual / (2.0 * beta**2)
    assert kappa > 0
    expected = q * wrightomega(np.log(kappa) + advantage / beta) / kappa
    np.testing.assert_allclose(found.policy, expected, atol=1e-5)
    assert abs(found.leak) < 1e-7
    assert found.minimizes
    assert found.value_of is not None
    assert found.value <= found.value_of(np.log(q))


def test_mass_leaks_where_advantages_are_low() -> None:
    found = u_program(Q, R - 2.0, 0.5)
    np.testing.assert_allclose(found.policy, Q * np.exp((R - 2.0) / 0.5), atol=1e-6)
    assert found.dual == pytest.approx(0.0, abs=1e-7)
    assert found.leak == pytest.approx(1.0 - Q @ np.exp((R - 2.0) / 0.5), abs=1e-6)


def test_regression_around_another_reference() -> None:
    reference = make_problem(2, 4)[0]
    found = u_program(Q, R, 0.3, reference)
    u = np.log(found.policy / reference)
    slopes_agree(2 * 0.3 * Q * (R - 0.3 * u) / found.policy, found)
