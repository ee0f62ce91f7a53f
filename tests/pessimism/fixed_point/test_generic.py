"""The generic route against the closed forms, and objectives that a user brings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.objective import is_coupled
from pessimism.dynamics.trajectory import make_flow_problem
from tests.flows import flow_to_rest, logit_field
from tests.helpers import (
    Array,
    accepted,
    assert_log_policies_agree,
    assert_policy,
    cases,
    having,
    make_problem,
    rescaled,
    softmax,
    total_variation,
)

CASES = cases()
COMPARED = having("routes")
# log w + kappa w = A/beta up to a shift that normalizes, or with a floor: the generic route cannot read their kappa.
SHIFTED = ("truncated_is", "mixed_chi2_kl", "cql_reference", "chi_po")


def both_routes(behavior: Array, reward: Array, objective: Any, **options: Any) -> tuple[Any, Any]:
    closed = ps.induced_target(behavior, reward, objective, method="closed_form", **options)
    return closed, ps.induced_target(behavior, reward, objective, method="fixed_point", **options)


def bandits(widths: list[int], seed: int) -> list[tuple[Array, Array]]:
    return [make_problem(seed + i, width) for i, width in enumerate(widths)]


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
def test_routes_agree(name: str, temperature: float) -> None:
    widths = [2, 3, 7, 16] if CASES[name].coupled else [2, 3, 4, 7, 16, 33, 64]
    for behavior, reward in bandits(widths, 100):
        # Rewards divided, not the temperature multiplied: constants of the objective keep their meaning.
        closed, generic = both_routes(behavior, accepted(name, reward / temperature), CASES[name])
        assert closed.status == generic.status
        assert closed.status in ("converged", "vanishing_support")
        assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-10)
        if CASES[name].name not in SHIFTED and np.isfinite(closed.kappa):
            np.testing.assert_allclose(generic.kappa, closed.kappa, rtol=1e-10, atol=1e-10)
        assert generic.regime == closed.regime


@pytest.mark.parametrize("name", ["tba", "rebel"])
def test_routes_agree_on_64_coupled_actions(name: str) -> None:
    closed, generic = both_routes(*make_problem(5, 64), CASES[name])
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-10)


@pytest.mark.parametrize("name", [n for n in COMPARED if CASES[n].takes_reference])
def test_routes_agree_with_another_reference(name: str) -> None:
    behavior, reward = make_problem(6, 5)
    reference = make_problem(7, 5)[0]
    closed, generic = both_routes(behavior, accepted(name, reward), CASES[name], reference=reference)
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-10)
    assert_policy(closed.policy, behavior)
    assert float(closed.certificate()["worst"].iloc[0]) <= 1e-10


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl", "constant_baseline-negative"])
def test_routes_agree_on_the_leak(name: str) -> None:
    closed, generic = both_routes(*make_problem(8, 6), CASES[name], unseen=True)
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-10)
    np.testing.assert_allclose(generic.leak, closed.leak, atol=1e-10)
    assert generic.regime == closed.regime


def test_routes_disagree_where_the_objective_differs() -> None:
    behavior, reward = make_problem(0, 7)
    closed = ps.induced_target(behavior, reward, "kimi", beta=0.3)
    other = ps.induced_target(behavior, reward, "kimi", beta=0.3 * (1 + 1e-8), method="fixed_point")
    with pytest.raises(AssertionError, match="log-probabilities differ"):
        assert_log_policies_agree(other.log_policy, closed.log_policy, tolerance=1e-10)


class Uncoupled:
    """A cubic pull on the mean-centered reward; nothing but the three methods."""

    beta = 0.5

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        mean = reward.mean(-1) if weights is None else (weights * reward).sum(-1)
        return reward - mean[..., None]

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        gap = advantage - self.beta * log_ratio
        return gap + gap**3

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        gap = advantage - self.beta * log_ratio
        return (gap**2 / 2 + gap**4 / 4) / self.beta


class Coupled(Uncoupled):
    """The same, with log-ratios centered by half their mean over the group."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        mean = log_ratio.mean(-1) if weights is None else (weights * log_ratio).sum(-1)
        return advantage - self.beta * (log_ratio - 0.5 * mean[..., None])


