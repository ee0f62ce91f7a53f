"""Expert data mixed in: concave surrogates as cone programs, gradient flow, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
import pytest
import torch

import pessimism as ps
from tests.flows import descend, maximize
from tests.helpers import Array, make_problem

cp: Any = cvxpy  # its functions have no types

BANDITS = [
    (np.array([0.3, 0.7]), np.array([1.0, 0.0])),
    (np.array([0.2, 0.3, 0.5]), np.array([0.5, 1.0, 0.0])),
    (np.array([0.3, 0.25, 0.25, 0.2]), np.array([0.1, 0.7, -0.4, 0.3])),
]


class Published:
    """A loss of mixed data as its code has it: own samples drawn from the policy, means over each kind of sample."""

    on_policy, takes_share = False, False

    def __init__(self, per_policy: Callable[..., torch.Tensor]) -> None:
        self.per_policy = per_policy

    def kinks_at(self, q: Array) -> tuple[float, ...]:
        """Its gradient has no jumps."""
        return ()

    def advantage(self, reward: Array, weights: Array) -> Array:
        """The rewards: the loss makes its own advantages."""
        return reward

    def loss(self, u: torch.Tensor, reward: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Loss of each action, over q, by which the flow multiplies."""
        return self.per_policy(torch.exp(u) * q, reward, q) / q


