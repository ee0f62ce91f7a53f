"""Losses in gaps of the group: pairs by hand, win probabilities, no baseline that matters."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.centered import mean_over_partners
from pessimism.losses.registry import make_objective
from tests.helpers import make_problem
from tests.pessimism.losses.published import win


def test_ipo_is_the_tilt_by_win_probabilities() -> None:
    q, reward = make_problem(16, 5)
    for preference in ("bradley_terry", "deterministic"):
        beats = np.array([sum(q[j] * win(reward[i] - reward[j], preference) for j in range(5)) for i in range(5)])
        weight = q * np.exp(beats / 0.2)
        target = ps.induced_target(q, reward, "ipo", beta=0.2, preference=preference)
        np.testing.assert_allclose(target.policy, weight / weight.sum(), rtol=1e-12)
        np.testing.assert_allclose(target.advantage, beats - 0.5, atol=1e-14)
        assert np.isnan(target.baseline)


@pytest.mark.parametrize(("name", "hyper", "beta"), [("tba", {"beta": 0.4}, 0.4), ("rebel", {"eta": 2.5}, 0.4)])
def test_a_loss_in_gaps_is_a_mean_over_pairs(name: str, hyper: dict[str, float], beta: float) -> None:
    """Half the mean of ((u_i - u_j) - (r_i - r_j)/beta)^2 over pairs is the variance of u - r/beta."""
    q, reward = make_problem(24, 5)
    objective, u = make_objective(name, **hyper), np.random.default_rng(2).normal(size=5)
    gap = u - reward / beta
    pairs = q @ (gap[:, None] - gap[None, :]) ** 2 @ q
    found = q @ objective.loss(u, objective.advantage(reward, q), q)
    assert found == pytest.approx(pairs / 2 if name == "tba" else pairs * beta**2, rel=1e-12)
    moved = q @ objective.loss(u + 3.0, objective.advantage(reward - 7.0, q), q)
    assert moved == pytest.approx(found, rel=1e-12)


def test_members_of_a_sampled_group_have_other_members_as_partners() -> None:
    pairs = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(mean_over_partners(pairs, None), [(1 + 2) / 2, (3 + 5) / 2, (6 + 7) / 2])
    weights = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(mean_over_partners(pairs, weights), pairs @ weights)


def test_pairs_of_too_many_actions_are_refused() -> None:
    target = ps.induced_target(None, np.zeros(20_000), "dpo")
    assert np.isfinite(target.policy).all()
    with pytest.raises(ValueError, match="^actions of a loss on pairs of them must be at most 16,384, got 20,000$"):
        _ = target.multiplier
