"""Masked weights: published losses with masks of their own, descended, and the sets of optima as concave programs."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.solution import NOT_COVERED
from pessimism.fixed_point.flow import flow_target
from pessimism.losses.masked import binary_kl_edges, change_edges
from pessimism.losses.registry import make_objective
from tests.flows import descend, maximize
from tests.helpers import Array, make_problem
from tests.pessimism.losses.ratios import BANDITS, TIED


def prime_rl(u: Any, q: Any, A: Any, keep: Any, tau: float) -> Any:
    """Their per-token loss."""
    return -keep.to(u.dtype) * A * u.exp() + tau * u**2


def verl(u: Any, q: Any, A: Any, keep: Any, cap: float) -> Any:
    """Their per-token loss, log-probabilities from the one that sampled."""
    return -A * u.exp().clamp(max=cap).detach() * u * keep.to(u.dtype)


def theirs(name: str, u: Any, q: Any, A: Any) -> Any:
    """The published loss of each setting, the mask written down from its source."""
    pi = (q * u.exp()).detach()
    if name == "kimi_k25":
        return -u.exp().clamp(0.7, 1.4) * A + 0.2 * u**2
    if name == "prime_ipo":
        return prime_rl(u, q, A, (pi - q).abs() <= 0.05, 0.2)
    if name == "dppo_tv":
        invalid = torch.where(A > 0, pi - q > 0.1, pi - q < -0.05)
        return prime_rl(u, q, A, ~invalid, 0.2)
    kl = q * -u.detach() + (1 - q) * torch.log((1.0 - q) / (1.0 - pi))
    if name == "dppo-kl":
        valid = torch.where(A > 0, (kl <= 0.1) | (pi <= q), (kl <= 0.02) | (pi >= q))
    else:
        valid = torch.where(A > 0, pi - q <= 0.1, pi - q >= -0.02)
    return verl(u, q, A, valid, 1.5)


OURS: dict[str, Any] = {
    "kimi_k25": ps.KimiK25(low=0.7, high=1.4, tau=0.2),
    "prime_ipo": ps.PrimeIPO(threshold=0.05, tau=0.2),
    "dppo_tv": ps.DPPOTV(low=0.05, high=0.1, tau=0.2),
    "dppo": ps.DPPO(low=0.02, high=0.1, cap=1.5),
    "dppo-kl": ps.DPPO("kl", low=0.02, high=0.1, cap=1.5),
}
PENALIZED = ("kimi_k25", "prime_ipo", "dppo_tv")


@pytest.mark.parametrize("name", OURS)
def test_the_weight_is_the_gradient_of_the_published_loss(name: str) -> None:
    rng = np.random.default_rng(1)
    q = torch.tensor(rng.dirichlet(np.ones(6), size=200))
    policy = torch.tensor(rng.dirichlet(np.ones(6), size=200))
    u, A = torch.log(policy / q).requires_grad_(), torch.tensor(rng.normal(size=(200, 6)))
    (gradient,) = torch.autograd.grad(theirs(name, u, q, A).sum(), u)
    ours = OURS[name].score_weight(u.detach(), A, q)
    np.testing.assert_allclose(ours.numpy(), -gradient.numpy(), rtol=1e-10, atol=1e-12)
    assert torch.any(ours == 0) or name in PENALIZED


def plain_descent(name: str, q: Array, advantage: Array, first: float = 1.0) -> Array:
    """Policy after descent on the published loss by steps that shrink, from the behavior."""
    behavior, A = torch.tensor(q), torch.tensor(advantage)
    logits = torch.log(behavior).requires_grad_()
    for size in np.geomspace(first, 1e-4, 10):
        for _ in range(200):
            u = torch.log_softmax(logits, -1) - torch.log(behavior)
            (gradient,) = torch.autograd.grad((behavior * theirs(name, u, behavior, A)).sum(), logits)
            logits = (logits - size * gradient).detach().requires_grad_()
    return np.asarray(torch.softmax(logits, -1).detach())


@pytest.mark.parametrize("name", PENALIZED)
@pytest.mark.parametrize("seed", [31, 33, 35, 36])
def test_a_penalized_target_is_where_descent_ends(name: str, seed: int) -> None:
    q, reward = make_problem(seed, 4)
    target = ps.induced_target(q, reward, OURS[name])
    assert target.status == "converged"
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    np.testing.assert_allclose(plain_descent(name, q, target.advantage), target.policy, atol=2e-4)


@pytest.mark.parametrize("tau", [1e-3, 0.05, 0.5])
@pytest.mark.parametrize("binary", [False, True])
def test_the_stable_branch_is_the_flow(tau: float, binary: bool) -> None:
    """Rows where an action could rest at its edge as well are left to the flow, and are many with equal rewards."""
    rng = np.random.default_rng(2)
    q = np.maximum(rng.dirichlet(np.ones(9), size=40), 1e-6)
    q /= q.sum(axis=-1, keepdims=True)
    reward = (rng.uniform(size=q.shape) < 0.4).astype(float) if binary else rng.uniform(size=q.shape)
    target = ps.induced_target(q, reward, "dppo_tv", tau=tau)
    closed = target.objective.closed_form(target.bandit, target.advantage_rows, unseen=False)
    covered = np.asarray(closed.status) != NOT_COVERED
    assert 0.2 < covered.mean() < 1.0
    flow = flow_target(target.bandit, target.objective, target.advantage_rows)
    np.testing.assert_allclose(np.exp(flow.log_ratio[covered]), np.exp(closed.log_ratio[covered]), atol=1e-9)


def surrogate(A: Array, q: Array, low: Array, high: Array, cap: float, policy: Any) -> tuple[Any, list[Any]]:
    """DPPO's surrogate: slope A up to the cap, A cap/w up to the edge, where it ends; A above the lower edge."""
    up, down = A > 0, A < 0
    first, then = cp.Variable(int(up.sum()), nonneg=True), cp.Variable(int(up.sum()), nonneg=True)
    top, capped = (q * np.exp(high))[up], cap * q[up]
    value = cp.sum(cp.multiply(A[up], first + cp.multiply(capped, cp.log(1 + cp.multiply(then, 1 / capped)))))
    value += cp.sum(cp.multiply(A[down], cp.maximum(policy[down], (q * np.exp(low))[down])))
    limits = [policy[up] >= first + then, first <= np.minimum(top, capped), then <= np.maximum(top - capped, 0.0)]
    return value, [*limits, policy >= 0, cp.sum(policy) == 1]


