"""Expert data mixed in: concave surrogates as cone programs, gradient flow, limits."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from tests.flows import descend, maximize
from tests.helpers import make_problem

BANDITS = [
    (np.array([0.3, 0.7]), np.array([1.0, 0.0])),
    (np.array([0.2, 0.3, 0.5]), np.array([0.5, 1.0, 0.0])),
    (np.array([0.3, 0.25, 0.25, 0.2]), np.array([0.1, 0.7, -0.4, 0.3])),
]


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
