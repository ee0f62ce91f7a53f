"""REINFORCE and its relatives: greedy on their own samples, baselines and lengths on older ones, tapered negatives."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.core.solution import Status
from pessimism.losses.registry import make_objective
from tests.helpers import assert_log_policies_agree, make_problem
from tests.pessimism.losses.published import flow


@pytest.mark.parametrize("name", ["reinforce", "opo", "gpg"])
def test_on_its_own_samples_reinforce_is_greedy(name: str) -> None:
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.5, 1.0])
    target = ps.induced_target(q, reward, name)
    np.testing.assert_allclose(target.policy, [0.0, 0.0, 1.0], atol=1e-15)
    assert target.status == "vanishing_support"
    assert np.isnan(target.nominal).all()
    np.testing.assert_allclose(flow(target.objective, q, reward, q, 1e5), target.policy, atol=1e-4)
    tied = ps.induced_target(q, [0.0, 1.0, 1.0], name)
    np.testing.assert_allclose(tied.policy, [0.0, 0.6, 0.4], rtol=1e-15)
    assert tied.status == "set_valued"
    assert ps.induced_target([1.0], [0.3], name).status == "converged"


def test_the_baseline_matters_off_policy_only() -> None:
    q, reward = make_problem(6, 5)
    own = [ps.induced_target(q, reward, "reinforce", value=v).policy for v in (-3.0, 0.0, 5.0)]
    np.testing.assert_array_equal(own[0], own[1])
    np.testing.assert_array_equal(own[0], own[2])
    mean = float(q @ reward)
    for below in (0.1, 1.0, 30.0):
        stale = ps.induced_target(q, reward, "reinforce", value=mean - below, sampling="off_policy")
        same = ps.induced_target(q, reward, "asym_re", shift=-below)
        np.testing.assert_allclose(stale.policy, same.policy, atol=1e-13)
        np.testing.assert_allclose(flow(stale.objective, q, reward, q, 3e4), stale.policy, atol=1e-4)
    assert ps.induced_target(q, reward, "reinforce", value=mean + 0.1, sampling="off_policy").status == "no_target"
    raw = ps.induced_target(q, reward - mean + 0.5, "roirl")
    assert raw.status == "vanishing_support"
    np.testing.assert_allclose(raw.policy, ps.induced_target(q, reward, "asym_re", shift=-0.5).policy, atol=1e-13)


def test_lengths_decide_whether_stale_opo_has_a_target() -> None:
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 0.5])
    for length, exists in (((3.0, 1.0, 2.0), True), ((1.0, 3.0, 2.0), False), (None, False)):
        tokens = np.ones(3) if length is None else np.array(length)
        target = ps.induced_target(q, reward, "opo", length=length, sampling="off_policy")
        assert float(target.baseline) == pytest.approx((q * tokens) @ reward / (q @ tokens), rel=1e-14)
        assert (target.status != "no_target") == exists
        if exists:
            shift = float(target.baseline) - q @ reward
            np.testing.assert_allclose(target.policy, ps.induced_target(q, reward, "asym_re", shift=shift).policy)
    grouped = make_objective("opo", length=(3.0, 1.0, 2.0)).baseline(np.stack([reward, reward]))
    np.testing.assert_allclose(grouped, 2.0 / 6.0)


def test_rloo_is_the_mean_of_the_others() -> None:
    q, reward = make_problem(7, 5)
    u, objective = np.random.default_rng(1).normal(size=5), make_objective("rloo", beta=0.4)
    regularized = reward - 0.4 * u
    expected = [r - np.mean(np.delete(regularized, i)) for i, r in enumerate(regularized)]
    found = objective.score_weight(u, objective.advantage(reward), None)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    # On stale data the KL term at the current policy keeps the target nominal, for any behavior.
    nu = make_problem(8, 5)[0]
    stale = ps.induced_target(q, reward, "rloo", beta=0.4, sampling="off_policy", reference=nu)
    nominal = ps.nominal_target(q, reward, 0.4, reference=nu)
    np.testing.assert_allclose(stale.policy, nominal, rtol=1e-12)
    np.testing.assert_allclose(flow(stale.objective, q, reward, nu, 1e4), nominal, atol=1e-4)
    # Frozen at the rollout it would be a fixed reward minus its mean: no target.
    assert ps.induced_target(q, reward - 0.4 * np.log(q / nu), "asym_re", shift=0.0).status == "no_target"


def test_tapered_negatives_vanish_without_displacing_anything() -> None:
    q, reward = np.array([0.4, 0.3, 0.2, 0.1]), np.array([-1.0, 0.4, 0.0, 1.0])
    target = ps.induced_target(q, reward, "topr")
    gains = q * np.maximum(reward, 0.0)
    np.testing.assert_allclose(target.policy, gains / gains.sum(), rtol=1e-15)
    assert target.status == "vanishing_support"
    np.testing.assert_allclose(flow(target.objective, q, reward, q, 1e6), target.policy, atol=1e-4)
    # Water filling on the same advantages takes what negatives lack from the others, from small shares above all.
    plain = ps.induced_target(q, reward + 0.5, "roirl").policy
    tapered = ps.induced_target(q, reward + 0.5, "topr").policy
    assert plain[2] / plain[1] < 0.9 * tapered[2] / tapered[1]
    # Losses that outweigh the gains do not matter; for water filling there is no target.
    worse = np.array([-9.0, 0.4, -9.0, 1.0])
    np.testing.assert_allclose(ps.induced_target(q, worse, "topr").policy, target.policy, rtol=1e-15)
    assert ps.induced_target(q, worse, "roirl").status == "no_target"
    np.testing.assert_allclose(flow(target.objective, q, worse, q, 1e6), target.policy, atol=1e-4)


def test_the_share_of_positives_moves_with_the_constant() -> None:
    """The paper's p(1 - c)/(1 + (1 - 2p)c), its share of positives in what is pushed, for R = +-1 - c."""
    p, c = 0.3, 0.4
    pushed = np.array([p * (1 - c), (1 - p) * (1 + c)])
    assert pushed[0] / pushed.sum() == pytest.approx(p * (1 - c) / (1 + (1 - 2 * p) * c))
    target = ps.induced_target([p, 1 - p], [1.0, -1.0], "topr", value=c)
    np.testing.assert_allclose(target.policy, [1.0, 0.0], atol=1e-15)
    assert float(target.multiplier) == pytest.approx(p * (1 - c), rel=1e-12)


