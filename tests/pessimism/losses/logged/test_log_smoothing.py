"""Logarithmic smoothing: ends of its dial, and second moments on the coupled route."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import assert_log_policies_agree
from tests.pessimism.losses.logged.estimators import (
    GOLDEN,
    policy_of,
)


def test_ends_of_log_smoothing() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy_of("log_smoothing", lam=1e-9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(
        policy_of("log_smoothing", lam=1e12), behavior * reward / (behavior @ reward), rtol=1e-11
    )
    certain = tuple(reward**2)
    np.testing.assert_allclose(policy_of("log_smoothing", lam=1e12, second_moment=certain), behavior, rtol=1e-11)
    target = ps.induced_target(behavior, reward, "log_smoothing", lam=3.0, second_moment=certain)
    by_hand = behavior / 3.0 * np.maximum(1 / float(target.multiplier) - 1 / reward, 0)
    np.testing.assert_allclose(target.policy, by_hand, atol=1e-13)
    with_zero = ps.induced_target(
        [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], "log_smoothing", lam=1e9, second_moment=(0, 0.25, 1)
    )
    np.testing.assert_allclose(with_zero.policy, [0, 0.6, 0.4], rtol=1e-8)


@pytest.mark.parametrize("name", ["log_smoothing", "empirical_likelihood_lcb"])
def test_the_coupled_route_takes_second_moments(name: str) -> None:
    behavior, reward = GOLDEN
    hyper = {"lam": 40.0} if name == "log_smoothing" else {"n": 2}
    moments = (0.1, 0.3, 0.4, 0.7)
    closed = ps.induced_target(behavior, reward, name, **hyper, second_moment=moments)
    generic = ps.induced_target(behavior, reward, name, **hyper, second_moment=moments, method="fixed_point")
    assert closed.status == generic.status == "converged"
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)
