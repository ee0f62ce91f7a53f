"""The twelve placements of a KL estimator, each against gradient flow on its loss."""

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
