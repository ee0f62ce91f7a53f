"""Divergence-augmented policy optimization: the divergence that is really paid, formulas, 50 digits, normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import optimize, special

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.helpers import Array, assert_log_policies_agree
from tests.systems import BANDITS, DIVERGENCES, descend, solved


def potential(divergence: str, w: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """What has the derivative D in the ratio w: its mean under mu is the divergence that is really paid."""
    if divergence == "kl":
        return w * torch.log(w) - w + 1.0
    if divergence == "entropy":
        return w * torch.log(w * mu) - w
    if divergence == "rkl":
        return w - 1.0 - torch.log(w)
    return (torch.sqrt(w) - 1.0) ** 2 / (torch.sqrt(mu) if divergence == "inf" else 1.0)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_divergence_augmented_pays_its_potential(divergence: str, beta: float) -> None:
    for behavior, reward in BANDITS:
        mu, r = torch.tensor(behavior), torch.tensor(reward)

        def loss(logits: torch.Tensor, mu: torch.Tensor = mu, r: torch.Tensor = r) -> torch.Tensor:
            pi = torch.softmax(logits, -1)
            return beta * (mu * potential(divergence, pi / mu, mu)).sum() - (pi * r).sum()

        found = special.softmax(descend(loss, np.log(behavior)))
        hyper = {"beta": beta, "divergence": divergence, "normalize": False}
        np.testing.assert_allclose(found, solved(behavior, reward, "divergence_augmented", **hyper), atol=1e-6)


FORMULAS: dict[str, tuple[Callable[[Array, Array, float], Array], Callable[[Array, Array], float]]] = {
    # Policy of (mu, r, nu) at beta = 1, and the lowest nu for which it is one.
    "rkl": (lambda mu, r, nu: mu / (nu - r), lambda mu, r: float(r.max())),
    "inf": (lambda mu, r, nu: (mu**-0.5 - r + nu) ** -2, lambda mu, r: float((r - mu**-0.5).max())),
    "hellinger": (lambda mu, r, nu: mu / (1.0 - r + nu) ** 2, lambda mu, r: float(r.max() - 1.0)),
}


@pytest.mark.parametrize("divergence", FORMULAS)
def test_divergence_augmented_in_closed_form(divergence: str) -> None:
    policy, lowest = FORMULAS[divergence]
    for beta in (0.05, 0.5, 5.0):
        for behavior, reward in BANDITS:
            z = reward / beta
            edge = lowest(behavior, z)
            gap = optimize.brentq(lambda g: policy(behavior, z, edge + g).sum() - 1.0, 1e-9, 1e3, xtol=1e-15)  # noqa: B023
            hyper = {"beta": beta, "divergence": divergence, "normalize": False}
            found = solved(behavior, reward, "divergence_augmented", **hyper)
            np.testing.assert_allclose(found, policy(behavior, z, edge + gap), rtol=1e-9)


def test_divergence_kl_is_nominal_at_beta_times_the_spread() -> None:
    for behavior, reward in BANDITS:
        spread = np.sqrt(behavior @ (reward - behavior @ reward) ** 2)
        plain = solved(behavior, reward, "divergence_augmented", beta=0.7, normalize=False)
        np.testing.assert_allclose(plain, ps.nominal_target(behavior, reward, 0.7), rtol=1e-12)
        normalized = solved(behavior, reward, "divergence_augmented", beta=0.7)
        np.testing.assert_allclose(normalized, ps.nominal_target(behavior, reward, 0.7 * spread), rtol=1e-12)
        # Refreshed data compound the tilt.
        policy = behavior
        for _ in range(3):
            policy = solved(policy, reward, "divergence_augmented", beta=0.7, normalize=False)
        np.testing.assert_allclose(policy, ps.nominal_target(behavior, reward, 0.7 / 3), rtol=1e-11)


@pytest.mark.parametrize("beta", [0.01, 0.5, 1e6])
def test_the_entropy_forgets_the_behavior(beta: float) -> None:
    hyper = {"beta": beta, "divergence": "entropy", "normalize": False}
    for behavior, reward in BANDITS:
        softmax = special.log_softmax(reward / beta)
        target = ps.induced_target(behavior, reward, "divergence_augmented", **hyper)
        assert_log_policies_agree(target.log_policy, softmax)
        assert np.isnan(target.kappa)  # nominal from another policy than the behavior
        np.testing.assert_allclose(target.multiplier, special.logsumexp(target.advantage / beta) * beta, rtol=1e-12)
        again = ps.induced_target(np.exp(softmax), reward, "divergence_augmented", **hyper)
        assert_log_policies_agree(again.log_policy, softmax)
    rare = np.array([0.5, 1e-300, 0.5, 0.0])
    found = ps.induced_target(rare, [0.0, 1.0, 0.5, 9.0], "divergence_augmented", **hyper)
    seen = special.log_softmax(np.array([0.0, 1.0, 0.5]) / beta)
    assert_log_policies_agree(found.log_policy[:3], seen)
    assert (found.policy[3], found.status) == (0.0, "converged")
    uniform = ps.induced_target(np.full(3, 1 / 3), [0.0, 1.0, 0.5], "divergence_augmented", **hyper)
    assert (float(uniform.kappa), uniform.regime) == (pytest.approx(0.0, abs=1e-12), "boundary")


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_normalized_advantages(divergence: str) -> None:
    objective = make_objective("divergence_augmented", beta=0.6, divergence=divergence)
    behavior, reward = BANDITS[2]
    for weights in (behavior, None):
        advantage = objective.advantage(reward, weights)
        shares = np.full(len(reward), 1 / len(reward)) if weights is None else weights
        np.testing.assert_allclose([shares @ advantage, shares @ advantage**2], [0.0, 1.0], atol=1e-13)
    scaled = ps.induced_target(behavior, 1e3 * reward - 7.0, objective)
    assert_log_policies_agree(scaled.log_policy, ps.induced_target(behavior, reward, objective).log_policy)
    equal = ps.induced_target(behavior, np.full(5, 0.1), objective)
    np.testing.assert_array_equal(equal.advantage, 0.0)
    unmoved = np.full(5, 0.2) if divergence == "entropy" else behavior
    np.testing.assert_allclose(equal.policy, unmoved, rtol=1e-12)
    tensors = torch.tensor(reward, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda r: ps.induced_target(torch.tensor(behavior), r, objective).policy, (tensors,), eps=1e-6, atol=1e-5
    )


def test_divergences_near_the_behavior() -> None:
    """u is A/(beta D'(1)): the same temperature means half of it for Hellinger, and sqrt(mu) of that for INF."""
    for behavior, reward in BANDITS:
        for divergence, stiffness in {
            "kl": np.ones_like(behavior),
            "rkl": np.ones_like(behavior),
            "hellinger": np.full_like(behavior, 0.5),
            "inf": 0.5 / np.sqrt(behavior),
        }.items():
            level = np.sum(behavior / stiffness * reward) / np.sum(behavior / stiffness)
            hyper = {"beta": 1e5, "divergence": divergence, "normalize": False}
            u = 1e5 * ps.induced_target(behavior, reward, "divergence_augmented", **hyper).log_ratio
            np.testing.assert_allclose(u, (reward - level) / stiffness, atol=1e-3, err_msg=divergence)


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if d != "entropy"])
def test_small_log_ratios_keep_their_digits(divergence: str) -> None:
    for behavior, reward in BANDITS:
        hyper = {"beta": 1e6, "divergence": divergence, "normalize": False}
        target = ps.induced_target(behavior, 1e-6 * reward, "divergence_augmented", **hyper)
        assert 1e-13 < np.abs(target.log_ratio).max() < 1e-10
        assert float(target.certificate()["worst"].iloc[0]) < 1e-10  # relative to the pulls, of the rewards' size


