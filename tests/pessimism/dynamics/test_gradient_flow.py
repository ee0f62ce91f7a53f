"""Gradient flow and gradient descent on softmax logits, against steps written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.dynamics.gradient_descent import sgd
from pessimism.dynamics.gradient_flow import gradient_flow
from tests.helpers import Array, make_problem, softmax, total_variation

PROBLEM = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]
UNEVEN = [0.4, 0.3, 0.25, 0.05], [0.2, 0.4, 0.6, 0.8]  # without ties among behavior times advantage


def torch_field(objective: Any, behavior: Array, reward: Array, logits: Array) -> Array:
    """Minus the autograd gradient of the population loss, all of it independent of the field under test."""
    y = torch.tensor(logits, requires_grad=True)
    q, r = torch.tensor(behavior), torch.tensor(reward)
    u = torch.log_softmax(y, -1) - torch.log(q)
    weights = torch.softmax(y, -1).detach() if getattr(objective, "on_policy", False) else q
    (weights * objective.loss(u, objective.advantage(r, q), q)).sum().backward()
    assert y.grad is not None
    return -y.grad.numpy()


def runge_kutta(field: Any, logits: Array, time: float, steps: int) -> Array:
    h = time / steps
    for _ in range(steps):
        a = field(logits)
        b = field(logits + h / 2 * a)
        c = field(logits + h / 2 * b)
        logits = logits + h / 6 * (a + 2 * b + 2 * c + field(logits + h * c))
    return logits


@pytest.mark.parametrize(
    "objective",
    [ps.Kimi(beta=0.5), ps.Nominal(beta=0.5), ps.AStarPO(beta1=0.7, beta2=0.5), ps.TBA(beta=0.5), ps.AsymRE(shift=0.1)],
    ids=str,
)
def test_flow_is_that_of_the_loss(objective: Any) -> None:
    behavior, reward = make_problem(3, 4)
    start = make_problem(4, 4)[0]
    flow = gradient_flow(behavior, reward, objective, start=start, times=[0.0, 0.3, 2.0])
    logits = np.log(start)
    np.testing.assert_allclose(flow.policies[0], start, rtol=1e-12)
    for row, span in ((1, 0.3), (2, 1.7)):
        logits = runge_kutta(lambda y: torch_field(objective, behavior, reward, y), logits, span, 60)
        np.testing.assert_allclose(flow.policies[row], softmax(logits), rtol=1e-7)
        np.testing.assert_allclose(
            flow.field[row], np.linalg.norm(torch_field(objective, behavior, reward, logits)), rtol=1e-6
        )


def test_frame_has_a_row_per_time() -> None:
    flow = gradient_flow(*PROBLEM, "nominal", beta=0.25)
    frame = flow.frame()
    assert list(frame) == ["time", "value", "entropy", "kl", "max_ratio", "max_probability", "field"]
    behavior, reward = map(np.array, PROBLEM)
    assert frame["time"].iloc[0] == 0.0
    assert frame["time"].is_monotonic_increasing
    assert abs(frame["kl"].iloc[0]) < 1e-15
    np.testing.assert_allclose(frame["value"].iloc[0], behavior @ reward)
    last = flow.policies[-1]
    np.testing.assert_allclose(frame["entropy"].iloc[-1], -(last * np.log(last)).sum())
    np.testing.assert_allclose(frame["kl"].iloc[-1], (last * np.log(last / behavior)).sum())
    np.testing.assert_allclose(frame["max_ratio"].iloc[-1], (last / behavior).max())
    # The nominal objective is a gradient ascent of value - beta KL, which rises all the way.
    assert np.all(np.diff(frame["value"] - 0.25 * frame["kl"]) > -1e-12)
    assert frame["field"].iloc[-1] < 1e-2 * frame["field"].iloc[0]
    assert flow.status == "converged"
    assert flow.message == ""
    np.testing.assert_allclose(flow.policy, ps.nominal_target(*PROBLEM, beta=0.25), rtol=1e-12)
    assert "status=converged" in repr(flow)


def test_recorded_times_do_not_change_the_flow() -> None:
    plain = gradient_flow(*PROBLEM, "kimi", beta=0.25)
    asked = gradient_flow(*PROBLEM, "kimi", beta=0.25, times=plain.times[[3, 20, -1]])
    np.testing.assert_array_equal(asked.times, plain.times[[3, 20, -1]])
    np.testing.assert_allclose(asked.policies, plain.policies[[3, 20, -1]], rtol=1e-7)
    np.testing.assert_allclose(asked.policy, plain.policy, rtol=1e-12)
    long = gradient_flow(*PROBLEM, "kimi", beta=0.25, times=[1e6])
    assert long.policies.shape == (1, 4)
    np.testing.assert_allclose(long.policies[0], plain.policy, rtol=1e-7)


def test_a_horizon_that_comes_too_early_is_reported() -> None:
    flow = gradient_flow(*PROBLEM, "kimi", beta=0.25, horizon=0.5)
    assert flow.status == "not_converged"
    assert flow.message == "still moving by time 0.5"
    assert flow.times[-1] == 0.5
    np.testing.assert_array_equal(flow.log_policy, flow.log_policies[-1])


@pytest.mark.parametrize(
    ("shift", "status", "left"),
    [
        (-2.0, "converged", 4),
        (-0.1, "vanishing_support", 3),
        (-0.001, "collapsed", 1),
        (0.0, "diverged", 1),
        (0.1, "diverged", 1),
    ],
)
def test_support_shrinks_collapses_and_ends(shift: float, status: str, left: int) -> None:
    flow = gradient_flow(*UNEVEN, "asym_re", shift=shift)
    assert flow.status == status
    assert np.count_nonzero(flow.policy) == left
    if status == "diverged":
        assert "prefers no policy" in flow.message
        assert flow.field[-1] > 0.01  # it never comes to rest
        assert flow.entropy[-1] < 1e-3
    else:
        np.testing.assert_allclose(flow.policy, ps.induced_target(*UNEVEN, "asym_re", shift=shift).policy, atol=1e-12)


def test_without_a_preferred_policy_the_start_decides() -> None:
    ends = set()
    for likely in range(4):
        start = np.full(4, 0.02)
        start[likely] = 0.94
        ends.add(int(gradient_flow(*UNEVEN, "asym_re", shift=0.5, start=start).policy.argmax()))
    assert len(ends) > 1


def test_the_negative_regime_has_several_limits() -> None:
    behavior, reward = make_problem(0, 5)
    objective = ps.ConstantBaseline(beta=0.3, value=2.5)
    minima = [np.asarray(point.policy) for point in ps.stationary_points(behavior, reward, objective)]
    reached = set()
    for seed in range(8):
        start = np.random.default_rng(seed).dirichlet(np.full(5, 0.3)) + 1e-3
        flow = gradient_flow(behavior, reward, objective, start=start / start.sum())
        errors = [np.abs(flow.policy - minimum).max() for minimum in minima]
        assert min(errors) < 1e-9
        reached.add(int(np.argmin(errors)))
    assert len(reached) > 1


def test_actions_that_hardly_exist_still_rest() -> None:
    # The least likely action rests at a log-probability of -59, in a time of e^59 if one waits for it.
    behavior, reward = make_problem(4, 5)
    flow = gradient_flow(behavior, reward, "awr", beta=0.03, w_max=2.0)
    closed = ps.induced_target(behavior, reward, "awr", beta=0.03, w_max=2.0)
    assert flow.status == "converged"
    np.testing.assert_allclose(flow.log_policy, closed.log_policy, rtol=1e-11)
    assert flow.log_policy.min() < -55


def test_no_signal_and_no_choice_stay_put() -> None:
    for behavior, reward in (([0.2, 0.5, 0.3], [0.7, 0.7, 0.7]), ([1.0], [0.3]), ([0.0, 1.0], [5.0, 0.3])):
        for name in ("kimi", "nominal", "tba"):
            flow = gradient_flow(behavior, reward, name, beta=0.3)
            assert flow.status == "converged"
            np.testing.assert_allclose(flow.policy, behavior, atol=1e-15)
    # At the top of the hill, too: equal rewards below the baseline pull at nothing from the behavior itself.
    assert gradient_flow([0.5, 0.5], [0.7, 0.7], "asym_re", shift=0.1).status == "converged"


def test_actions_outside_the_support_have_no_mass() -> None:
    flow = gradient_flow([0.0, 0.5, 0.5], [9.0, 0.0, 1.0], "kimi", beta=0.5, start=[0.2, 0.4, 0.4])
    assert np.all(flow.policies[:, 0] == 0)
    np.testing.assert_allclose(flow.policies[0], [0.0, 0.5, 0.5])
    np.testing.assert_allclose(flow.policy[1:], ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5).policy)


class Clipped:
    """Clipped importance weights with a quadratic pull to the behavior: weights that jump."""

    kinks = (float(np.log(0.8)), float(np.log(1.2)))
    coupled, beta = False, 1.0

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - np.sum(weights * reward, axis=-1)[..., None]

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        inside = np.where(advantage > 0, log_ratio < self.kinks[1], log_ratio > self.kinks[0])
        return np.where(inside, np.exp(log_ratio) * advantage, 0.0) - self.penalty * np.expm1(log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("penalty", [0.05, 1.0])
@pytest.mark.parametrize("seed", [1, 3])
def test_flow_slides_along_a_jump(penalty: float, seed: int) -> None:
    behavior, reward = make_problem(seed, 4)
    mine = Clipped(penalty)
    flow = gradient_flow(behavior, reward, mine)
    assert flow.status == "converged"
    advantage = mine.advantage(reward, behavior)
    policy = behavior.copy()
    for size in (0.05, 0.002):  # small steps chatter about the jump
        for _ in range(8_000):
            pull = behavior * mine.score_weight(np.log(policy / behavior), advantage)
            policy = softmax(np.log(policy) + size * (pull - policy * pull.sum()))
    np.testing.assert_allclose(flow.policy, policy, atol=2e-3)
    # The condition of a fixed point, for weights between the sides of a jump.
    u = np.log(flow.policy / behavior)
    sides = [behavior * mine.score_weight(u + s, advantage) / flow.policy for s in (-1e-8, 1e-8)]
    least, most = np.max(np.minimum(*sides)), np.min(np.maximum(*sides))
    assert least <= most + 1e-6


def test_all_actions_may_rest_on_jumps() -> None:
    flow = gradient_flow([0.5, 0.5], [0.0, 1.0], Clipped(0.05))
    assert flow.status == "converged"
    np.testing.assert_allclose(flow.policy, [0.4, 0.6], atol=1e-12)
    free = gradient_flow([0.5, 0.5], [0.0, 1.0], Clipped(0.0))  # beyond the jumps nothing pulls any more
    assert free.status == "converged"
    np.testing.assert_allclose(free.policy, [0.4, 0.6], atol=1e-5)


BAD = [
    ({"start": [0.5, 0.5, 0.0, 0.0]}, "start.2. must be positive wherever behavior is"),
    ({"start": [0.5, 0.6, 0.0, 0.0]}, "start must sum to 1"),
    ({"times": [1.0, 0.5]}, "times must increase"),
    ({"times": [-1.0]}, "times must be one or more finite numbers >= 0"),
    ({"times": [2.0], "horizon": 1.0}, "times must not exceed the horizon 1.0, got 2.0"),
    ({"horizon": 0.0}, "horizon must be a finite number > 0, got 0.0"),
    ({"tolerance": -1.0}, "tolerance must be a finite number > 0, got -1.0"),
    ({"reference": [0.25, 0.25, 0.25, 0.25]}, "reference: objective .* has no log-ratio"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_of_a_flow_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        gradient_flow(*PROBLEM, "nominal", beta=0.3, **options)


def test_one_problem_at_a_time() -> None:
    with pytest.raises(
        ValueError, match=r"^behavior and reward must be one problem \(K,\), got a batch of shape \(2,\)$"
    ):
        gradient_flow([[0.5, 0.5]] * 2, [0.0, 1.0], "kimi")


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
    assert run.message == "30 steps end before a rest of the exact gradient"


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
    # One likely action under too large a step is no rest of the exact gradient.
    stuck = sgd([0.5, 0.5], [0.0, 1.0], "awr", beta=1.0, steps=1, lr=200.0, batch_size=1)
    assert stuck.status == "collapsed"
    assert "no rest of the exact gradient" in stuck.message
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
        ({"lr": -0.1}, "lr must be a finite number > 0, got -0.1"),
        ({"batch_size": 2.5}, "batch_size must be an integer >= 1, got 2.5"),
        ({"batch_size": 8, "group_size": 3}, "group_size must divide batch_size 8, got 3"),
        ({"group_size": 3}, "group_size must divide batch_size None, got 3"),
    ],
)
def test_bad_options_of_descent_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        sgd(*PROBLEM, "kimi", **{"steps": 5, "lr": 0.1, **options})
