"""Conservative Q-learning: the published losses in Q, Lambert's function, the caps of Huber's loss, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, special

import pessimism as ps
from pessimism.losses.conservative_q import _huber_centered
from tests.helpers import Array, assert_log_policies_agree, make_problem
from tests.systems import BANDITS, descend, solved


def published_cql(
    behavior: Array, reward: Array, alpha: float, error: Callable[[torch.Tensor], torch.Tensor], base: Array, t: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss in Q as printed: regression plus alpha E_mu[t log sum base exp(Q/t) - Q]."""
    mu, r, log_base = (torch.tensor(a) for a in (behavior, reward, np.log(base)))

    def loss(q: torch.Tensor) -> torch.Tensor:
        level = t * torch.logsumexp(q / t + log_base, -1)
        return (mu * (error(q - r) + alpha * (level - q))).sum()

    return loss


def half_square(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * x


def huber(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=1.0)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(("name", "error"), [("cql", half_square), ("cql_huber", huber)])
def test_cql_minimizes_the_published_loss_in_q(name: str, error: Any, alpha: float) -> None:
    for behavior, reward in BANDITS:
        loss = published_cql(behavior, 2.0 * reward, alpha, error, np.ones_like(behavior), 1.0)
        values = descend(loss, np.zeros(len(reward)))
        policy = solved(behavior, 2.0 * reward, name, alpha=alpha)
        np.testing.assert_allclose(special.softmax(values), policy, atol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.5), (2.0, 0.5), (0.5, 2.0)])
def test_cql_reference_minimizes_the_published_loss_in_q(alpha: float, beta: float) -> None:
    for seed, (behavior, reward) in enumerate(BANDITS):
        for reference in (None, make_problem(300 + seed, len(reward))[0]):
            base = behavior if reference is None else reference
            values = descend(published_cql(behavior, reward, alpha, half_square, base, beta), reward)
            target = ps.induced_target(behavior, reward, "cql_reference", reference=reference, alpha=alpha, beta=beta)
            np.testing.assert_allclose(special.softmax(values / beta + np.log(base)), target.policy, atol=1e-6)
            np.testing.assert_allclose(target.kappa, alpha / beta, rtol=1e-15)


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 1.0, 30.0, 1e4])
def test_cql_residual_is_zero(alpha: float) -> None:
    for behavior, reward in BANDITS:
        policy = solved(behavior, reward, "cql", alpha=alpha)
        values = np.log(policy) + behavior @ (reward - np.log(policy))
        residual = values - reward + alpha * (policy / behavior - 1.0)
        assert np.abs(residual).max() <= 1e-12 * (1.0 + alpha)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 10.0])
def test_cql_by_lamberts_function(alpha: float) -> None:
    for behavior, reward in BANDITS:

        def policy(nu: float, mu: Array = behavior, r: Array = reward) -> Array:
            return np.asarray(mu / alpha * special.lambertw(alpha / mu * np.exp(r - nu)).real)

        nu = optimize.brentq(lambda nu, p=policy: p(nu).sum() - 1.0, -50.0, 50.0, xtol=1e-14)  # type: ignore[misc]
        np.testing.assert_allclose(solved(behavior, reward, "cql", alpha=alpha), policy(nu), rtol=1e-10)


@pytest.mark.parametrize("name", ["cql", "cql_huber"])
def test_cql_without_penalty_is_softmax_over_a_uniform_base(name: str) -> None:
    for behavior, reward in BANDITS:
        errors = [
            np.abs(solved(behavior, reward, name, alpha=alpha) - special.softmax(reward)).max()
            for alpha in (1e-3, 1e-4, 1e-5)
        ]
        assert errors[-1] < 1e-3
        assert errors[0] > 5 * errors[1] > 25 * errors[2]
    behavior, reward = np.array([0.5, 0.0, 0.5]), np.array([0.0, 9.0, 1.0])
    policy = solved(behavior, reward, name, alpha=1e-9)
    np.testing.assert_allclose(policy, [special.expit(-1.0), 0.0, special.expit(1.0)], atol=1e-8)


def test_a_large_penalty_is_a_linear_tilt_of_reward_minus_log_behavior() -> None:
    for behavior, reward in BANDITS:
        tilt = reward - np.log(behavior)
        tilt -= behavior @ tilt
        for alpha in (1e3, 1e5):
            policy = solved(behavior, reward, "cql", alpha=alpha)
            np.testing.assert_allclose(alpha * (policy / behavior - 1.0), tilt, atol=20.0 * (tilt**2).max() / alpha)
            bounded = alpha * (solved(behavior, reward, "cql_huber", alpha=alpha) / behavior - 1.0)
            expected = _huber_centered(reward - np.log(behavior), behavior)
            np.testing.assert_allclose(bounded, np.clip(expected, -1, 1), atol=50.0 * (1 + (tilt**2).max()) / alpha)
        if np.ptp(behavior) > 0.2:  # equal rewards: rare actions are lifted
            policy = solved(behavior, np.zeros(len(reward)), "cql", alpha=10.0)
            assert policy[behavior.argmin()] > behavior.min()


