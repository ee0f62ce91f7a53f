"""The enumerated minima against `stationary_points` on all completions at once, and against descent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import pessimism as ps
from llm.validation.minima import minima, nearest
from pessimism.arrays import Floats


def problem(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(9, 0.5)), rng.choice([0.0, 0.5, 1.0], size=9)


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
@pytest.mark.parametrize("loss", [ps.OAPL(beta1=0.1, beta2=0.4), ps.ConstantBaseline(beta=0.5, value=2.0)], ids=str)
def test_rewards_in_place_of_completions_lose_no_minimum(seed: int, loss: ps.Objective) -> None:
    q, reward = problem(seed)
    found, points = minima(q, reward, loss), ps.stationary_points(q, reward, loss)
    assert [one.action for one in found] == [point.branch for point in points]
    for one, point in zip(found, points, strict=True):
        np.testing.assert_allclose(one.policy(q, reward), q * np.exp(point.log_ratio), rtol=1e-7, atol=1e-12)
        assert one.kappa == pytest.approx(point.kappa, rel=1e-8)
        assert one.loss == pytest.approx(point.loss, rel=1e-8)
    assert len(found) > 1


def test_descent_stays_where_a_minimum_is() -> None:
    """On softmax logits, by another optimizer, from beside each of them."""
    q, reward = problem(1)
    loss = ps.OAPL(beta1=0.1, beta2=0.4)
    advantage, found = loss.advantage(reward, q), minima(q, reward, loss)

    def value(logits: Floats) -> float:
        log_p = logits - np.logaddexp.reduce(logits)
        return float(q @ (advantage - loss.temperature * (log_p - np.log(q))) ** 2)

    rng = np.random.default_rng(0)
    for place, one in enumerate(found):
        begun = np.log(one.policy(q, reward)) + 1e-3 * rng.normal(size=len(q))
        end = minimize(value, begun, method="BFGS", options={"gtol": 1e-9})
        assert end.fun == pytest.approx(one.loss, rel=1e-6)
        policy = np.exp(end.x - np.logaddexp.reduce(end.x))
        at, apart = nearest(found, q, reward, policy)
        assert at == place
        assert apart < 1e-4
