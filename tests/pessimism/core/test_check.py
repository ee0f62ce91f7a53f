"""An objective of one's own whose methods do not fit together is refused, in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from array_api_compat import array_namespace

import pessimism as ps
from pessimism.core.check import check
from tests.helpers import cases


class Sigmoid:
    """That of README, for both libraries."""

    beta = 0.1

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        xp = array_namespace(reward)
        if weights is None:
            return reward - xp.mean(reward, axis=-1, keepdims=True)
        return reward - xp.sum(weights * reward, axis=-1, keepdims=True)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return array_namespace(log_ratio).tanh(advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        xp = array_namespace(log_ratio)
        return xp.log(xp.cosh(advantage - self.beta * log_ratio)) / self.beta


class Sum(Sigmoid):
    def loss(self, *arguments: Any) -> Any:
        return super().loss(*arguments).sum()


class Half(Sigmoid):
    def loss(self, *arguments: Any) -> Any:
        return 0.5 * super().loss(*arguments)


class Otherwise(Sigmoid):
    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - self.beta * log_ratio


class Detached(Sigmoid):
    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 0.0 * advantage


class OfNumpy(Sigmoid):
    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.average(advantage, axis=-1, weights=weights) - log_ratio


class OfTorch(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return torch.tanh(reward)


class Mean(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward.mean(axis=-1)


class Unweighted(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - reward.mean(axis=-1)[..., None]


class Across(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - reward.mean()


class NoAdvantage(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return super().advantage(reward) * float("nan")


class NotANumber(Sigmoid):
    def loss(self, *arguments: Any) -> Any:
        return super().loss(*arguments) * float("nan")


class Without:
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage


class OnNumpy(Sigmoid):
    """Written with numpy, with a weight that its loss holds constant, and marked so or not."""

    marked = True

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - np.average(reward, axis=-1, weights=weights, keepdims=True)

    def _ratio(self, log_ratio: Any) -> Any:
        return np.minimum(np.exp(log_ratio), 1.1)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return self._ratio(log_ratio) * (advantage - log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        held = ps.stop_gradient(log_ratio) if self.marked else log_ratio
        return 0.5 * self._ratio(held) * (advantage - log_ratio) ** 2


class Unmarked(OnNumpy):
    marked = False


class Huber(Sigmoid):
    """A loss that turns linear at a round number."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage * (log_ratio < 0.12) * (log_ratio > -0.07)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return -advantage * array_namespace(log_ratio).clip(log_ratio, -0.07, 0.12)