@pytest.mark.parametrize("mine", [Uncoupled(), Coupled()])
def test_an_objective_of_ones_own_gets_its_target(mine: Any) -> None:
    behavior, reward = make_problem(9, 5)
    target = ps.induced_target(behavior, reward, mine)
    assert target.status == "converged"
    assert_policy(target.policy, behavior)
    pull = behavior * mine.score_weight(target.log_ratio, target.advantage, behavior)
    np.testing.assert_allclose(pull, pull.sum() * target.policy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(target.baseline, behavior @ reward, rtol=1e-12)
    np.testing.assert_allclose(target.multiplier, pull.sum(), rtol=1e-8)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    followed, rests = flow_to_rest(
        behavior, np.log(behavior), lambda u: mine.score_weight(u, target.advantage, behavior), np.log(behavior)
    )
    assert rests
    np.testing.assert_allclose(np.exp(followed), target.policy, atol=1e-6)
    frame = target.conservatism()
    assert len(frame) == 1
    assert frame["pessimism_factor"].iloc[0] >= 1.0


def test_an_objective_of_ones_own_on_torch_and_in_batches() -> None:
    behavior, reward = make_problem(9, 5)
    single = ps.induced_target(behavior, reward, Uncoupled())
    batch = ps.induced_target(torch.tensor(behavior), torch.tensor(np.stack([reward, 2 * reward])), Uncoupled())
    assert isinstance(batch.policy, torch.Tensor)
    assert_log_policies_agree(batch.log_policy.numpy()[0], single.log_policy)


@pytest.mark.parametrize("name", [n for n in CASES if not CASES[n].takes_propensity])
def test_coupling_is_declared_truthfully(name: str) -> None:
    class Undeclared:
        score_weight = staticmethod(CASES[name].score_weight)

    assert is_coupled(Undeclared()) == is_coupled(CASES[name]) == CASES[name].coupled  # type: ignore[arg-type]


def test_own_objectives_are_probed_for_coupling() -> None:
    assert not is_coupled(Uncoupled())
    assert is_coupled(Coupled())


def test_methods_that_do_not_exist_are_refused() -> None:
    behavior, reward = make_problem(0, 3)
    with pytest.raises(ValueError, match="^method: objective .* has no closed form$"):
        ps.induced_target(behavior, reward, Uncoupled(), method="closed_form")
    with pytest.raises(ValueError, match='^method must be None, "closed_form" or "fixed_point", got \'newton\'$'):
        ps.induced_target(behavior, reward, "kimi", method="newton")


def test_logit_field_is_the_gradient_of_the_population_loss() -> None:
    behavior, reward = make_problem(10, 6)
    objective = ps.Kimi(beta=0.4)
    advantage = objective.advantage(reward, behavior)
    logits = torch.tensor(np.random.default_rng(0).normal(size=6), requires_grad=True)
    u = torch.log_softmax(logits, -1) - torch.tensor(np.log(behavior))
    loss = (torch.tensor(behavior) * objective.loss(u, torch.tensor(advantage))).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    pull = make_flow_problem(behavior, reward, objective, None, None).pull
    field = pull.field(torch.log_softmax(logits, -1).detach().numpy())
    np.testing.assert_allclose(field, -gradient.numpy(), rtol=1e-12, atol=1e-14)
    weight = lambda u: objective.score_weight(u, advantage, behavior)  # noqa: E731
    plain = logit_field(behavior, np.log(behavior), weight, logits.detach().numpy())
    np.testing.assert_allclose(plain, field, rtol=1e-12, atol=1e-14)


def test_flow_says_when_it_does_not_rest() -> None:
    behavior = np.array([0.3, 0.7])
    # A constant pull on one action never rests: its logit rises for ever, ever more slowly.
    _, rests = flow_to_rest(
        behavior, np.log(behavior), lambda u: np.array([1.0, -2.0]), np.log(behavior), tolerance=1e-30
    )
    assert not rests


@pytest.mark.parametrize(
    "name", ["nominal", "tba", "rebel", "awr", "mixed_chi2_kl", "truncated_is", "asym_re-full_support"]
)
def test_gradient_flow_reaches_the_target(name: str) -> None:
    behavior, reward = make_problem(11, 4)
    target = ps.induced_target(behavior, reward, CASES[name])
    start = np.random.default_rng(1).normal(size=4)
    weight = lambda u: CASES[name].score_weight(u, target.advantage, behavior)  # noqa: E731
    followed, rests = flow_to_rest(behavior, np.log(behavior), weight, start, tolerance=1e-10)
    assert rests
    np.testing.assert_allclose(np.exp(followed), target.policy, atol=1e-6)


def test_gradient_ascent_approaches_a_shrinking_support() -> None:
    behavior, reward = make_problem(12, 4)
    objective = replace(CASES["asym_re"], shift=-0.3)
    target = ps.induced_target(behavior, reward, objective)
    assert target.status == "vanishing_support"
    logits = np.random.default_rng(2).normal(size=4)
    for _ in range(5000):
        logits = logits + 0.5 * logit_field(behavior, np.log(behavior), lambda _: target.advantage, logits)
    assert total_variation(softmax(logits), target.policy) <= 1e-6


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_asym_re_has_no_target_without_a_negative_shift(shift: float) -> None:
    target = ps.induced_target(*make_problem(0, 4), "asym_re", shift=shift)
    assert target.status == "no_target"
    assert target.regime != "positive"
    assert np.isnan(target.policy).all()


def test_rescaling_helper_moves_every_unit() -> None:
    assert rescaled(ps.OAPL(beta1=1.0, beta2=0.5), 2.0) == ps.OAPL(beta1=2.0, beta2=1.0)
    assert rescaled(ps.REBEL(eta=1.0), 2.0) == ps.REBEL(eta=0.5)
    assert rescaled(ps.StdNormalized(beta=1.0, eps=0.5), 2.0) == ps.StdNormalized(beta=1.0, eps=1.0)


@pytest.mark.parametrize("name", [n for n in COMPARED if CASES[n].name not in SHIFTED])
@pytest.mark.parametrize("problem", [([1.0], [0.3]), ([0.2, 0.5, 0.3], [0.7, 0.7, 0.7])], ids=["one action", "equal"])
def test_routes_agree_without_a_choice(name: str, problem: tuple[list[float], list[float]]) -> None:
    closed, generic = both_routes(*map(np.array, problem), CASES[name])
    np.testing.assert_allclose(generic.policy, closed.policy, rtol=1e-12)
    # Where u = 0 a constant advantage can be read as a baseline of the nominal family or as kappa.
    if closed.kappa != 0 or np.abs(closed.advantage).max() < 1e-12:
        np.testing.assert_allclose(generic.kappa, closed.kappa, atol=1e-12)
        assert generic.regime == closed.regime


def test_the_negative_regime_is_not_mistaken_for_a_target() -> None:
    problem = [0.3, 0.2, 0.5], [0.0, 1.0, 0.5]
    closed, generic = both_routes(*map(np.array, problem), ps.ConstantBaseline(beta=0.5, value=1.2))
    assert closed.regime == generic.regime == "negative"
    assert generic.status == "not_converged"
    assert np.isnan(generic.policy).all()
    leaking = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), unseen=True)
    by_zeros = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), unseen=True, method="fixed_point")
    np.testing.assert_allclose(by_zeros.policy, leaking.policy, rtol=1e-12)
    np.testing.assert_allclose(by_zeros.leak, leaking.leak, rtol=1e-12)


class ScaledByTheGroup:
    """A weight that uses the largest advantage of the group, which no change of a log-ratio reveals."""

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        mean = reward.mean(axis=-1) if weights is None else np.vecdot(weights, reward)
        return reward - mean[..., None]

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        return advantage / np.abs(advantage).max(axis=-1, keepdims=True) - 0.5 * log_ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        raise NotImplementedError


class ScaledByTheWeights(ScaledByTheGroup):
    """A weight that uses the probabilities of the group."""

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        weights = np.full(advantage.shape, 1 / advantage.shape[-1]) if weights is None else weights
        spread = np.sum(weights * advantage**2, axis=-1, keepdims=True)
        return advantage - 0.3 * spread - 0.5 * log_ratio


@pytest.mark.parametrize("objective", [ScaledByTheGroup(), ScaledByTheWeights()])
def test_weights_of_the_whole_group(objective: Any) -> None:
    for behavior, reward in bandits([3, 6, 6], 40):
        target = ps.induced_target(behavior, reward, objective)
        assert target.status == "converged"
        weight = objective.score_weight(target.log_ratio, target.advantage, behavior)
        pull = behavior * weight
        np.testing.assert_allclose(pull, target.policy * pull.sum(), atol=1e-12)