def luffy(share: float, gamma: float) -> Published:
    """Mean and standard deviation of one group of own and expert samples (arXiv 2504.14945, eqs. 3-6)."""

    def loss(p: torch.Tensor, r: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        old = p.detach()
        group = (1 - share) * old + share * q
        mean = (group * r).sum()
        A = (r - mean) / ((group * (r - mean) ** 2).sum().sqrt() + 1e-6)
        return -(1 - share) * old * (p / old) * A - share * q * A * p / (p + gamma)

    return Published(loss)


def chord(mu: float, phi: bool) -> Published:
    """GRPO on own samples beside the likelihood of the expert's tokens (Trinity-RFT, ``mix_chord``)."""

    def loss(p: torch.Tensor, r: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        old = p.detach()
        mean = (old * r).sum()
        A = (r - mean) / ((old * (r - mean) ** 2).sum().sqrt() + 1e-6)
        weight = old * (1 - old) if phi else torch.ones_like(old)
        return -(1 - mu) * old * (p / old) * A - mu * q * weight * torch.log(p)

    return Published(loss)


@pytest.mark.parametrize("bandit", BANDITS)
@pytest.mark.parametrize(("share", "gamma"), [(0.125, 0.1), (0.7, 0.2), (0.95, 1.0)])
def test_luffy_ends_where_its_published_loss_descends(bandit: tuple[Array, Array], share: float, gamma: float) -> None:
    target = ps.induced_target(*bandit, "luffy", expert_share=share, gamma=gamma)
    np.testing.assert_allclose(descend(luffy(share, gamma), *bandit), target.policy, atol=1e-4)


@pytest.mark.parametrize("bandit", BANDITS)
@pytest.mark.parametrize(("mu", "phi"), [(0.5, False), (0.9, False), (0.1, True), (0.8, True), (0.95, True)])
def test_chord_ends_where_its_published_loss_descends(bandit: tuple[Array, Array], mu: float, phi: bool) -> None:
    target = ps.induced_target(*bandit, "chord", mu=mu, phi=phi)
    np.testing.assert_allclose(descend(chord(mu, phi), *bandit, time=1e9), target.policy, atol=1e-4)


@pytest.mark.parametrize("share", [0.125, 0.6, 0.95])
@pytest.mark.parametrize("seed", range(2))
def test_luffy_maximizes_a_concave_surrogate(share: float, seed: int) -> None:
    q, reward = make_problem(70 + seed, 5)
    target = ps.induced_target(q, reward, "luffy", expert_share=share, gamma=0.2)
    A = reward - ((1 - share) * target.policy + share * q) @ reward
    up = A > 0
    pi = cp.Variable(int(up.sum()), nonneg=True)
    shaped = 1 - 0.2 * cp.inv_pos(pi + 0.2)
    value = A[up] @ ((1 - share) * pi) + cp.sum(cp.multiply(share * (q * A)[up], shaped))
    maximize(value, [cp.sum(pi) == 1])
    np.testing.assert_allclose(target.policy[up], pi.value, atol=1e-5)
    assert np.all(target.policy[~up] == 0)


@pytest.mark.parametrize(("mu", "phi"), [(0.1, False), (0.7, False), (0.1, True), (0.95, False), (0.95, True)])
@pytest.mark.parametrize("seed", range(2))
def test_chord_maximizes_a_concave_surrogate(mu: float, phi: bool, seed: int) -> None:
    q, reward = make_problem(80 + seed, 5)
    target = ps.induced_target(q, reward, "chord", mu=mu, phi=phi, eps=1e-3)
    own = reward - target.policy @ reward
    A = own / (np.sqrt(target.policy @ own**2) + 1e-3)
    pi = cp.Variable(5, nonneg=True)
    imitated = pi - cp.square(pi) / 2 if phi else cp.log(pi)
    value = (1 - mu) * (pi @ A) + mu * (q @ imitated)
    maximize(value, [cp.sum(pi) == 1])
    np.testing.assert_allclose(target.policy, pi.value, atol=1e-5)


def test_luffy_shares_one_mean_between_the_kinds_of_samples() -> None:
    target = ps.induced_target([0.2, 0.3, 0.5], [0.0, 0.9, 1.0], "luffy", expert_share=0.5)
    np.testing.assert_allclose(target.policy, [0.0, 0.0, 1.0], atol=1e-15)


@pytest.mark.parametrize("rare", [1e-2, 1e-9, 1e-200])
@pytest.mark.parametrize("mu", [0.02, 0.5, 0.9])
def test_chord_of_two_actions_solves_a_quadratic(rare: float, mu: float) -> None:
    """(1 - mu) sqrt(p (1 - p)) = mu (p - rare), whose larger root does not depend on how faint the expert is."""
    target = ps.induced_target([1 - rare, rare], [0.0, 1.0], "chord", mu=mu, phi=False, eps=1e-15)
    c = (mu / (1 - mu)) ** 2
    half = 1 + 2 * c * rare
    root = (half + np.sqrt(half**2 - 4 * (1 + c) * c * rare**2)) / (2 * (1 + c))
    np.testing.assert_allclose(target.policy[1], root, rtol=1e-12)


def test_chord_is_greedy_up_to_two_thirds_and_the_flow_decides_beyond() -> None:
    q, reward = make_problem(85, 5)
    greedy = np.eye(5)[np.argmax(reward)]
    for mu in (0.1, 0.6):
        closed = ps.induced_target(q, reward, "chord", mu=mu, method="closed_form")
        np.testing.assert_allclose(closed.policy, greedy, rtol=1e-15)
        np.testing.assert_allclose(ps.induced_target(q, reward, "chord", mu=mu, method="fixed_point").policy, greedy)
    with pytest.raises(ValueError, match="no closed form"):
        ps.induced_target(q, reward, "chord", mu=0.95, method="closed_form")


def test_chord_balances_equal_rewards() -> None:
    policy = ps.induced_target([0.5, 0.3, 0.2], [1.0, 1.0, 1.0], "chord").policy
    np.testing.assert_allclose(np.diff(np.array([0.5, 0.3, 0.2]) * (1 - policy)), 0.0, atol=1e-15)
    # The fainter of two best actions has none where the other's pull at all the mass is stronger.
    pair = ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], "chord").policy
    np.testing.assert_allclose(pair, [0.0, 0.6, 0.4], atol=1e-15)


def test_limits_of_mixed_data() -> None:
    q, reward = make_problem(90, 6)
    best = np.argmax(reward)
    assert ps.induced_target(q, reward, "luffy", expert_share=1e-9).policy[best] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(ps.induced_target(q, reward, "chord", mu=1 - 1e-9, phi=False).policy, q, atol=1e-8)
    assert ps.induced_target(q, reward, "chord", mu=1e-6).policy[best] == 1.0
    positive = np.maximum(reward - q @ reward, 0.0)  # an expert alone in the group
    wide = ps.induced_target(
        q, reward, "luffy", expert_share=1 - 1e-13, gamma=1e-6
    )  # log pi, nearly: pi ~ sqrt of its pull
    np.testing.assert_allclose(wide.policy, np.sqrt(q * positive) / np.sqrt(q * positive).sum(), atol=1e-5)
