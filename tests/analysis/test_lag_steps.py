"""Steps on lagged data: exact gradients against `sgd`, sampled ones against autograd of the published loss."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import pessimism as ps
from analysis.lag import COMPARED
from analysis.lag_steps import Prompts, draw_prompts, exact_gradient, group_gradient, measured, unit, walk
from tests.analysis.lags import BETA, EVERY, exact


@pytest.mark.parametrize("name", COMPARED)
def test_exact_steps_are_those_of_sgd_on_the_policy_of_lag_steps_ago(name: str) -> None:
    objective, lr, behind = EVERY[name], 0.7, 2
    found, reward = exact(objective, behind, 6, lr), draw_prompts(1, 5, seed=3).reward[0]
    options = {"reference": found[0]} if objective.takes_share else {}
    for t in range(6):
        data = found[max(t - behind, 0)]
        step = ps.sgd(data, reward, objective, steps=1, lr=lr / unit(objective), start=found[t], **options)
        np.testing.assert_allclose(found[t + 1], step.policy, rtol=1e-10)


@pytest.mark.parametrize("name", COMPARED)
def test_data_that_never_follow_are_a_fixed_behavior(name: str) -> None:
    objective, prompts = EVERY[name], draw_prompts(1, 5, seed=3)
    run = ps.sgd(np.exp(prompts.log_start[0]), prompts.reward[0], objective, steps=40, lr=0.5 / unit(objective))
    np.testing.assert_allclose(exact(objective, 40, 40, 0.5)[-1], run.policy, rtol=1e-9)


@pytest.mark.parametrize("name", ["nominal", "kimi", "optimal_value", "oapl", "reinforce"])
def test_without_lag_exact_steps_are_the_policy_gradient_whatever_the_objective(name: str) -> None:
    found, reward = exact(EVERY[name], 0, 5, 0.7), draw_prompts(1, 5, seed=3).reward[0]
    for now, then in pairwise(found):
        moved = np.log(now) + 0.7 * now * (reward - now @ reward)
        np.testing.assert_allclose(then, np.exp(moved) / np.exp(moved).sum(), rtol=1e-10)


@pytest.mark.parametrize("name", COMPARED)
def test_a_sampled_gradient_is_autograd_of_the_published_loss_of_the_group(name: str) -> None:
    torch = pytest.importorskip("torch")
    objective, rng = EVERY[name], np.random.default_rng(0)
    start, data, policy = (np.log(rng.dirichlet(np.ones(4), size=3)) for _ in range(3))
    actions, reward = rng.integers(4, size=(3, 6)), rng.integers(2, size=(3, 6)).astype(float)
    logits = torch.tensor(policy, requires_grad=True)
    now = torch.log_softmax(logits, dim=-1)
    then, first = torch.tensor(data), torch.tensor(start)
    at = torch.tensor(actions)
    advantage = objective.advantage(torch.tensor(reward), None)
    if objective.takes_share:
        share = torch.gather(first - then, -1, at)
        loss = objective.loss(torch.gather(now - first, -1, at), advantage, None, log_share=share)
    else:
        loss = objective.loss(torch.gather(now - then, -1, at), advantage, None)
    loss.mean(dim=-1).sum().backward()
    found = group_gradient(objective, policy, data, start, actions, reward)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, -logits.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_mean_of_sampled_gradients_is_the_exact_one() -> None:
    objective, prompts = EVERY["reinforce"], draw_prompts(1, 4, seed=0)
    n = 4000
    same = Prompts(*(np.repeat(a, n, axis=0) for a in prompts[:2]), [np.random.default_rng([9, i]) for i in range(n)])
    *_, (policy, _) = walk(objective, same, lag=0, lrs=(1.0,), steps=1, group=8)
    log_start = prompts.log_start
    moves = policy[0] - log_start
    moves -= moves.mean(axis=-1, keepdims=True)  # logits up to a constant
    expected = exact_gradient(objective, log_start, log_start, log_start, prompts.reward)[0]
    error = moves.std(axis=0) / np.sqrt(n)
    assert (np.abs(moves.mean(axis=0) - (expected - expected.mean())) < 4 * error).all()


def test_a_learning_rate_is_that_of_a_policy_gradient() -> None:
    for name, objective in EVERY.items():
        assert unit(objective) == pytest.approx(2 * BETA if isinstance(objective, _REGRESSIONS) else 1.0), name


_REGRESSIONS = (ps.Kimi, ps.OptimalValue, ps.OAPL, ps.ShiftedMean)


def test_runs_that_overflow_end_where_they_were_and_are_counted() -> None:
    prompts = draw_prompts(4, 3, seed=0)
    run = list(walk(EVERY["kimi"], prompts, lag=2, lrs=(0.1, 1e6), steps=200, group=8))
    policy, ended = run[-1]
    assert not ended[0].any()
    assert ended[1].all()
    assert np.isfinite(policy).all()
    assert measured(np.exp(policy[1]), ended[1], prompts)["ended"] == 1.0
    first = next(t for t, (_, over) in enumerate(run) if over[1, 0])
    np.testing.assert_array_equal(policy[1, 0], run[first - 1][0][1, 0])