def test_cql_is_the_reference_weighted_one_around_uniform() -> None:
    for behavior, reward in BANDITS:
        uniform = np.full(len(reward), 1 / len(reward))
        one = ps.induced_target(behavior, reward, "cql", alpha=0.7)
        two = ps.induced_target(behavior, reward, "cql_reference", reference=uniform, alpha=0.7, beta=1.0)
        assert_log_policies_agree(one.log_policy, two.log_policy)
        assert not np.allclose(one.policy, solved(behavior, reward, "cql_reference", alpha=0.7, beta=1.0), atol=1e-3)


def test_limits_of_reference_weighted_cql() -> None:
    for seed, (behavior, reward) in enumerate(BANDITS):
        reference = make_problem(300 + seed, len(reward))[0]
        for nu in (None, reference):
            bold = ps.induced_target(behavior, reward, "cql_reference", reference=nu, alpha=1e-9, beta=0.3)
            np.testing.assert_allclose(bold.policy, bold.nominal, atol=1e-6)
            timid = ps.induced_target(behavior, reward, "cql_reference", reference=nu, alpha=1e9, beta=0.3)
            np.testing.assert_allclose(timid.policy, behavior, atol=1e-7)
        mixed = ps.induced_target(behavior, reward, "mixed_chi2_kl", beta=0.3, gamma=2.0)
        same = ps.induced_target(behavior, reward, "cql_reference", alpha=0.6, beta=0.3)
        assert_log_policies_agree(same.log_policy, mixed.log_policy)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.25, 3.0, 50.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e4])
def test_huber_cql_respects_its_caps_exactly(alpha: float, scale: float) -> None:
    lower, upper = np.log1p(-1.0 / alpha) if alpha > 1 else -np.inf, np.log1p(1.0 / alpha)
    for behavior, reward in BANDITS:
        target = ps.induced_target(behavior, scale * reward, "cql_huber", alpha=alpha)
        u = target.log_ratio
        assert u.max() <= upper
        assert u.min() >= lower
        # Its equation, with Huber's location from a root finder of its own.
        shortfall = scale * reward - target.log_policy
        c = optimize.brentq(lambda c, x=shortfall, q=behavior: q @ np.clip(x - c, -1, 1), -1e6, 1e6, xtol=1e-13)  # type: ignore[misc]
        np.testing.assert_allclose(np.clip(shortfall - c, -1, 1), alpha * np.expm1(u), atol=1e-8 * (1 + alpha))
        if scale >= 30.0 and alpha > 1:
            assert np.sum((u > lower) & (u < upper)) <= 2
        if scale == 0.1 and alpha == 0.5 and np.abs(shortfall - c).max() < 1.0:
            assert_log_policies_agree(target.log_policy, np.log(solved(behavior, scale * reward, "cql", alpha=alpha)))


def test_huber_cql_with_every_action_on_a_cap() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 10.0], "cql_huber", alpha=4.0)
    np.testing.assert_allclose(target.policy, [0.375, 0.625], rtol=1e-15)
    assert float(target.certificate()["worst"].iloc[0]) < 1e-14
    square = ps.induced_target([0.5, 0.5], [0.0, 10.0], "cql", alpha=4.0)
    assert float(square.policy[1]) > 0.85


@pytest.mark.parametrize("seed", range(6))
def test_location_of_huber(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, p = 3.0 * rng.normal(size=(50, 6)), rng.dirichlet(np.ones(6), size=50)
    x[::3, 1] = x[::3, 0]  # ties
    p[::4, 2] = 0.0
    p /= p.sum(axis=-1, keepdims=True)
    errors = _huber_centered(x, p)
    np.testing.assert_allclose(np.sum(p * np.clip(errors, -1, 1), axis=-1), 0.0, atol=1e-14)
    np.testing.assert_allclose(np.ptp(x - errors, axis=-1), 0.0, atol=1e-14)
    found = torch.tensor(x[:5], requires_grad=True)
    torch.autograd.gradcheck(lambda y: _huber_centered(y, torch.tensor(p[:5])), (found,))


def test_location_of_huber_where_every_number_is_one() -> None:
    for x in ([0.0, 10.0], [0.0, 0.0, 10.0, 10.0], [-1.0, 1.0]):
        errors = _huber_centered(np.array(x), None)
        np.testing.assert_allclose(np.clip(errors, -1, 1), np.sign(np.array(x) - np.mean(x)), atol=1e-15)
