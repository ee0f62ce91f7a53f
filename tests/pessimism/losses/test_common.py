"""One suite over every registered objective: the laws that an induced target obeys whatever the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
import tests.cases
from pessimism.losses.standardized import Standardized
from tests.helpers import (
    PROBLEMS,
    Array,
    accepted,
    assert_log_policies_agree,
    assert_policy,
    cases,
    having,
    log_policy,
    make_problem,
    posed,
    rescaled,
    shifted,
)

CASES = cases()
EPS32 = float(np.finfo(np.float32).eps)
GENERIC = PROBLEMS["generic"]

every_objective = pytest.mark.parametrize("name", CASES)
every_problem = pytest.mark.parametrize("problem", PROBLEMS)


@every_objective
@every_problem
def test_a_target_is_a_policy_that_passes_its_certificate(name: str, problem: str) -> None:
    behavior, reward = posed(name, problem)
    target = ps.induced_target(behavior, reward, CASES[name])
    known = ("converged", "local_minimum", "vanishing_support", "set_valued")
    assert target.status in known + (("unstable",) if problem == "equal_rewards" else ())
    assert_policy(target.policy, behavior)
    assert_log_policies_agree(np.exp(target.log_policy), target.policy)
    assert float(target.residual) <= 1e-12
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    np.testing.assert_array_equal(target.log_ratio[behavior == 0], 0.0)


@pytest.mark.parametrize("name", having("shift"))
@pytest.mark.parametrize("constant", [-3.0, 1.0, 256.0])
def test_a_constant_reward_changes_nothing(name: str, constant: float) -> None:
    behavior, reward = posed(name, "generic")  # on a grid: reward + constant is exact
    expected = log_policy(behavior, reward, CASES[name])
    found = log_policy(behavior, reward + constant, shifted(name, constant))
    # The baseline of larger rewards is rounded more coarsely, by eps * constant / temperature.
    assert_log_policies_agree(found, expected, tolerance=1e-12 if abs(constant) < 10 else 1e-10)


@pytest.mark.parametrize("name", [n for n, case in tests.cases.CASES.items() if case.units is not None])
@pytest.mark.parametrize("factor", [2.0**-20, 3.0, 1e4])
def test_rewards_and_temperatures_scale_together(name: str, factor: float) -> None:
    behavior, reward = posed(name, "generic")
    expected = ps.induced_target(behavior, reward, CASES[name])
    found = ps.induced_target(behavior, reward * factor, rescaled(CASES[name], factor, tests.cases.CASES[name].units))
    assert_log_policies_agree(found.log_policy, expected.log_policy)
    np.testing.assert_allclose(found.kappa, expected.kappa, rtol=1e-11, atol=1e-13)


@every_objective
def test_the_order_of_actions_does_not_matter(name: str) -> None:
    behavior, reward = posed(name, "generic")
    order = np.random.default_rng(1).permutation(len(reward))
    found = log_policy(behavior[order], reward[order], CASES[name])
    assert_log_policies_agree(found, log_policy(behavior, reward, CASES[name])[order])


@pytest.mark.parametrize("name", having("split"))
def test_splitting_an_action_leaves_the_ratios(name: str) -> None:
    behavior, reward = posed(name, "generic")
    expected = ps.induced_target(behavior, reward, CASES[name]).log_ratio
    split = np.append(behavior, behavior[2] * 0.75)
    split[2] = behavior[2] * 0.25
    found = ps.induced_target(split, np.append(reward, reward[2]), CASES[name]).log_ratio
    assert_log_policies_agree(found, np.append(expected, expected[2]))


@pytest.mark.parametrize("name", having("batch"))
def test_a_batch_is_a_loop_over_its_rows(name: str) -> None:
    behaviors, rewards = map(np.stack, zip(*(make_problem(seed, 6) for seed in range(12)), strict=True))
    rewards = accepted(name, rewards)
    shaped = ps.induced_target(behaviors.reshape(3, 4, 6), rewards.reshape(3, 4, 6), CASES[name])
    rows = [ps.induced_target(q, r, CASES[name]) for q, r in zip(behaviors, rewards, strict=True)]
    assert_log_policies_agree(shaped.log_policy.reshape(12, 6), np.stack([row.log_policy for row in rows]))
    for field in ("kappa", "multiplier", "baseline", "leak"):
        expected = np.stack([getattr(row, field) for row in rows])
        np.testing.assert_allclose(getattr(shaped, field).ravel(), expected, rtol=1e-11, atol=1e-13, err_msg=field)
    assert shaped.regime.ravel().tolist() == [str(row.regime) for row in rows]
    assert shaped.status.ravel().tolist() == [str(row.status) for row in rows]


@pytest.mark.parametrize("name", having("batch"))
def test_arguments_broadcast(name: str) -> None:
    behavior, reward = posed(name, "generic")
    other = reward[::-1]
    both = ps.induced_target(behavior, np.stack([reward, other]), CASES[name])
    for row, r in enumerate((reward, other)):
        assert_log_policies_agree(both.log_policy[row], log_policy(behavior, r, CASES[name]))


@every_objective
@every_problem
def test_array_libraries_agree(name: str, problem: str) -> None:
    behavior, reward = posed(name, problem)
    expected = ps.induced_target(behavior, reward, CASES[name])
    for library in (torch, array_api_strict):
        arrays = [library.asarray(a) for a in (behavior, reward)]
        found = ps.induced_target(*arrays, CASES[name])
        for field in ("policy", "log_policy", "log_ratio", "kappa", "multiplier", "baseline", "advantage", "nominal"):
            value = getattr(found, field)
            assert type(value) is type(arrays[0]), field
            assert value.dtype == arrays[0].dtype, field
            tolerance = {"rtol": 1e-12, "atol": 1e-12, "err_msg": field}
            np.testing.assert_allclose(np.asarray(value), getattr(expected, field), **tolerance)
        assert found.regime == expected.regime


@every_objective
@every_problem
def test_float32_rounds_only_the_result(name: str, problem: str) -> None:
    """Work is in float64 on the exact float32 inputs, so the error is the output's: eps32 max(1, |log p|)."""
    behavior, reward = (a.astype(np.float32) for a in posed(name, problem))
    found = ps.induced_target(behavior, reward, CASES[name])
    exact = ps.induced_target(behavior.astype(np.float64), reward.astype(np.float64), CASES[name])
    for field in ("policy", "log_policy", "log_ratio", "kappa", "advantage", "baseline", "leak", "nominal"):
        value = getattr(found, field)
        expected = np.asarray(getattr(exact, field))
        assert value.dtype == np.float32, field
        np.testing.assert_array_equal(np.isnan(value), np.isnan(expected), err_msg=field)
        assert_log_policies_agree(value[~np.isnan(value)], expected[~np.isnan(expected)], tolerance=EPS32)