class Cold(OnNumpy):
    """A loss of many times the size of its derivative."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - 1e-6 * log_ratio

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 0.5e6 * (advantage - 1e-6 * log_ratio) ** 2


class Faint(Sigmoid):
    def score_weight(self, *arguments: Any) -> Any:
        return 1e-9 * super().score_weight(*arguments)

    def loss(self, *arguments: Any) -> Any:
        return 3e-9 * super().loss(*arguments)


class Shifting(Sigmoid):
    def advantage(self, reward: Any, weights: Any = None) -> Any:
        reward -= 0.5
        return reward


class Scaling(Sigmoid):
    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        log_ratio *= self.beta
        return super().loss(log_ratio / self.beta, advantage)


class OfPairs(Sigmoid):
    """That knows two actions only."""

    factor = 1.0

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        if reward.shape[-1] != 2:
            raise ValueError("pairs only")
        return super().advantage(reward, weights)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        if log_ratio.shape[-1] != 2:
            raise ValueError("pairs only")
        return self.factor * super().score_weight(log_ratio, advantage, weights)


class OfPairsTwice(OfPairs):
    factor = 2.0


CASES = cases()


@pytest.mark.parametrize("arrays", ["numpy", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_those_of_the_registry_pass(name: str, arrays: Any) -> None:
    check(CASES[name], arrays=arrays)


@pytest.mark.parametrize(
    "objective", [Sigmoid(), OnNumpy(), Huber(), Cold(), OfPairs()], ids=lambda value: type(value).__name__
)
def test_one_that_is_right_passes(objective: Any) -> None:
    check(objective)


@pytest.mark.parametrize("arrays", ["numpy", "torch"])
@pytest.mark.parametrize("kind", [Half, Otherwise, Detached])
def test_both_derivatives_find_a_loss_of_something_else(kind: Any, arrays: Any) -> None:
    with pytest.raises(ValueError, match="derivative of loss in log_ratio must be -score_weight|loss has no gradient"):
        check(kind(), arrays=arrays)


_SHAPE = r"must give one number for each action, numpy arrays of shape \(3, 4\), got"
_DERIVATIVE = "the derivative of loss in log_ratio must be -score_weight, is "


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (
            Sum(),
            f"objective Sum: loss {_SHAPE} a float64$",
        ),
        (
            Half(),
            f"objective Half: {_DERIVATIVE}-0[.]28[0-9]+ and not -0[.]57[0-9]+ at log_ratio -?[0-9.]+, adv",
        ),
        (Otherwise(), f"objective Otherwise: {_DERIVATIVE}"),
        (OfPairsTwice(), f"objective OfPairsTwice: {_DERIVATIVE}"),
        (Faint(), f"objective Faint: {_DERIVATIVE}"),
        (Shifting(), "objective Shifting: advantage must not change the arrays that it is given$"),
        (Scaling(), "objective Scaling: loss must not change the arrays that it is given$"),
        (Unmarked(), f"objective Unmarked: {_DERIVATIVE}"),
        (NotANumber(), r"objective NotANumber: loss must be finite, is nan at log_ratio -0\.313$"),
        (NoAdvantage(), "objective NoAdvantage: advantage must be finite, is nan at reward 0$"),
        (Detached(), f"objective Detached: {_DERIVATIVE}"),
        (OfTorch(), r"objective OfTorch: advantage fails on numpy arrays \(TypeError: .*; operators and array_api"),
        (Across(), r"objective Across: advantage of a group must not depend on other groups \(over_batch"),
        (Unweighted(), "objective Unweighted: advantage must honour weights"),
        (
            Mean(),
            rf"objective Mean: advantage {_SHAPE} one of shape \(3,\)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_that_is_not(objective: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}") as error:
        check(objective)
    assert "\n" not in str(error.value)


class Hot(Sigmoid):
    temperature = "hot"


class Kinked(Sigmoid):
    kinks = 0.3


@pytest.mark.parametrize(("objective", "trait"), [(Hot(), "temperature"), (Kinked(), "kinks")])
def test_a_trait_that_is_no_number(objective: Any, trait: str) -> None:
    with pytest.raises(ValueError, match=f"^objective {type(objective).__name__}: {trait} must be a "):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], objective)


def test_jumps_that_are_no_number_for_each_action() -> None:
    class Ragged(Sigmoid):
        def kinks_at(self, propensity: Any) -> Any:
            return (propensity[..., :-1],)

    with pytest.raises(ValueError, match="^objective Ragged: kinks_at must give a tuple of numbers or arrays like"):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], Ragged())


def test_a_sweep_of_a_subclass_is_checked_at_one_point() -> None:
    class Mine(ps.Kimi):
        factor = 1.0

        def score_weight(self, *arguments: Any) -> Any:
            return self.factor * super().score_weight(*arguments)

    class Twice(Mine):
        factor = 2.0

    for beta in ([0.1, 0.2], np.empty((0, 2))):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], Mine(beta=beta))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="derivative of loss"):
            ps.induced_target([0.5, 0.5], [0.0, 1.0], Twice(beta=beta))  # type: ignore[arg-type]


def test_one_that_changes_its_arrays_leaves_no_trace() -> None:
    def said() -> str:
        with pytest.raises(ValueError, match="^objective Half") as error:
            check(Half())
        return str(error.value)

    before = said()
    for objective in (Shifting(), Scaling()):
        with pytest.raises(ValueError, match="must not change"):
            check(objective)
    assert said() == before


def test_arrays_of_another_library() -> None:
    with pytest.raises(ValueError, match='^arrays must be None, "numpy" or "torch", got \'jax\'$'):
        check(Sigmoid(), arrays="jax")  # type: ignore[arg-type]


def test_one_of_numpy_where_tensors_are_needed() -> None:
    with pytest.raises(ValueError, match="^objective OfNumpy: score_weight fails on "):
        check(OfNumpy(), arrays="torch")


def test_a_whole_batch_may_be_declared() -> None:
    class Declared(Across):
        over_batch = True

        def advantage(self, reward: Any, weights: Any = None) -> Any:
            return reward - (reward.mean() if weights is None else (weights * reward).sum() / weights.sum())

    check(Declared())


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Sigmoid, r"objective must be an instance, got the class Sigmoid: write Sigmoid\(\)"),
        (Without(), "objective must be a name or have the methods advantage, score_weight and loss"),
        ("kimi", "check takes an object of one's own, not a name, got 'kimi'$"),
    ],
    ids=["class", "methods", "text"],
)
def test_what_is_none(objective: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}"):
        check(objective)


VERBS: dict[str, Any] = {
    "induced_target": lambda *given, **options: ps.induced_target([0.5, 0.5], [0.0, 1.0], *given, **options),
    "stationary_points": lambda *given, **options: ps.stationary_points([0.5, 0.5], [0.0, 1.0], *given, **options),
    "gradient_flow": lambda *given, **options: ps.gradient_flow([0.5, 0.5], [0.0, 1.0], *given, **options),
    "sgd": lambda *given, **options: ps.sgd([0.5, 0.5], [0.0, 1.0], *given, steps=1, lr=0.1, **options),
    "lagged_iteration": lambda *given, **options: ps.lagged_iteration(
        [0.5, 0.5], [0.0, 1.0], *given, rounds=1, **options
    ),
    "finite_group": lambda *given, **options: ps.finite_group(*given, 4, pass_rate=0.5, **options),
    "diagnose": lambda *given, **options: ps.diagnose(
        pd.DataFrame({"prompt": ["a", "a"], "reward": [0.0, 1.0]}), *given, **options
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_checks(verb: str) -> None:
    with pytest.raises(ValueError, match=r"^objective Half: the derivative"):
        VERBS[verb](Half())


@pytest.mark.parametrize("verb", [name for name in VERBS if name not in ("stationary_points", "finite_group")])
def test_every_verb_can_be_told_not_to(verb: str) -> None:
    VERBS[verb](Half(), check=False)


def test_minimizers_of_an_unchecked_regression_are_those_of_its_score_weight() -> None:
    class Doubled(ps.Kimi):
        def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
            return 2.0 * super().loss(log_ratio, advantage, weights)

    problem = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match=_DERIVATIVE):
        ps.stationary_points(*problem, Doubled(beta=0.3))
    (found,) = ps.stationary_points(*problem, Doubled(beta=0.3), check=False)
    np.testing.assert_allclose(found.policy, ps.induced_target(*problem, "kimi", beta=0.3).policy, rtol=1e-12)


def test_an_object_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    objective, loss = Sigmoid(), Sigmoid.loss
    monkeypatch.setattr(Sigmoid, "loss", lambda *given: calls.append(1) or loss(*given))
    for _ in range(2):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], objective)
    once = len(calls)
    ps.induced_target([0.5, 0.5], [0.0, 1.0], Sigmoid())
    assert once > 0
    assert len(calls) == 2 * once


def test_no_certificate_for_one_that_fails() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], Half(), check=False)
    with pytest.raises(ValueError, match=r"^objective Half: the derivative"):
        target.certificate()


def test_a_method_that_takes_no_weights_is_told_so() -> None:
    class Without(Sigmoid):
        def advantage(self, reward: Any) -> Any:
            return reward - 0.5

    with pytest.raises(ValueError, match=r"^objective Without: advantage must accept \(reward, weights=None\): "):
        check(Without())