@pytest.mark.parametrize("divergence", ["rkl", "inf", "hellinger"])
def test_bounded_divergences_lose_no_action(divergence: str) -> None:
    behavior, reward = np.array([0.3, 1e-12, 0.3, 0.4 - 1e-12]), np.array([0.0, 1.0, 1.0 - 1e-9, 0.5])
    for beta in (1e-6, 1e-3, 1.0, 1e6):
        hyper = {"beta": beta, "divergence": divergence, "normalize": False}
        target = ps.induced_target(behavior, reward, "divergence_augmented", **hyper)
        assert target.status == "converged"
        assert np.isfinite(target.log_ratio).all()
        # What float64 advantages allow, as for every closed form.
        tolerance = 1e-12 + 8.0 * float(np.finfo(float).eps) / beta
        expected = fifty_digits(behavior, reward, divergence, beta)
        assert_log_policies_agree(target.log_policy, expected, tolerance=tolerance)


def fifty_digits(behavior: Array, reward: Array, divergence: str, beta: float) -> Array:
    """Log-policy by bisection in 50 digits."""
    with mpmath.workdps(50):
        mu = [mpmath.mpf(float(q)) for q in behavior]
        total = mpmath.fsum(mu)
        z = [mpmath.mpf(float(r)) / mpmath.mpf(beta) for r in reward]
        unit = [1 / mpmath.sqrt(q) if divergence == "inf" else mpmath.mpf(1) for q in mu]
        edge = max(a - b for a, b in zip(z, unit, strict=True))
        power = 1 if divergence == "rkl" else 2

        def policy(log_t: Any) -> list[Any]:
            level = edge + mpmath.exp(log_t)
            return [q / total * (b / (level - (a - b))) ** power for q, a, b in zip(mu, z, unit, strict=True)]

        low, high = mpmath.mpf(-100), mpmath.mpf(100)
        for _ in range(170):
            middle = (low + high) / 2
            low, high = (middle, high) if mpmath.fsum(policy(middle)) > 1 else (low, middle)
        return np.array([float(mpmath.log(p)) for p in policy(low)])


def test_divergence_augmented_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r'^divergence_augmented: divergence must be "kl", .*, got \'tv\'$'):
        make_objective("divergence_augmented", divergence="tv")
    with pytest.raises(ValueError, match=r"^divergence_augmented: normalize must be True or False, got 1$"):
        make_objective("divergence_augmented", normalize=1)