@every_objective
def test_sampled_groups_are_uniform_behaviors(name: str) -> None:
    """Without weights the group's own statistics are used; only the unbiased spread differs from a population's."""
    reward = posed(name, "generic")[1]
    sampled = ps.induced_target(None, reward, CASES[name])
    uniform = np.full(7, 1 / 7)
    if isinstance(CASES[name], Standardized):
        spread = np.std(reward, ddof=1) + CASES[name].eps
        np.testing.assert_allclose(sampled.advantage, (reward - reward.mean()) / spread, rtol=1e-13)
    else:
        assert_log_policies_agree(sampled.log_policy, log_policy(uniform, reward, CASES[name]))
    assert_policy(sampled.policy, uniform)
    assert float(sampled.certificate()["worst"].iloc[0]) <= 1e-10


@pytest.mark.parametrize("name", [n for n, case in tests.cases.CASES.items() if case.softening is not None])
@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_at_high_temperature_the_behavior_stays(name: str, scale: float) -> None:
    behavior, reward = posed(name, "generic")
    field, exponent = tests.cases.CASES[name].softening or ("", 0)
    sign = -1.0 if getattr(CASES[name], field) < 0 else 1.0
    target = ps.induced_target(behavior, reward, replace(CASES[name], **{field: sign * scale**exponent}))
    span = np.ptp(target.advantage)
    assert 0.0 < np.abs(target.log_ratio).max() <= 1.01 * span / scale


def population_loss(objective: Any, behavior: Array, advantage: Array, log_policies: Array) -> Array:
    """E_q[loss] for log-policies (n, K)."""
    seen = behavior > 0
    u = log_policies[..., seen] - np.log(behavior[seen])
    loss = objective.loss(u, np.broadcast_to(advantage[seen], u.shape), np.broadcast_to(behavior[seen], u.shape))
    return np.asarray(np.sum(behavior[seen] * loss, axis=-1))


def random_log_policies(behavior: Array, near: Array, seed: int) -> Array:
    """1,000 policies on the behavior's support: half anywhere, half close to a given one."""
    rng = np.random.default_rng(seed)
    anywhere = np.log(rng.dirichlet(np.ones(len(behavior)), size=500))
    beside = near + 0.1 * rng.normal(size=(500, len(behavior)))
    logits = np.where(behavior > 0, np.concatenate([anywhere, beside]), -np.inf)
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


