"""PPO with a third policy against a concave program, the flow, and what its weights are."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from pessimism.fixed_point.flow import flow_target
from tests.flows import maximize

SETTINGS: list[dict[str, Any]] = [
    {"correction": "truncate", "cap": 1.1},
    {"correction": "truncate", "cap": float("inf")},
    {"correction": "mask", "low": 0.7, "cap": 1.3},
    {"correction": "none"},
    {"correction": "truncate", "cap": 1.2, "eps_high": 2.5},
    {"correction": "mask", "low": 0.5, "cap": 5.0, "eps_low": 1.5, "eps_high": 3.0},
]


def weight(hyper: dict[str, Any], rho: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if hyper["correction"] == "truncate":
        return np.minimum(rho, hyper["cap"])
    return rho * ((rho >= hyper["low"]) & (rho <= hyper["cap"])) if hyper["correction"] == "mask" else np.ones_like(rho)


@pytest.mark.parametrize("hyper", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_the_target_is_the_nearest_optimum_around_the_trainers_policy(hyper: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, nu, reward = rng.dirichlet(np.full(5, 3.0)), rng.dirichlet(np.full(5, 3.0)), rng.integers(0, 4, 5) / 3
    target = ps.induced_target(q, reward, "ppo_corrected", reference=nu, **hyper)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    A, c = target.advantage, weight(hyper, nu / q)
    high, low = 1.0 + hyper.get("eps_high", 0.2), max(1.0 - hyper.get("eps_low", 0.2), 0.0)

    def surrogate(w: Any) -> Any:
        gain, loss = q * c * np.maximum(A, 0.0), q * c * np.maximum(-A, 0.0)
        return gain @ cp.minimum(w, high) - loss @ cp.maximum(w, low)

    w = cp.Variable(5)
    simplex = [w >= 0, nu @ w == 1]
    best = maximize(surrogate(w), simplex)
    assert float(surrogate(target.policy / nu).value) == pytest.approx(best, abs=1e-7)
    nearest = cp.sum(cp.multiply(nu, cp.kl_div(w, 1.0)))
    maximize(-nearest, [*simplex, surrogate(w) >= best - 1e-9])
    np.testing.assert_allclose(nu * w.value, target.policy, atol=5e-4)


def test_a_tight_clip_is_where_the_flow_ends() -> None:
    q, nu, reward = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.3, 0.2, 0.2, 0.3]), np.array([0.0, 1.0, 0.4, 0.8])
    hyper = {"correction": "truncate", "cap": 1.5, "eps_high": 1.0}
    target = ps.induced_target(q, reward, "ppo_corrected", reference=nu, **hyper)
    flow = flow_target(target.bandit, target.objective, target.advantage_rows)
    np.testing.assert_allclose(nu * np.exp(flow.log_ratio[0]), target.policy, atol=1e-8)


def test_without_a_third_policy_it_is_dapo() -> None:
    q, reward = np.array([0.4, 0.3, 0.3]), np.array([0.0, 0.5, 1.0])
    plain = ps.induced_target(q, reward, "dapo", eps_high=0.2)
    for reference in (None, q):
        found = ps.induced_target(q, reward, "ppo_corrected", reference=reference)
        np.testing.assert_allclose(found.policy, plain.policy, rtol=1e-14)


def test_a_reference_with_mass_elsewhere_keeps_its_clip() -> None:
    """The ratio is to the reference itself, not to its share among the actions that the behavior takes."""
    target = ps.induced_target([0.6, 0.4, 0.0], [0.0, 1.0, 0.0], "ppo_corrected", reference=[0.5, 0.3, 0.2])
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-14
    assert target.policy[1] / 0.3 >= 1.2
    assert target.policy[2] == 0.0
    assert float(target.residual) <= 1e-15
