"""Squared regressions in the log-ratio: baselines of the papers, and the low-temperature limit of the group mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism import divergences
from tests.helpers import (
    PROBLEMS,
    Array,
    assert_monotone,
    cases,
    make_problem,
)
from tests.pessimism.closed_forms.regimes import OUTCOMES

CASES = cases()


GENERIC = PROBLEMS["generic"]


def test_at_low_temperature_kimi_keeps_the_positive_part() -> None:
    behavior, reward = GENERIC
    positive = np.maximum(reward - behavior @ reward, 0.0)
    limit = positive / (behavior @ positive)
    errors = [
        np.abs(np.exp(ps.induced_target(behavior, reward, "kimi", beta=beta).log_ratio) - limit).max()
        for beta in (1e-2, 1e-3, 1e-4, 1e-5)
    ]
    assert all(5 < before / after < 15 for before, after in pairwise(errors))
    assert errors[-1] < 1e-4


def test_baselines_are_what_their_papers_say() -> None:
    behavior, reward = GENERIC
    mean = behavior @ reward

    def optimal(beta: float) -> float:
        return float(beta * np.log(behavior @ np.exp(reward / beta)))

    expected = {
        "kimi": mean,
        "shifted_mean": mean - 0.7 * 0.3,
        "optimal_value": optimal(0.3),
        "constant_baseline": -0.2,
        "oapl": optimal(0.9),
        "a_star_po": optimal(0.7),
        "std_normalized": mean,
        "asym_re": mean - 0.4,
        "awr": mean,
    }
    for name, value in expected.items():
        found = float(ps.induced_target(behavior, reward, CASES[name]).baseline)
        assert found == pytest.approx(value, abs=1e-13), name


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize("shift", [0.0, 0.25, 1.0, 10.0])
def test_shifted_mean_is_at_least_as_curved_as_its_shift(behavior: Array, reward: Array, shift: float) -> None:
    target = ps.induced_target(behavior, reward, "shifted_mean", beta=0.3, shift=shift)
    assert target.regime == "positive"
    assert float(target.kappa) > shift


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize(
    ("beta1", "beta2", "regime"), [(0.5, 0.2, "positive"), (0.2, 0.5, "negative"), (0.3, 0.3, "boundary")]
)
def test_decoupled_temperatures_decide_the_regime(
    behavior: Array, reward: Array, beta1: float, beta2: float, regime: str
) -> None:
    off_policy = ps.AStarPO(beta1=beta1, beta2=beta2, sampling="off_policy")
    sign = {"positive": 1, "boundary": 0, "negative": -1}[regime]
    for objective in (ps.OAPL(beta1=beta1, beta2=beta2), off_policy):
        target = ps.induced_target(behavior, reward, objective)
        assert target.regime == regime
        assert np.sign(target.kappa) == sign
        log_z = np.log(behavior @ np.exp(target.advantage / beta2))
        assert (np.sign(log_z) == sign) if sign else (abs(log_z) < 1e-13)


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_the_shift_is_a_dial_of_conservatism(behavior: Array, reward: Array, beta: float) -> None:
    shifts = np.linspace(0.0, 8.0, 33)
    targets = [ps.induced_target(behavior, reward, "shifted_mean", beta=beta, shift=float(c)) for c in shifts]
    assert_monotone((float(t.kappa) for t in targets), increasing=True)
    assert_monotone((t.policy @ reward for t in targets), increasing=False)
    assert_monotone((float(divergences.kl_divergence(t.policy, behavior)) for t in targets), increasing=False)
    assert_monotone((np.exp(t.log_ratio).max() for t in targets), increasing=False)
    strong = ps.induced_target(behavior, reward, "shifted_mean", beta=beta, shift=1e6)
    expected = (reward - behavior @ reward) / (beta * (1.0 + float(strong.kappa)))
    np.testing.assert_allclose(strong.log_ratio, expected, rtol=1e-3, atol=1e-12)


def test_monotone_helper_rejects_a_plateau() -> None:
    with pytest.raises(AssertionError, match="are not all of one sign"):
        assert_monotone([1.0, 2.0, 2.0], increasing=True)


@pytest.mark.parametrize("seed", range(3))
def test_dro_is_kimi_and_opmd_is_kimi_or_oapl(seed: int) -> None:
    q, reward = make_problem(seed, 5)
    kimi = ps.induced_target(q, reward, "kimi", beta=0.3).policy
    np.testing.assert_array_equal(ps.induced_target(q, reward, "dro", beta=0.3).policy, kimi)
    np.testing.assert_allclose(ps.induced_target(q, reward, "opmd", tau=0.5, kl_coef=0.2).policy, kimi, rtol=1e-13)
    oapl = ps.induced_target(q, reward, "oapl", beta1=0.5, beta2=0.3).policy
    opmd = ps.induced_target(q, reward, "opmd", opmd_baseline="logavgexp", tau=0.5, kl_coef=0.2)
    np.testing.assert_allclose(opmd.policy, oapl, rtol=1e-13)
    assert opmd.objective.at_temperature(0.6).temperature == pytest.approx(0.6)


@pytest.mark.parametrize("baseline", ["mean", "logavgexp"])
def test_opmd_without_a_penalty_has_no_target_on_stale_data(baseline: str) -> None:
    q, reward = make_problem(3, 4)
    target = ps.induced_target(q, reward, "opmd", opmd_baseline=baseline, kl_coef=0.0)
    assert target.status == "no_target"
    assert target.objective.temperature is None
    with pytest.raises(ValueError, match="is not an off-policy squared regression"):
        ps.stationary_points(q, reward, target.objective)
    assert ps.gradient_flow(q, reward, target.objective).status not in ("converged", "vanishing_support")


def test_dro_and_opmd_end_where_their_published_losses_descend() -> None:
    """The lines of verl 0.9 (``dro``) and Trinity-RFT 0.6 (``opmd`` with its k2 loss), written down once more."""
    q, reward = make_problem(4, 4)
    old, rewards = torch.tensor(np.log(q)), torch.tensor(reward)
    advantages = rewards - (torch.tensor(q) * rewards).sum()

    def descend(loss: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        logits = old.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0.0)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = (torch.tensor(q) * loss(torch.log_softmax(logits, -1))).sum()
            value.backward()
            return value

        optimizer.step(closure)
        return torch.softmax(logits, -1).detach().numpy()

    dro = descend(lambda log_prob: -(log_prob * advantages - 0.5 * 0.3 * (log_prob - old).square()))
    np.testing.assert_allclose(ps.induced_target(q, reward, "dro", beta=0.3).policy, dro, atol=1e-7)
    opmd = descend(lambda logprob: -advantages * logprob / (1.0 + 0.5) + (logprob - old).square() * 0.5 * 0.2)
    np.testing.assert_allclose(ps.induced_target(q, reward, "opmd", tau=0.5, kl_coef=0.2).policy, opmd, atol=1e-7)