@pytest.mark.parametrize("name", having("descends"))
@pytest.mark.parametrize("problem", ["generic", "two_actions", "unseen_actions", "ties"])
def test_no_random_policy_has_a_lower_loss(name: str, problem: str) -> None:
    behavior, reward = posed(name, problem)
    target = ps.induced_target(behavior, reward, CASES[name])
    assert target.status in ("converged", "vanishing_support", "set_valued")
    own = population_loss(CASES[name], behavior, target.advantage, target.log_policy[None])[0]
    others = population_loss(
        CASES[name], behavior, target.advantage, random_log_policies(behavior, target.log_policy, 2)
    )
    assert own <= others.min() + 1e-14 * abs(own)


def test_some_policy_has_a_lower_loss_than_a_wrong_target() -> None:
    behavior, reward = GENERIC
    target = ps.induced_target(behavior, reward, CASES["kimi"])
    wrong = np.log(np.asarray(target.nominal))
    own = population_loss(CASES["kimi"], behavior, target.advantage, wrong[None])[0]
    others = population_loss(CASES["kimi"], behavior, target.advantage, random_log_policies(behavior, wrong, 2))
    assert others.min() < own


@every_objective
@pytest.mark.parametrize("sampled", [False, True])
def test_autograd_of_the_loss_is_the_score_weight(name: str, sampled: bool) -> None:
    objective = CASES[name]
    rng = np.random.default_rng(3)
    u = torch.tensor(rng.normal(size=(5, 7)), requires_grad=True)
    reward = torch.tensor(accepted(name, rng.normal(size=(5, 7))))
    weights = torch.tensor(rng.dirichlet(np.ones(7), size=5))
    given_weights = None if sampled else weights
    shares = torch.full_like(weights, 1 / 7) if sampled else weights
    advantage = objective.advantage(reward, given_weights)
    loss = objective.loss(u, advantage, given_weights)
    assert loss.shape == u.shape
    (gradient,) = torch.autograd.grad((shares * loss).sum(), u)
    expected = -objective.score_weight(u.detach(), advantage, given_weights)
    np.testing.assert_allclose((gradient / shares).numpy(), expected.numpy(), rtol=1e-11, atol=1e-11)


@every_objective
def test_methods_agree_between_libraries(name: str) -> None:
    objective = CASES[name]
    rng = np.random.default_rng(4)
    u, reward, weights = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), rng.dirichlet(np.ones(5), size=4)
    reward = accepted(name, reward)
    for method in ("score_weight", "loss"):
        for w in (weights, None):
            expected = getattr(objective, method)(u, objective.advantage(reward, w), w)
            for library in (torch, array_api_strict):
                a, b = library.asarray(u), library.asarray(reward)
                c = None if w is None else library.asarray(w)
                found = getattr(objective, method)(a, objective.advantage(b, c), c)
                np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in having("plain") if not isinstance(CASES[n], Standardized)])
def test_advantage_is_reward_minus_baseline(name: str) -> None:
    behavior, reward = posed(name, "generic")
    objective = CASES[name]
    gap = reward - objective.baseline(reward, behavior)
    np.testing.assert_allclose(objective.advantage(reward, behavior), gap, rtol=1e-12, atol=1e-13)


problems = st.integers(2, 9).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(1e-6, 1.0), min_size=k, max_size=k),
        st.lists(st.integers(-4096, 4096), min_size=k, max_size=k),
        st.floats(0.05, 20.0),
    )
)


@given(problems, st.sampled_from(sorted(CASES)))
@settings(max_examples=200)
def test_any_problem_gives_a_certified_policy(problem: tuple[list[float], list[int], float], name: str) -> None:
    masses, grid, scale = problem
    behavior, reward = np.array(masses) / np.sum(masses), np.array(grid) / 4096
    reward = accepted(name, reward)
    units = tests.cases.CASES[name].units
    objective = CASES[name] if units is None else rescaled(CASES[name], scale, units)
    target = ps.induced_target(behavior, reward, objective)
    assert_policy(target.policy, behavior)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    if target.status == "local_minimum":  # among equally low ones the first is returned
        return
    assert_log_policies_agree(
        target.log_policy, log_policy(behavior[::-1], reward[::-1], objective)[::-1], tolerance=1e-11
    )


def test_rescaling_helper_moves_every_unit() -> None:
    assert rescaled(ps.OAPL(beta1=1.0, beta2=0.5), 2.0) == ps.OAPL(beta1=2.0, beta2=1.0)
    assert rescaled(ps.REBEL(eta=1.0), 2.0) == ps.REBEL(eta=0.5)
    assert rescaled(ps.StdNormalized(beta=1.0, eps=0.5), 2.0) == ps.StdNormalized(beta=1.0, eps=1.0)
