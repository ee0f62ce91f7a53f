"""The stable branch of a KL estimator in a loss on old data: which actions take what it frees, and what leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.closed_forms.kl_estimators import K2, K3, Penalty
from tests.helpers import Array


def test_of_equal_better_completions_one_takes_what_grpo_frees() -> None:
    """Two right in sixteen would have to hold 2.4 times their reference each, where k3 is concave: a saddle."""
    reward = np.zeros(16)
    reward[[3, 7]] = 1.0
    target = ps.induced_target(None, reward, "grpo")
    assert str(target.status) == "local_minimum"
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    ratio = target.policy * 16
    assert ratio[3] > 2.0 > ratio[7] > 1.2
    np.testing.assert_allclose(np.delete(ratio, [3, 7]), 0.8, rtol=1e-12)
    start = np.full(16, 1 / 16) + 1e-4 * (np.arange(16) == 7)
    other = ps.gradient_flow(np.full(16, 1 / 16), reward, "grpo", start=start / start.sum())
    np.testing.assert_allclose(np.sort(other.policy), np.sort(target.policy), rtol=1e-9)
    assert other.policy[7] > other.policy[3]
    exact = ps.gradient_flow(np.full(16, 1 / 16), reward, "grpo")
    assert (exact.status, exact.message.split(",")[0]) == ("unstable", "rests on a saddle")
    np.testing.assert_allclose(exact.policy[[3, 7]], 2.4 / 16, rtol=1e-9)


@pytest.mark.parametrize("gap", [1e-15, 1e-12, 1e-8, 1e-6])
def test_next_to_nothing_decides_between_nearly_equal_completions(gap: float) -> None:
    target = ps.induced_target(None, [1.0, 1.0 + gap, *[0.0] * 14], "grpo")
    ratio = target.policy * 16
    assert ratio[1] > 3.0 > ratio[0] > 1.2
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize(("right", "width"), [(3, 16), (2, 12)])  # (2, 12): the ratio is 2, where k3 turns
def test_equal_completions_that_a_difference_does_not_part_stay_equal(right: int, width: int) -> None:
    target = ps.induced_target(None, [1.0] * right + [0.0] * (width - right), "grpo")
    assert str(target.status) == "converged"
    np.testing.assert_allclose(target.policy[:right], (1.0 - 0.8 * (width - right) / width) / right, rtol=1e-12)


@pytest.mark.parametrize("width", [2, 3, 8, 16])
def test_where_nothing_pulls_the_flow_stays(width: int) -> None:
    hyper: dict[str, Any] = {"beta": 0.1, "estimator": "k3", "placement": "reward"}
    target = ps.induced_target(None, [1.0] * width, "kl_regularized", **hyper)
    assert str(target.status) == "converged"
    np.testing.assert_allclose(target.policy, 1.0 / width, rtol=1e-14)


def with_an_unseen_action(target: Any, share: float) -> Array:
    """Policy ``(K + 1,)`` where gradient ascent ends from a reference with one more action that no sample shows."""
    q, A = target.behavior, target.advantage
    logits = np.log(np.append((1 - share) * q, share))
    for size in np.geomspace(0.9, 3e-5, 12) / target.objective.beta:
        for _ in range(1500):
            policy = np.exp(logits - np.logaddexp.reduce(logits))
            pull = np.append(q * target.objective.score_weight(np.log(policy[:-1] / q), A, None), 0.0)
            logits = logits + size * (pull - policy * pull.sum())
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits)))


@pytest.mark.parametrize(
    "objective",
    [
        ps.GRPO(beta=0.3),
        ps.GRPO(beta=2.0, eps_low=0.4),
        ps.KLRegularized(beta=0.5, estimator="k3", placement="loss", sampling="off_policy"),
    ],
    ids=str,
)
@pytest.mark.parametrize("reward", [(1.0, 0.0, 0.0, 0.0), (1.0, 0.9, 0.0, -2.0), (0.2, 0.2, 0.3, 0.25)])
def test_mass_that_a_penalty_in_the_loss_frees_leaks_to_unseen_actions(objective: Any, reward: Any) -> None:
    q = np.array([0.3, 0.2, 0.4, 0.1])
    target = ps.induced_target(q, reward, objective, unseen=True)
    kept = ps.induced_target(q, reward, objective)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    np.testing.assert_allclose(target.policy.sum() + target.leak, 1.0, rtol=1e-13)
    # Its mass moves at a rate of lam times its square: where it must vanish it starts almost there.
    policy = with_an_unseen_action(target, 0.05 if target.leak > 0 else 1e-4)
    np.testing.assert_allclose(policy[:-1], target.policy, atol=2e-3)
    assert policy[-1] == pytest.approx(float(target.leak), abs=2e-3)
    assert (float(target.leak) > 1e-3) == (float(kept.multiplier) < -1e-6)
    if target.leak > 0:
        assert str(target.regime) == "negative"


@pytest.mark.parametrize(
    ("penalty", "estimator"),
    [(K2, lambda u: u**2 / 2), (K3, lambda u: np.exp(-u) - 1 + u)],
    ids=["k2", "k3"],
)
def test_the_rising_part_of_a_penalty_is_inverted(penalty: Penalty, estimator: Any) -> None:
    u = np.linspace(-6.0, penalty.turn, 200)
    np.testing.assert_allclose(penalty.slope(u)[:-1], (np.gradient(estimator(u), u) * np.exp(-u))[:-1], rtol=0.1)
    np.testing.assert_allclose(penalty.first(penalty.slope(u))[:-1], u[:-1], atol=1e-6)
    assert penalty.slope(np.array(penalty.turn)) == pytest.approx(penalty.top, rel=1e-14)
    assert penalty.slope(np.linspace(-5.0, 20.0, 2000)).max() <= penalty.top * (1 + 1e-14)
    assert penalty.first(np.array(1.01 * penalty.top)) == np.inf