@pytest.mark.parametrize(
    "hyper", [{}, {"divergence": "kl"}, {"high": 0.6, "cap": 2.0}, {"low": 0.01, "cap": 1.0}], ids=str
)
@pytest.mark.parametrize("problem", [*range(5), "tied"])
def test_a_dppo_target_is_the_nearest_optimum(hyper: dict[str, Any], problem: Any) -> None:
    """First the concave program, then the least KL(pi || mu) among its solutions."""
    q, reward = TIED if problem == "tied" else BANDITS[problem]
    objective = ps.DPPO(**hyper)
    target = ps.induced_target(q, reward, objective)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    A, policy = target.advantage, cp.Variable(len(q))
    low, high = objective.kinks_at(q)
    value, limits = surrogate(A, q, np.asarray(low), np.asarray(high), objective.cap, policy)
    best = maximize(value, limits)
    assert maximize(value, [*limits, policy == target.policy]) == pytest.approx(best, abs=1e-6)
    maximize(-cp.sum(cp.kl_div(policy, q)), [*limits, value >= best - 1e-9])
    np.testing.assert_allclose(policy.value, target.policy, atol=5e-4)


@pytest.mark.parametrize("name", ["dppo", "dppo-kl"])
@pytest.mark.parametrize("seed", [31, 33])
def test_descent_ends_in_the_set_of_dppo(name: str, seed: int) -> None:
    """Every better action at its upper edge or above, every worse one at its lower edge or below, if there is room."""
    q, reward = make_problem(seed, 4)
    target = ps.induced_target(q, reward, OURS[name])
    A = target.advantage
    low, high = OURS[name].kinks_at(q)
    policy = plain_descent(name, q, A, first=20.0)
    u = np.log(policy / q)
    if target.status == "set_valued":
        assert np.all(u[A > 0] >= np.asarray(high)[A > 0] - 1e-3)
        assert np.all(u[A < 0] <= np.maximum(np.asarray(low)[A < 0], -5.0) + 1e-3)  # those without an edge vanish
    else:
        np.testing.assert_allclose(policy, target.policy, atol=5e-3)


