"""The twelve placements of a KL estimator, each against gradient flow on its loss; mixed data against cone programs."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from tests.flows import descend, maximize
from tests.helpers import Array, make_problem

BANDITS = [
    (np.array([0.3, 0.7]), np.array([1.0, 0.0])),
    (np.array([0.2, 0.3, 0.5]), np.array([0.5, 1.0, 0.0])),
    (np.array([0.3, 0.25, 0.25, 0.2]), np.array([0.1, 0.7, -0.4, 0.3])),
]
COMBINATIONS = [
    (estimator, placement, sampling)
    for estimator in ("k1", "k2", "k3")
    for placement in ("reward", "loss")
    for sampling in ("on_policy", "off_policy")
]


def solved(combination: tuple[str, str, str], q: Array, reward: Array, **options: Any) -> Any:
    estimator, placement, sampling = combination
    hyper = {"estimator": estimator, "placement": placement, "sampling": sampling, **options}
    return ps.induced_target(q, reward, "kl_regularized", **hyper)


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
@pytest.mark.parametrize("problem", range(3))
def test_every_combination_is_where_its_flow_ends(combination: tuple[str, str, str], problem: int) -> None:
    q, reward = BANDITS[problem]
    target = solved(combination, q, reward, beta=0.6)
    followed = descend(target.objective, q, reward, time=1e5)
    if str(target.status) == "no_target":  # the loss pulls for ever: one action is left, whichever
        assert combination in UNBOUNDED
        assert followed.max() > 1 - 1e-4
        return
    np.testing.assert_allclose(followed, target.policy, atol=1e-4)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10


UNBOUNDED = [
    ("k1", "loss", "off_policy"),
    ("k3", "reward", "on_policy"),
    ("k3", "reward", "off_policy"),
]


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_which_combinations_are_nominal(combination: tuple[str, str, str]) -> None:
    q, reward = BANDITS[2]
    target = solved(combination, q, reward, beta=0.6)
    nominal = combination[:2] == ("k1", "reward") or combination == ("k2", "loss", "on_policy")
    near = np.allclose(target.policy, ps.nominal_target(q, reward, 0.6), atol=1e-6)
    assert near == nominal


@pytest.mark.parametrize("sampling", ["on_policy", "off_policy"])
def test_around_another_reference(sampling: str) -> None:
    q, reward = BANDITS[2]
    nu = np.array([0.1, 0.4, 0.2, 0.3])
    for combination in (("k1", "reward", sampling), ("k3", "loss", sampling), ("k2", "loss", sampling)):
        target = solved(combination, q, reward, beta=0.9, reference=nu)
        followed = descend(target.objective, q, reward, reference=nu, time=1e6)
        np.testing.assert_allclose(followed, target.policy, atol=1e-6)


def test_k3_in_the_loss_penalizes_the_forward_divergence() -> None:
    for seed in range(4):
        q, reward = make_problem(60 + seed, 6)
        target = solved(("k3", "loss", "on_policy"), q, reward, beta=0.4)
        pi = cp.Variable(6)
        maximize(pi @ reward + 0.4 * cp.sum(cp.multiply(q, cp.log(pi))), [cp.sum(pi) == 1])
        np.testing.assert_allclose(pi.value, target.policy, atol=1e-6)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_old_data_and_a_penalty_in_the_loss(estimator: str) -> None:
    """On the stable branch every ratio stays below e and 2; a weak penalty leaves it."""
    q, reward = BANDITS[1]
    target = solved((estimator, "loss", "off_policy"), q, reward, beta=1.0)
    assert target.log_ratio.max() < (1.0 if estimator == "k2" else np.log(2.0))
    nominal = ps.nominal_target(q, reward, 1.0)
    assert estimator == "k2" or target.policy @ reward < nominal @ reward
    weak = solved((estimator, "loss", "off_policy"), q, reward, beta=0.1)
    assert weak.log_ratio.max() > (1.0 if estimator == "k2" else np.log(2.0))
    assert str(weak.status) == "converged"


def test_collapse_under_a_penalty_in_the_reward() -> None:
    """Actions that fall below their reference are penalized for it, and fall on."""
    target = solved(("k2", "reward", "on_policy"), *BANDITS[2], beta=0.6)
    assert str(target.status) == "vanishing_support"
    assert np.any(target.policy == 0)


@pytest.mark.parametrize("share", [0.125, 0.6, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_luffy_maximizes_a_concave_surrogate(share: float, seed: int) -> None:
    q, reward = make_problem(70 + seed, 5)
    target = ps.induced_target(q, reward, "luffy", expert_share=share, gamma=0.2)
    A = target.advantage
    up = A > 0
    pi = cp.Variable(int(up.sum()), nonneg=True)
    shaped = 1 - 0.2 * cp.inv_pos(pi + 0.2)
    value = A[up] @ ((1 - share) * pi) + cp.sum(cp.multiply(share * (q * A)[up], shaped))
    maximize(value, [cp.sum(pi) == 1])
    np.testing.assert_allclose(target.policy[up], pi.value, atol=1e-5)
    assert np.all(target.policy[~up] == 0)


@pytest.mark.parametrize("phi", [True, False])
@pytest.mark.parametrize("mu", [0.1, 0.7, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_chord_maximizes_a_concave_surrogate(phi: bool, mu: float, seed: int) -> None:
    q, reward = make_problem(80 + seed, 5)
    target = ps.induced_target(q, reward, "chord", mu=mu, phi=phi)
    pi = cp.Variable(5, nonneg=True)
    imitated = pi - cp.square(pi) / 2 if phi else cp.log(pi)
    value = (1 - mu) * (pi @ target.advantage) + mu * (q @ imitated)
    maximize(value, [cp.sum(pi) == 1])
    np.testing.assert_allclose(target.policy, pi.value, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [("luffy", {"expert_share": 0.7}), ("chord", {"mu": 0.9}), ("chord", {"mu": 0.4, "phi": False})],
)
def test_mixed_data_end_where_gradient_flow_does(name: str, hyper: dict[str, Any]) -> None:
    q, reward = BANDITS[2]
    target = ps.induced_target(q, reward, name, **hyper)
    np.testing.assert_allclose(descend(target.objective, q, reward), target.policy, atol=1e-4)


def test_limits_of_mixed_data() -> None:
    q, reward = make_problem(90, 6)
    best = np.argmax(reward)
    assert ps.induced_target(q, reward, "luffy", expert_share=1e-9).policy[best] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(ps.induced_target(q, reward, "chord", mu=1 - 1e-9, phi=False).policy, q, atol=1e-8)
    assert ps.induced_target(q, reward, "chord", mu=1e-6).policy[best] == 1.0
    positive = np.maximum(reward - q @ reward, 0.0)
    wide = ps.induced_target(
        q, reward, "luffy", expert_share=1 - 1e-13, gamma=1e-6
    )  # log pi, nearly: pi ~ sqrt of its pull
    np.testing.assert_allclose(wide.policy, np.sqrt(q * positive) / np.sqrt(q * positive).sum(), atol=1e-5)
