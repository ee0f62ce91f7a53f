"""Gradient flow on softmax logits, against steps written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.dynamics.gradient_flow import gradient_flow
from tests.helpers import Array, make_problem, softmax
from tests.pessimism.dynamics.fields import PROBLEM, UNEVEN, torch_field


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
    # At the top of the hill equal rewards below the baseline pull at nothing, too, but any tilt grows.
    assert gradient_flow([0.5, 0.5], [0.7, 0.7], "asym_re", shift=0.1).status == "unstable"


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
        return reward - np.average(reward, axis=-1, weights=weights)[..., None]

    def kinks_at(self, propensity: Any) -> Any:
        return self.kinks

    def _inside(self, log_ratio: Any, advantage: Any, weights: Any) -> Any:
        low, high = self.kinks_at(weights)
        return np.where(advantage > 0, log_ratio < high, log_ratio > low)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        weight = np.where(self._inside(log_ratio, advantage, weights), np.exp(log_ratio) * advantage, 0.0)
        return weight - self.penalty * np.expm1(log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        edge = np.exp(np.clip(log_ratio, *self.kinks_at(weights)))
        surrogate = np.where(self._inside(log_ratio, advantage, weights), np.exp(log_ratio), edge) * advantage
        return self.penalty * (np.exp(log_ratio) - log_ratio) - surrogate


class ClippedByProbability(Clipped):
    """The same with the clip on pi - q, at ratios that depend on the action's probability."""

    takes_propensity = True

    def kinks_at(self, propensity: Any) -> Any:
        return np.log(np.maximum(1.0 - 0.06 / propensity, 0.3)), np.log1p(0.06 / propensity)


@pytest.mark.parametrize("penalty", [0.05, 1.0])
@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("kind", [Clipped, ClippedByProbability])
def test_flow_slides_along_a_jump(penalty: float, seed: int, kind: type[Clipped]) -> None:
    behavior, reward = make_problem(seed, 4)
    mine = kind(penalty)
    flow = gradient_flow(behavior, reward, mine)
    assert flow.status == "converged"
    advantage = mine.advantage(reward, behavior)
    policy = behavior.copy()
    for size in (0.05, 0.002):  # small steps chatter about the jump
        for _ in range(8_000):
            pull = behavior * mine.score_weight(np.log(policy / behavior), advantage, behavior)
            policy = softmax(np.log(policy) + size * (pull - policy * pull.sum()))
    np.testing.assert_allclose(flow.policy, policy, atol=2e-3)
    # The condition of a fixed point, for weights between the sides of a jump.
    u = np.log(flow.policy / behavior)
    sides = [behavior * mine.score_weight(u + s, advantage, behavior) / flow.policy for s in (-1e-8, 1e-8)]
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