def test_edges_are_where_the_divergence_is_the_threshold() -> None:
    q = np.array([1e-300, 1e-9, 0.05, 0.3, 0.999, 1.0, 0.0])
    low, high = change_edges(0.1, 0.2, q)
    np.testing.assert_allclose(q[2:5] * np.expm1(high[2:5]), 0.2, rtol=1e-12)
    np.testing.assert_allclose(q[3:5] * np.expm1(low[3:5]), -0.1, rtol=1e-12)
    assert np.all(np.isneginf(low[[0, 1, 2, 6]]))
    assert np.isposinf(high[6])
    low, high = binary_kl_edges(0.02, 0.1, q)
    for edge, threshold in ((low, 0.02), (high, 0.1)):
        p = np.exp(np.log(q[2:4]) + edge[2:4])
        divergence = q[2:4] * np.log(q[2:4] / p) + (1 - q[2:4]) * (np.log1p(-q[2:4]) - np.log1p(-p))
        np.testing.assert_allclose(divergence, threshold, rtol=1e-9)
    assert np.all(low[:5] < 0)
    assert np.all(high[:5] > 0)


def test_a_ratio_band_that_nothing_reaches_is_no_mask() -> None:
    """Then K2.5 is DPPO of prime-rl without its mask: both are -w A + tau u^2."""
    q, reward = np.array([0.2, 0.3, 0.25, 0.25]), np.array([0.4, 0.0, 1.0, -0.3])
    kimi = ps.induced_target(q, reward, "kimi_k25", low=1e-3, high=1e3, tau=1.0)
    other = ps.induced_target(q, reward, "dppo_tv", low=1.0, high=1.0, tau=1.0)
    np.testing.assert_allclose(kimi.policy, other.policy, rtol=1e-11)
    penalized = ps.KLRegularized(estimator="k2", placement="loss", sampling="off_policy", beta=2.0)
    np.testing.assert_allclose(kimi.policy, ps.induced_target(q, reward, penalized).policy, rtol=1e-11)
    np.testing.assert_allclose(descend(kimi.objective, q, reward), kimi.policy, atol=1e-4)


def test_their_temperature_is_twice_tau() -> None:
    for name in PENALIZED:
        objective = make_objective(name, tau=0.25)
        assert objective.temperature == 0.5
        assert objective.at_temperature(0.1) == make_objective(name, tau=0.05)


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("kimi_k25", {"low": 1.5}, "kimi_k25: low must be < 1 and high > 1, got 1.5 and 8.0"),
        ("kimi_k25", {"tau": 0.0}, "kimi_k25: tau must be > 0, got 0.0"),
        ("dppo_tv", {"high": -0.1}, "dppo_tv: high must be > 0, got -0.1"),
        ("prime_ipo", {"threshold": 0.0}, "prime_ipo: threshold must be > 0, got 0.0"),
        ("dppo", {"cap": 0.5}, "dppo: cap must be >= 1, got 0.5"),
        ("dppo", {"divergence": "js"}, 'dppo: divergence must be "tv" or "kl", got \'js\''),
    ],
)
def test_bad_hyper_parameters(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_objective(name, **hyper)
