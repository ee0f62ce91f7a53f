"""Water filling: ends of its systems, actions that nobody saw, problems where nothing pays."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import assert_policy
from tests.pessimism.losses.logged.estimators import GOLDEN, policy_of


@pytest.mark.parametrize(
    "name", ["weight_clipping", "log_smoothing", "power_mean", "chi2", "pevi", "pevi_kl", "empirical_likelihood_lcb"]
)
@pytest.mark.parametrize("unseen", [-9.0, 9.0])
def test_rewards_of_unseen_actions_may_be_anything(name: str, unseen: float) -> None:
    behavior, reward = np.array([0.0, 0.4, 0.3, 0.2, 0.1]), np.array([unseen, 0.2, 0.4, 0.6, 0.8])
    target = ps.induced_target(behavior, reward, name)
    np.testing.assert_allclose(target.policy[1:], policy_of(name), rtol=1e-13)
    assert_policy(target.policy, behavior)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11


def test_ends_of_power_mean_and_chi_square() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy_of("power_mean", l=1e-9), [0, 0, 0, 1], atol=1e-14)
    root = behavior * np.sqrt(reward)
    np.testing.assert_allclose(policy_of("power_mean", l=1 - 1e-12), root / root.sum(), rtol=1e-5)
    np.testing.assert_allclose(policy_of("chi2", beta=1e-9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(policy_of("chi2", beta=1e12), behavior, rtol=1e-11)
    np.testing.assert_allclose(
        policy_of("chi2", beta=2.0), behavior * (1 + (reward - behavior @ reward) / 2.0), rtol=1e-14
    )


@pytest.mark.parametrize("name", ["log_smoothing", "power_mean", "empirical_likelihood_lcb"])
def test_where_nothing_pays_the_behavior_stays(name: str) -> None:
    behavior = [[0.2, 0.0, 0.8], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]]
    target = ps.induced_target(behavior, [[0.0, 0.7, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]], name)
    np.testing.assert_allclose(target.policy, [behavior[0], [0, 0, 1], behavior[2]], atol=1e-15)
    assert target.status.tolist() == ["set_valued", "vanishing_support", "converged"]
    assert (target.certificate()["worst"] <= 1e-12).all()
