"""What training all weights of a transformer on the exact expectation leads to, against the closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import pessimism as ps
from llm.models.enumeration import Completions
from llm.validation.exact_training import compared, fit, measured_kappa, population_loss, train
from tests.llm.marks import slow_but

UNIQUE = [
    ps.TBA(beta=0.3),
    ps.Kimi(beta=0.3),
    ps.OptimalValue(beta=0.3),
    ps.ShiftedMean(beta=0.3, shift=0.3),
    ps.ShiftedMean(beta=0.3, shift=1.0),
    ps.OAPL(beta1=0.6, beta2=0.3),
    ps.AWR(beta=0.5),
    ps.MixedChi2KL(beta=0.3),
    ps.TruncatedIS(beta=0.3),
    ps.StdNormalized(beta=0.8),
]


def posed(folder: Path) -> tuple[Any, Completions, list[int], np.ndarray]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)
    right = completions.tokens.tolist().index([*tokenizer("7")["input_ids"], tokenizer.eos_token_id])
    reward = np.zeros(len(completions))
    reward[right] = 1.0
    return model, completions, tokenizer("3+4=")["input_ids"], reward


@pytest.mark.parametrize("objective", slow_but([1], UNIQUE), ids=str)
def test_a_transformer_ends_at_the_induced_target(objective: ps.Objective, folder: Path) -> None:
    model, completions, prompt, reward = posed(folder)
    found = fit(model, completions, prompt, reward, objective, steps=120)
    assert found["tv"] <= 1e-3
    assert found["tv_behavior"] >= 0.02  # there was a way to go
    assert found["value"] == pytest.approx(found["value_target"], abs=1e-3)
    with torch.no_grad():
        policy = completions.log_probabilities(model, prompt).double().exp().numpy()
    assert float(policy @ reward) == pytest.approx(found["value"], abs=1e-6)
    assert found["kappa_fit"] == pytest.approx(found["kappa"], abs=0.02)
    assert found["kappa_fit_error"] < 0.02
    free = isinstance(objective, ps.TBA | ps.AWR | ps.MixedChi2KL)
    assert np.isnan(found["kappa_identity"]) if free else abs(found["kappa_identity"] - found["kappa"]) < 0.02


@pytest.mark.slow
def test_a_start_elsewhere_ends_at_the_target_of_the_behavior(folder: Path) -> None:
    model, completions, prompt, reward = posed(folder)
    with torch.no_grad():
        log_q = completions.log_probabilities(model, prompt).numpy()
    fit(model, completions, prompt, 1.0 - reward, ps.Kimi(beta=0.5), steps=30)
    log_behavior, log_policy, _ = train(
        model, completions, prompt, reward, ps.Kimi(beta=0.3), log_behavior=log_q, steps=120, stages=4
    )
    np.testing.assert_array_equal(log_behavior, log_q)
    found = compared(log_q, log_policy, reward, ps.Kimi(beta=0.3))
    assert found["tv"] <= 1e-3
    assert found["tv_behavior"] > 0.02


@pytest.mark.parametrize("objective", [*UNIQUE, ps.Nominal(beta=0.3), ps.Chi2(beta=0.3)], ids=str)
def test_kappa_is_read_off_the_prediction_itself_or_has_no_meaning(objective: ps.Objective) -> None:
    """From exact log-ratios: equal to the kappa predicted, and to the closed form of another relation in none."""
    rng = np.random.default_rng(2)
    target = ps.induced_target(rng.dirichlet(np.ones(7)), rng.uniform(size=7).round(1), objective)
    found = measured_kappa(np.asarray(target.log_ratio), target)
    if isinstance(objective, ps.Chi2):
        assert np.isnan(list(found.values())).all()
    else:
        assert found["kappa_fit"] == pytest.approx(float(target.kappa), abs=1e-9)
        assert found["kappa_fit_error"] == pytest.approx(0.0, abs=1e-9)


def test_the_error_of_a_fitted_kappa_is_how_far_it_scatters() -> None:
    """Log-ratios off the curve by chance: over draws, the fit is spread as its standard error says."""
    rng = np.random.default_rng(3)
    q = rng.dirichlet(np.ones(40))
    target = ps.induced_target(q, rng.uniform(size=40), "kimi", beta=0.5)
    off = np.asarray(target.log_ratio) + 0.1 * rng.normal(size=40)
    fits = [measured_kappa(off, target, seed) for seed in range(300)]
    spread = np.std([found["kappa_fit"] for found in fits])
    assert spread == pytest.approx(fits[0]["kappa_fit_error"], rel=0.15)


@pytest.mark.slow
def test_training_ends_where_the_policy_stands_still(folder: Path) -> None:
    """Long before the most iterations it may have, and to go on changes nothing."""
    model, completions, prompt, reward = posed(folder)
    log_q, ended, evaluations = train(model, completions, prompt, reward, ps.Kimi(beta=0.3))
    assert evaluations < 450
    _, further, _ = train(model, completions, prompt, reward, ps.Kimi(beta=0.3), log_behavior=log_q, steps=120)
    assert 0.5 * np.abs(np.exp(ended) - np.exp(further)).sum() < 5e-4


@pytest.mark.slow
def test_another_prediction_is_told_apart(folder: Path) -> None:
    """The distance is no matter of course: trained for one objective, the model misses the target of another."""
    model, completions, prompt, reward = posed(folder)
    with torch.no_grad():
        log_q = completions.log_probabilities(model, prompt).double().numpy()
    fit(model, completions, prompt, reward, ps.ShiftedMean(beta=0.3), steps=60)
    with torch.no_grad():
        log_policy = completions.log_probabilities(model, prompt).double().numpy()
    assert compared(log_q, log_policy, reward, ps.Kimi(beta=0.3))["tv"] > 0.01


@pytest.mark.parametrize("objective", UNIQUE, ids=str)
def test_the_gradient_is_minus_the_score_weight(objective: ps.Objective) -> None:
    rng = np.random.default_rng(0)
    q, reward = torch.tensor(rng.dirichlet(np.ones(6))), torch.tensor(rng.normal(size=6))
    advantage = objective.advantage(reward, q)
    u = torch.tensor(0.3 * rng.normal(size=6), requires_grad=True)
    population_loss(u, q, advantage, objective).backward()
    expected = -q * objective.score_weight(u.detach(), advantage, q)
    torch.testing.assert_close(u.grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.3), ps.MixedChi2KL(beta=0.3), ps.AWR(beta=0.5)], ids=str)
def test_the_potential_is_the_loss_where_that_is_one(objective: ps.Objective) -> None:
    rng = np.random.default_rng(1)
    q, reward = torch.tensor(rng.dirichlet(np.ones(6))), torch.tensor(rng.normal(size=6))
    advantage = objective.advantage(reward, q)
    at = [torch.zeros(6, dtype=torch.float64), torch.tensor(rng.normal(size=6))]
    published = [torch.sum(q * objective.loss(u, advantage, q)) for u in at]
    potential = [population_loss(u, q, advantage, objective) for u in at]
    torch.testing.assert_close(potential[1] - potential[0], published[1] - published[0], rtol=1e-10, atol=1e-12)


def test_the_potential_falls_along_its_gradient_where_the_loss_does_not() -> None:
    """Truncated importance sampling stops the gradient of its weight: its loss is no potential of its gradient."""
    objective, q = ps.TruncatedIS(beta=0.3), torch.tensor([0.6, 0.4], dtype=torch.float64)
    advantage = torch.tensor([-0.4, 0.6], dtype=torch.float64)
    u = torch.tensor([-0.2, 0.25], dtype=torch.float64, requires_grad=True)
    loss = population_loss(u, q, advantage, objective)
    (gradient,) = torch.autograd.grad(loss, u)
    step = 1e-6 * gradient
    fallen = loss - population_loss(u - step, q, advantage, objective)
    torch.testing.assert_close(fallen, gradient @ step, rtol=1e-4, atol=0.0)
    published = [torch.sum(q * objective.loss(at, advantage, q)) for at in (u, u - step)]
    assert abs((published[0] - published[1]) / (gradient @ step) - 1.0) > 0.01


def test_on_policy_data_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="is on-policy: there is no frozen behavior"):
        fit(*posed(folder), ps.Reinforce(sampling="on_policy"))


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (ps.PPO(), "has a weight that jumps"),
        (ps.AsymRE(shift=-0.1), "has no target with mass on all completions: vanishing_support"),
        (ps.AsymRE(shift=0.5), "has no target with mass on all completions: no_target"),
    ],
)
def test_what_training_cannot_reach_is_refused(objective: ps.Objective, said: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=said):
        fit(*posed(folder), objective)


def test_training_in_the_negative_regime_is_not_refused(folder: Path) -> None:
    log_q, log_policy, _ = train(*posed(folder), ps.OAPL(beta1=0.1, beta2=0.3), steps=3)
    assert not np.array_equal(log_q, log_policy)


def test_a_loss_that_is_not_finite_stops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.validation.exact_training.population_loss", lambda u, *_: u.sum() * torch.nan)
    with pytest.raises(ValueError, match="the loss of kimi.* is nan after 1 evaluations"):
        fit(*posed(folder), ps.Kimi(beta=0.3))


def test_a_reward_per_completion(folder: Path) -> None:
    model, completions, prompt, reward = posed(folder)
    with pytest.raises(ValueError, match=r"reward must be \(241,\), one per completion, got shape \(240,\)"):
        fit(model, completions, prompt, reward[1:], ps.Kimi(beta=0.3))
