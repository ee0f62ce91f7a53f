"""Mass that leaks to unseen actions: in closed form, and as gradient flow with one action more takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.objective import as_objective
from pessimism.core.problem import make_problem
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.unseen import let_leak, may_leak
from tests.cases import CASES
from tests.flows import leak_of_flow
from tests.helpers import Array

QUARTERS = np.full(4, 0.25)
OWN_DATA = [name for name, case in CASES.items() if not may_leak(case.objective)]
BY_FLOW = [name for name in CASES if name not in OWN_DATA]


def posed(name: str, width: int) -> tuple[Array, Array, Array | None]:
    """Behavior, mostly negative rewards and, where there can be one, another reference; the same for a name."""
    rng = np.random.default_rng([width, *name.encode()])
    behavior, reference = rng.dirichlet(np.full(width, 3.0), size=2)
    reward = rng.normal(size=width) - 1.0
    case = CASES[name]
    if case.unit_rewards:
        reward = rng.uniform(size=width)
    return behavior, reward, reference if case.objective.takes_reference else None


def check_against_flow(objective: Any, behavior: Array, reward: Array, reference: Array | None = None) -> float:
    """Compare leak and, where mass leaks, policy with those of gradient flow with one more action; return the leak.

    A mass that nothing pulls still changes by a bounded factor: it stays of the order of what it is at the start.
    """
    target = ps.induced_target(behavior, reward, objective, reference=reference, unseen=True)
    # Where all that is seen loses its mass the unseen action wins by a power of time alone: start it higher.
    start = 1e-2 if objective.kinks_at(behavior) or target.leak > 0.999 else 1e-4
    # A temperature of 1e-3 slows the flow of a squared loss a million times.
    pace = objective.beta2**-2 if isinstance(objective, ps.OAPL) else 1.0
    leak, policy = leak_of_flow(objective, behavior, reward, reference=reference, unseen=start, pace=pace)
    if target.leak > 0:
        assert target.leak == pytest.approx(leak, abs=1e-3)
        np.testing.assert_allclose(target.policy, policy, atol=1e-3)
        assert target.regime == "negative"
    else:
        assert leak < 3.0 * start
    return float(target.leak)


@pytest.mark.parametrize(
    ("name", "hyper", "reward", "leak"),
    [
        ("topr", {}, (-1, -1, -1, -1), 1.0),
        ("topr", {}, (-1, -2, -1, -1), 1.0),
        ("ips", {"beta": 0.5}, (-1, 0, -1, -1), 1.0 - (3.0 * np.exp(-2.0) + 1.0) / 4.0),
        ("chi2", {"beta": 2.0}, (-1, 0, -1, -1), 0.375),
        ("chi2", {"beta": 0.5}, (-1, 0, -1, -1), 0.75),
        ("pevi", {"n": 10.0}, (-1, 0, -1, -1), 1.0),
        ("pevi_kl", {"n": 10.0, "beta": 0.5}, (-1, 0, -1, -1), 0.9531366838),
    ],
)
def test_leak_of_failing_groups(name: str, hyper: dict[str, Any], reward: Any, leak: float) -> None:
    target = ps.induced_target(QUARTERS, reward, name, unseen=True, **hyper)
    assert target.leak == pytest.approx(leak, abs=1e-10)
    assert target.residual <= 1e-15
    assert target.regime == "negative"
    assert target.certificate()["worst"][0] <= 1e-12
    objective = ps.objectives()[name](**hyper)
    assert check_against_flow(objective, QUARTERS, np.array(reward, dtype=float)) == target.leak


def test_a_sweep_in_a_batch_and_its_gradient() -> None:
    reward = torch.tensor([[-1.0, 0.0, -1.0, -1.0], [1.0, 2.0, 3.0, 0.4]], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    target = ps.induced_target(torch.full((4,), 0.25, dtype=torch.float64), reward, "ips", beta=beta, unseen=True)
    expected = 1.0 - np.exp(reward.detach().numpy()[0] / beta.numpy()).mean(axis=-1)
    np.testing.assert_allclose(target.leak.numpy()[:, 0], expected, rtol=1e-14)
    np.testing.assert_array_equal(target.leak.numpy()[:, 1], 0.0)
    # Where mass leaks every action is on its own, pi = mu exp(r/beta).
    (gradient,) = torch.autograd.grad(target.policy[1, 0, 0], reward)
    assert gradient[0, 0] == pytest.approx(0.25 * np.exp(-2.0) / 0.5, rel=1e-12)
    assert gradient.count_nonzero() == 1


@pytest.mark.parametrize("name", ["rebel", "tba", "copg"])
def test_rounding_pulls_nothing_out_of_groups_without_a_signal(name: str) -> None:
    behavior = np.random.default_rng(3).dirichlet(np.ones(3), size=400)
    target = ps.induced_target(behavior, np.zeros((400, 3)), name, unseen=True)
    assert set(target.status.tolist()) == {"converged"}
    assert not target.leak.any()


@pytest.mark.parametrize("beta1", [5e-4, 9e-4])
@pytest.mark.parametrize("width", [2, 3])
def test_leak_of_oapl_at_its_published_temperature(beta1: float, width: int) -> None:
    rng = np.random.default_rng(width)
    behavior, reward = rng.dirichlet(np.full(width, 3.0)), 2e-3 * rng.normal(size=width)
    leak = check_against_flow(ps.OAPL(beta1=beta1, beta2=1e-3), behavior, reward)
    assert leak > 0.01


def test_another_reference_where_it_makes_the_multiplier_negative() -> None:
    behavior, reference = np.array([0.6, 0.3, 0.1]), np.array([0.05, 0.3, 0.65])
    objective = CASES["kl_regularized-k1-reward-off"].objective
    leak = check_against_flow(objective, behavior, np.array([1.0, 0.2, -1.5]), reference)
    assert leak > 0.1


class Freed:
    """A constant pull on one action, whose logit falls for ever, and squared losses on the others."""

    beta = 1.0

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return 1.0 * reward

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - log_ratio * (advantage > -5.0)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return -advantage * log_ratio + 0.5 * log_ratio**2 * (advantage > -5.0)


def test_unseen_actions_fall_behind_seen_ones_that_rise() -> None:
    """Without the third action q (A - u) - lam pi = c > 0, so that lam < 0 and yet nothing leaks."""
    behavior, reward = np.array([0.4, 0.3, 0.3]), np.array([-1.0, -1.2, -10.0])
    objective = as_objective(Freed())
    bandit, advantage = make_problem(behavior, reward, objective)
    leak, policy = leak_of_flow(objective, behavior, reward)
    assert leak < 1e-6
    with np.errstate(divide="ignore"):
        log_ratio = np.where(policy > 1e-12, np.log(policy / behavior), -np.inf)[None]
    none = np.zeros(1)
    seen = Solution(log_ratio, none, none, none, np.array([Status.VANISHING_SUPPORT]))
    assert let_leak(bandit, objective, advantage, seen) is seen


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, pytest.param(4, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", BY_FLOW)
def test_leak_of_every_objective_is_that_of_the_flow(name: str, width: int) -> None:
    check_against_flow(CASES[name].objective, *posed(name, width))


@pytest.mark.parametrize("name", OWN_DATA)
def test_nothing_is_unseen_to_a_policy_that_samples(name: str) -> None:
    behavior, reward, reference = posed(name, 4)
    objective = CASES[name].objective
    for method in (None, "fixed_point"):
        seen, with_unseen = (
            ps.induced_target(behavior, reward, objective, reference=reference, unseen=unseen, method=method)
            for unseen in (False, True)
        )
        assert with_unseen.leak == seen.leak or np.isnan(seen.leak)
        np.testing.assert_array_equal(with_unseen.policy, seen.policy)