@pytest.mark.parametrize(
    ("q", "reward"),
    [
        ([0.2, 0.3, 0.5], [-1.0, -2.0, -3.0]),
        ([0.02, 0.3, 0.68], [-1.0, -1.5, -1.6]),
        ([0.02, 0.3, 0.68], [-1.0, -1.5, -4.0]),
        ([0.5, 0.3, 0.2], [0.0, -1.0, -2.0]),
    ],
)
def test_without_a_success_topr_runs_to_one_action(q: list[float], reward: list[float]) -> None:
    behavior, r = np.array(q), np.array(reward)
    target = ps.induced_target(behavior, r, "topr")
    assert target.status == "vanishing_support"
    assert np.sort(target.policy)[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(flow(target.objective, behavior, r, behavior, 1e5), target.policy, atol=1e-3)


def test_equal_failures_keep_the_behavior() -> None:
    for reward, status in (([-1.0, -1.0, -1.0], "unstable"), ([0.0, 0.0, 0.0], "set_valued")):
        target = ps.induced_target([0.2, 0.3, 0.5], reward, "topr")
        np.testing.assert_allclose(target.policy, [0.2, 0.3, 0.5], rtol=1e-15)
        assert target.status == status
    tied = ps.induced_target([0.2, 0.3, 0.5], [0.0, -1.0, 0.0], "topr")
    np.testing.assert_allclose(tied.policy, [2 / 7, 0.0, 5 / 7], rtol=1e-14)
    assert tied.status == "set_valued"


def test_a_batch_mixes_kinds_of_rows() -> None:
    rewards = np.array([[1.0, -1.0, 2.0], [-1.0, -1.0, -1.0], [-1.0, -2.0, -3.0], [0.0, 0.0, -1.0]])
    batch = ps.induced_target([0.2, 0.3, 0.5], rewards, "topr")
    for row, reward in enumerate(rewards):
        single = ps.induced_target([0.2, 0.3, 0.5], reward, "topr")
        assert_log_policies_agree(batch.log_policy[row], single.log_policy)
        assert batch.status[row] == single.status


def test_lengths_must_fit_the_actions() -> None:
    with pytest.raises(ValueError, match="^opo: length must hold one number per action, got 2 for 3 actions$"):
        ps.induced_target([0.2, 0.3, 0.5], [0.0, 1.0, 2.0], "opo", length=(1.0, 2.0))


def test_gpg_has_no_target_on_stale_data() -> None:
    q, reward = make_problem(7, 4)
    target = ps.induced_target(q, reward, "gpg", sampling="off_policy")
    assert target.status == "no_target"
    assert "mean advantage" in target.objective.explain(Status.NO_TARGET)
    assert ps.gradient_flow(q, reward, target.objective).status not in ("converged", "vanishing_support")
