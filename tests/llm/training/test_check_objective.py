"""An objective that would not train as its induced target is found is refused, in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from array_api_compat import array_namespace

import pessimism as ps
from llm.training.check_objective import require_consistent, require_methods


class Sigmoid:
    """That of README, for both libraries."""

    beta = 0.1

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        xp = array_namespace(reward)
        return reward - xp.mean(reward, axis=-1, keepdims=True)

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


@pytest.mark.parametrize("name", list(ps.objectives()))
def test_those_of_the_registry_pass(name: str) -> None:
    objective = ps.objectives()[name]()
    require_methods(objective)
    require_consistent(objective)


def test_one_that_is_right_passes() -> None:
    require_methods(Sigmoid())
    require_consistent(Sigmoid())


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Sum(), r"objective Sum: loss must give numpy arrays of the shape given, \(3, 4\), got "),
        (Half(), "objective Half: the derivative of loss in log_ratio must be -score_weight, is .* and not "),
        (Otherwise(), "objective Otherwise: the derivative of loss in log_ratio must be -score_weight, is .* and not "),
        (NotANumber(), "objective NotANumber: the derivative of loss in log_ratio must be -score_weight, is nan and"),
        (NoAdvantage(), "objective NoAdvantage: the derivative of loss in log_ratio must be -score_weight, is nan and"),
        (Detached(), "objective Detached: loss has no gradient in log_ratio$"),
        (OfNumpy(), "objective OfNumpy: score_weight fails on numpy arrays"),
        (
            OfTorch(),
            r"objective OfTorch: advantage fails on numpy arrays \(TypeError: .*; operators and array_api",
        ),
        (Across(), "objective Across: advantage of a group must not depend on other groups$"),
        (Mean(), r"objective Mean: advantage must give numpy arrays of the shape given, \(3, 4\), got \(3,\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_that_is_not(objective: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}") as error:
        require_consistent(objective)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Sigmoid, r"objective must be an object, got the class Sigmoid: write Sigmoid\(\)"),
        (Without(), "objective Without has no method loss: it needs advantage, score_weight, loss"),
        ("kimi", "objective str has no method advantage"),
    ],
    ids=["class", "methods", "text"],
)
def test_what_is_none(objective: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        require_methods(objective)
