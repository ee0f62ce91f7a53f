"""Routes to a target by roots against the closed forms, with and without coupling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.flows import flow_to_rest, logit_field
from tests.helpers import (
    Array,
    accepted,
    assert_log_policies_agree,
    assert_policy,
    cases,
    having,
    make_problem,
    softmax,
    total_variation,
)
from tests.pessimism.fixed_point.own import ScaledByTheGroup, ScaledByTheWeights

CASES = cases()
COMPARED = having("routes")
# log w + kappa w = A/beta up to a shift that normalizes, or with a floor: the generic route cannot read their kappa.
SHIFTED = ("truncated_is", "mixed_chi2_kl", "cql_reference", "chi_po")


def both_routes(behavior: Array, reward: Array, objective: Any, **options: Any) -> tuple[Any, Any]:
    closed = ps.induced_target(behavior, reward, objective, method="closed_form", **options)
    return closed, ps.induced_target(behavior, reward, objective, method="fixed_point", **options)


def is_covered(behavior: Array, reward: Array, objective: Any) -> bool:
    """Whether the closed form knows the target, which it does not in every row of an objective that a flow decides."""
    try:
        ps.induced_target(behavior, reward, objective, method="closed_form")
    except ValueError as error:
        if "has no closed form at reward" not in str(error):
            raise
        return False
    return True


def bandits(widths: list[int], seed: int) -> list[tuple[Array, Array]]:
    return [make_problem(seed + i, width) for i, width in enumerate(widths)]


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize(
    ("temperature", "least", "most"),
    [
        (1.0, 2, 7),
        pytest.param(1.0, 8, 64, marks=pytest.mark.slow),
        pytest.param(0.3, 2, 64, marks=pytest.mark.slow),
        pytest.param(10.0, 2, 64, marks=pytest.mark.slow),
    ],
)
def test_routes_agree(name: str, temperature: float, least: int, most: int) -> None:
    widths = [2, 3, 7, 16] if CASES[name].coupled else [2, 3, 4, 7, 16, 33, 64]
    problems = [(q, r) for q, r in bandits(widths, 100) if least <= len(r) <= most]
    by_flow, compared = getattr(CASES[name], "by_flow", False), 0
    if by_flow:  # of wide generic problems their closed forms know few, of small groups with a verifier's rewards most
        problems += [(np.full(n, 1.0 / n), np.eye(n)[0]) for n in (2, 3, 4, 5)]
    for behavior, reward in problems:
        # Rewards divided, not the temperature multiplied: constants of the objective keep their meaning.
        rewards = accepted(name, reward / temperature)
        if by_flow and not is_covered(behavior, rewards, CASES[name]):
            continue
        compared += 1
        closed, generic = both_routes(behavior, rewards, CASES[name])
        assert closed.status == generic.status
        assert closed.status in ("converged", "vanishing_support")
        assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-10)
        if CASES[name].name not in SHIFTED and np.isfinite(closed.kappa):
            np.testing.assert_allclose(generic.kappa, closed.kappa, rtol=1e-10, atol=1e-10)
        assert generic.regime == closed.regime
    assert 3 * compared >= len(problems)


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


@pytest.mark.parametrize("name", [n for n in COMPARED if CASES[n].name not in SHIFTED])
@pytest.mark.parametrize("problem", [([1.0], [0.3]), ([0.2, 0.5, 0.3], [0.7, 0.7, 0.7])], ids=["one action", "equal"])
def test_routes_agree_without_a_choice(name: str, problem: tuple[list[float], list[float]]) -> None:
    closed, generic = both_routes(*map(np.array, problem), CASES[name])
    np.testing.assert_allclose(generic.policy, closed.policy, rtol=1e-12)
    # Where u = 0 a constant advantage can be read as a baseline of the nominal family or as kappa.
    if closed.kappa != 0 or np.abs(closed.advantage).max() < 1e-12:
        np.testing.assert_allclose(generic.kappa, closed.kappa, atol=1e-12)
        assert generic.regime == closed.regime


def test_in_the_negative_regime_the_route_follows_the_flow() -> None:
    problem = [0.3, 0.2, 0.5], [0.0, 1.0, 0.5]
    generic = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), method="fixed_point")
    target = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2))
    assert (generic.regime, generic.status) == ("negative", "local_minimum")
    np.testing.assert_allclose(generic.policy, target.policy, rtol=1e-12)
    with pytest.raises(ValueError, match=r"method: objective constant_baseline\(.*\) has no closed form at reward"):
        ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), method="closed_form")
    leaking = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), unseen=True)
    by_zeros = ps.induced_target(*problem, ps.ConstantBaseline(beta=0.5, value=1.2), unseen=True, method="fixed_point")
    np.testing.assert_allclose(by_zeros.policy, leaking.policy, rtol=1e-12)
    np.testing.assert_allclose(by_zeros.leak, leaking.leak, rtol=1e-12)


@pytest.mark.parametrize("objective", [ScaledByTheGroup(), ScaledByTheWeights()])
def test_weights_of_the_whole_group(objective: Any) -> None:
    for behavior, reward in bandits([3, 6, 6], 40):
        target = ps.induced_target(behavior, reward, objective)
        assert target.status == "converged"
        weight = objective.score_weight(target.log_ratio, target.advantage, behavior)
        pull = behavior * weight
        np.testing.assert_allclose(pull, target.policy * pull.sum(), atol=1e-12)
