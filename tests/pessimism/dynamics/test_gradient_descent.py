"""Gradient descent on softmax logits: Euler's method, unbiased samples, equilibrium, divergence, collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.dynamics.gradient_descent import sgd
from pessimism.dynamics.gradient_flow import gradient_flow
from tests.helpers import make_problem, softmax, total_variation
from tests.pessimism.dynamics.fields import PROBLEM, UNEVEN, torch_field


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.5), ps.AStarPO(beta1=0.7, beta2=0.5), ps.TBA(beta=0.5)], ids=str)
def test_exact_descent_is_eulers_method(objective: Any) -> None:
    behavior, reward = make_problem(3, 4)
    run = sgd(behavior, reward, objective, steps=30, lr=0.2, record_every=10)
    logits = np.log(behavior)
    np.testing.assert_array_equal(run.times, [0, 10, 20, 30])
    for row in range(1, 4):
        for _ in range(10):
            logits = logits + 0.2 * torch_field(objective, behavior, reward, logits)
        np.testing.assert_allclose(run.policies[row], softmax(logits), rtol=1e-10)
    assert run.status == "not_converged"
    assert run.message == "30 steps end before an equilibrium of the exact flow"


@pytest.mark.parametrize(
    ("objective", "group_size"),
    [(ps.Kimi(beta=0.5), None), (ps.AStarPO(beta1=0.7, beta2=0.5), None), (ps.AWR(beta=0.5), None)],
    ids=str,
)
def test_a_sampled_step_is_unbiased(objective: Any, group_size: int | None) -> None:
    behavior, reward = make_problem(3, 4)
    start = make_problem(5, 4)[0]
    options: dict[str, Any] = {"start": start, "steps": 1, "lr": 1e-3}
    exact = sgd(behavior, reward, objective, **options)
    one = sgd(behavior, reward, objective, batch_size=200_000, seed=1, group_size=group_size, **options)
    moves = [(run.log_policies[1] - run.log_policies[0]) / 1e-3 for run in (exact, one)]
    np.testing.assert_allclose(moves[1], moves[0], atol=0.03 * np.abs(moves[0]).max())
    assert np.abs(moves[1] - moves[0]).max() > 0


def test_the_baseline_of_a_sampled_group_shrinks_the_advantage() -> None:
    # A member's expected advantage is (1 - 1/G) (r - E r): the squared loss at the temperature beta / (1 - 1/G).
    run = sgd(*PROBLEM, "kimi", beta=0.3, steps=3000, lr=0.2, batch_size=64, group_size=4, record_every=5)
    mean = run.policies[200:].mean(axis=0)
    assert total_variation(mean, ps.induced_target(*PROBLEM, "kimi", beta=0.4).policy) < 0.005
    assert total_variation(mean, ps.induced_target(*PROBLEM, "kimi", beta=0.3).policy) > 0.02
    assert run.status == "not_converged"


def test_descent_comes_to_rest() -> None:
    for name in ("nominal", "kimi", "tba"):
        run = sgd(*PROBLEM, name, beta=0.3, steps=3000, lr=0.3)
        assert run.status == "converged"
        assert run.message == ""
        np.testing.assert_allclose(run.policy, ps.induced_target(*PROBLEM, name, beta=0.3).policy, atol=1e-4)
    # Sampling noise dies out with the residual of a loss that is zero at its target.
    assert sgd(*PROBLEM, "tba", beta=0.3, steps=1000, lr=0.2, batch_size=32, group_size=4).status == "converged"
    shrinking = sgd(*UNEVEN, "asym_re", shift=-0.1, steps=2000, lr=2.0)
    assert shrinking.status == "vanishing_support"
    assert total_variation(shrinking.policy, ps.induced_target(*UNEVEN, "asym_re", shift=-0.1).policy) < 1e-3


def test_divergence_and_collapse_are_reported() -> None:
    wild = sgd(*PROBLEM, "kimi", beta=1.0, steps=500, lr=50.0)
    assert wild.status == "diverged"
    assert wild.message.startswith("the logits explode at step ")
    assert np.isfinite(wild.log_policies).all()
    assert wild.times[-1] < 500
    collapsed = sgd(*UNEVEN, "asym_re", shift=-1e-3, steps=3000, lr=2.0)
    assert collapsed.status == "collapsed"
    at = int(collapsed.message.rsplit(" ", 1)[1])
    assert 10 < at < 3000
    again = sgd(*UNEVEN, "asym_re", shift=-1e-3, steps=at, lr=2.0, record_every=1)
    assert again.policies[-1].max() > 1 - 1e-6 >= again.policies[-2].max()
    # One likely action under too large a step is no equilibrium of the exact flow.
    stuck = sgd([0.5, 0.5], [0.0, 1.0], "awr", beta=1.0, steps=1, lr=200.0, batch_size=1)
    assert stuck.status == "collapsed"
    assert "no equilibrium of the exact flow" in stuck.message
    assert sgd(*UNEVEN, "asym_re", shift=0.2, steps=3000, lr=2.0).status == "diverged"


def test_a_seed_fixes_every_byte() -> None:
    options: dict[str, Any] = {"beta": 0.3, "steps": 50, "lr": 0.1, "batch_size": 8, "group_size": 4}
    runs = [sgd(*PROBLEM, "kimi", seed=seed, **options).log_policies.tobytes() for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]
    flows = [gradient_flow(*PROBLEM, "kimi", beta=0.3).log_policies.tobytes() for _ in range(2)]
    assert flows[0] == flows[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"steps": 10**9}, "steps must be at most 10,000,000, got 1,000,000,000"),
        ({"batch_size": 10**9}, "batch_size must be at most 16,777,216, got 1,000,000,000"),
        ({"record_every": 0}, "record_every must be an integer >= 1, got 0"),
        ({"lr": -0.1}, "lr must be a finite number > 0, got -0.1"),
        ({"batch_size": 2.5}, "batch_size must be an integer >= 1, got 2.5"),
        ({"batch_size": 8, "group_size": 3}, "group_size must divide batch_size 8, got 3"),
        ({"group_size": 3}, "group_size must divide batch_size None, got 3"),
    ],
)
def test_bad_options_of_descent_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        sgd(*PROBLEM, "kimi", **{"steps": 5, "lr": 0.1, **options})


def test_what_is_recorded_is_bounded() -> None:
    message = "steps // record_every times the number of actions must be at most 134,217,728, got 200,000,000"
    with pytest.raises(ValueError, match=f"^{message}$"):
        sgd([0.05] * 20, [0.0] * 20, "kimi", steps=10**7, lr=0.1, record_every=1)
