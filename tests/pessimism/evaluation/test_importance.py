"""IPS, SNIPS, DR: exact expectations by enumerating all logs, invariances, coverage of the normal intervals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from pessimism import evaluate, make_logs
from tests.helpers import Array
from tests.pessimism.evaluation.simulate import BEHAVIOR, CHANCE, POLICY, VALUE, bandit_feedback, draw


def _law_of(estimator: str, model: Array | None = None) -> tuple[Array, Array]:
    """Values on all logs of two rounds, and their probabilities."""
    values, masses = [], []
    for round_0, round_1 in product(product(range(4), (0, 1)), repeat=2):
        action, reward = np.array([round_0, round_1]).T
        logs = make_logs(action=action, reward=reward, pscore=BEHAVIOR[action])
        options = {} if model is None else {"reward_model": model}
        values.append(evaluate(POLICY, logs, estimator, **options).value)
        masses.append(np.prod(BEHAVIOR[action] * np.where(reward == 1, CHANCE[action], 1 - CHANCE[action])))
    return np.array(values), np.array(masses)


def test_ips_and_dr_are_unbiased_and_the_exact_model_lowers_the_variance() -> None:
    spread = {}
    wrong = np.array([0.9, 0.1, 0.3, 0.2])
    for label, (values, masses) in {
        "ips": _law_of("ips"),
        "wrong": _law_of("dr", wrong),
        "exact": _law_of("dr", CHANCE),
        "snips": _law_of("snips"),
    }.items():
        assert masses.sum() == pytest.approx(1.0, abs=1e-14)
        spread[label] = masses @ (values - masses @ values) ** 2
        assert (abs(masses @ values - VALUE) < 1e-13) == (label != "snips")
    assert spread["exact"] < 0.8 * spread["ips"]
    # By hand: the variance of dr with the exact model is that of the noise, E[w^2 p (1 - p)] / n.
    noise = (POLICY**2 / BEHAVIOR * CHANCE * (1 - CHANCE)).sum() / 2
    assert spread["exact"] == pytest.approx(noise, rel=1e-12)


def test_dr_with_a_constant_model_and_right_weights_moves_by_the_mean_ratio() -> None:
    feedback = bandit_feedback()
    weight = POLICY[feedback["action"]] / feedback["pscore"]
    shifted = evaluate(POLICY, feedback, "dr", reward_model=np.full(4, 0.3)).value
    assert shifted == pytest.approx(evaluate(POLICY, feedback, "ips").value + 0.3 * (1 - weight.mean()), abs=1e-14)
    per_round = evaluate(POLICY, feedback, "dr", reward_model=feedback["expected_reward"][:, :, None])
    assert per_round == evaluate(POLICY, feedback, "dr", reward_model=CHANCE)
    with pytest.raises(ValueError, match="^reward_model must have one entry per action, got 3 for 4 actions$"):
        evaluate(POLICY, feedback, "dr", reward_model=[0.1, 0.2, 0.3])
    del feedback["n_actions"]
    with pytest.raises(ValueError, match="^reward_model must have one entry per action of the policy, got 3 for 4"):
        evaluate(POLICY, feedback, "dr", reward_model=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="^policy must be given for estimator dr"):
        evaluate(None, {"weight": [1.0], "reward": [1.0]}, "dr", reward_model=CHANCE)


def test_snips_is_invariant_to_scale_and_moves_with_the_rewards() -> None:
    rng = np.random.default_rng(0)
    weight, reward = rng.exponential(size=50), rng.normal(size=50)
    base = evaluate(None, {"weight": weight, "reward": reward}, "snips")
    with pytest.warns(UserWarning, match="mean ratio"):  # the interval does not care
        scaled = evaluate(None, {"weight": 1e6 * weight, "reward": reward}, "snips")
    moved = evaluate(None, {"weight": weight, "reward": reward + 7.0}, "snips")
    np.testing.assert_allclose([scaled.value, scaled.lower, scaled.ess], [base.value, base.lower, base.ess], rtol=1e-12)
    np.testing.assert_allclose([moved.value - 7, moved.upper - 7], [base.value, base.upper], rtol=1e-12)
    with pytest.raises(ValueError, match="^policy must give some logged action positive probability"):
        evaluate([0.0, 1.0], {"action": [0, 0], "reward": [1, 1], "pscore": [0.5, 0.5]}, "snips")


def test_intervals_by_hand() -> None:
    feedback = bandit_feedback(n=80)
    weight, reward = POLICY[feedback["action"]] / feedback["pscore"], feedback["reward"]
    ips, snips = evaluate(POLICY, feedback, "ips", delta=0.1), evaluate(POLICY, feedback, "snips", delta=0.1)
    quantile = norm.ppf(0.95)
    half = quantile * np.std(weight * reward, ddof=1) / np.sqrt(80)
    np.testing.assert_allclose([ips.lower, ips.upper], np.mean(weight * reward) + np.array([-half, half]), rtol=1e-12)
    # The delta method of a ratio a / b: var(a) / b^2 - 2 a cov / b^3 + a^2 var(b) / b^4.
    a, b, cov = np.mean(weight * reward), np.mean(weight), np.cov(weight * reward, weight)
    variance = cov[0, 0] / b**2 - 2 * a * cov[0, 1] / b**3 + a**2 * cov[1, 1] / b**4
    assert snips.upper - snips.value == pytest.approx(quantile * np.sqrt(variance / 80), rel=1e-10)


@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_intervals_cover(estimator: str) -> None:
    action, reward = draw(5, 600, 300)
    options = {"reward_model": [0.5, 0.5, 0.5, 0.5]} if estimator == "dr" else {}
    hits = 0
    for a, r in zip(action, reward, strict=True):
        found = evaluate(POLICY, make_logs(action=a, reward=r, pscore=BEHAVIOR[a]), estimator, **options)
        hits += found.lower <= VALUE <= found.upper
    assert 0.92 <= hits / 600 <= 0.98
