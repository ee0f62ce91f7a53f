"""Offline systems: generic routes of all of them, and those around an estimated reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.flows import flow_to_rest
from tests.helpers import Array, assert_log_policies_agree, make_problem
from tests.systems import BANDITS, DIVERGENCES, descend, solved

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(("cql", {"alpha": alpha}) for alpha in (0.05, 1.0, 20.0)),
    *(("cql_huber", {"alpha": alpha}) for alpha in (0.05, 1.0, 1.5, 20.0)),
    *(("cql_reference", {"alpha": alpha, "beta": beta}) for alpha, beta in ((0.05, 1.0), (2.0, 0.2))),
    *(
        ("divergence_augmented", {"beta": beta, "divergence": divergence, "normalize": normalize})
        for divergence in DIVERGENCES
        for beta, normalize in ((0.3, False), (2.0, True))
    ),
    ("awac", {"beta": 0.5}),
    ("brac", {"beta": 0.5}),
]


@pytest.mark.parametrize(("name", "hyper"), SETTINGS)
def test_fixed_point_route(name: str, hyper: dict[str, Any]) -> None:
    for behavior, reward in BANDITS[:3]:
        closed = ps.induced_target(behavior, reward, name, method="closed_form", **hyper)
        generic = ps.induced_target(behavior, reward, name, method="fixed_point", **hyper)
        assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)
        assert (closed.regime, closed.status) == (generic.regime, generic.status)


@pytest.mark.parametrize(("name", "hyper"), SETTINGS)
def test_gradient_flow_from_the_behavior(name: str, hyper: dict[str, Any]) -> None:
    objective = make_objective(name, **hyper)
    for behavior, reward in BANDITS[1:3]:
        target = ps.induced_target(behavior, reward, objective)
        followed, rests = flow_to_rest(
            behavior,
            np.log(behavior),
            lambda u, q=behavior, a=target.advantage: objective.score_weight(u, a, q),  # type: ignore[misc]
            np.log(behavior),
        )
        assert rests
        np.testing.assert_allclose(np.exp(followed - np.logaddexp.reduce(followed)), target.policy, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("cql", "alpha"), ("cql_huber", "alpha"), ("cql_reference", "alpha"), ("cql_reference", "beta")),
        *(("divergence_augmented", "beta"), ("awac", "beta"), ("brac", "beta")),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1", None])
def test_bad_hyper_parameters_are_named(name: str, field: str, value: Any) -> None:
    rule = "must be > 0" if value in (0.0, -1.0) else "must be a finite number"
    with pytest.raises(ValueError, match=f"^{name}: {field} {rule}, got {value!r}$"):
        make_objective(name, **{field: value})


def test_awac_weights_are_a_softmax_times_the_batch() -> None:
    behavior, reward = BANDITS[3]
    objective = make_objective("awac", beta=0.2)
    weights = objective.score_weight(np.zeros(7), objective.advantage(reward), None)
    np.testing.assert_allclose(weights, 7 * special.softmax(reward / 0.2), rtol=1e-12)
    np.testing.assert_allclose(behavior @ objective.score_weight(reward, objective.advantage(reward, behavior)), 1.0)
    assert_log_policies_agree(
        ps.induced_target(behavior, reward, objective).log_policy,
        ps.induced_target(behavior, reward, "awr", beta=0.2, w_max=float("inf")).log_policy,
    )
    greedy = ps.induced_target(behavior, reward, "awac", beta=1e-5)  # exp(A/beta) itself would overflow
    assert float(greedy.certificate()["worst"].iloc[0]) <= 1e-12
    np.testing.assert_allclose(greedy.policy, np.eye(7)[reward.argmax()], atol=1e-12)
    unseen = ps.induced_target([0.5, 0.0, 0.5], [0.0, 1e5, 1.0], "awac")
    assert float(unseen.certificate()["worst"].iloc[0]) <= 1e-15


def test_awac_is_weighted_maximum_likelihood() -> None:
    for behavior, reward in BANDITS:
        mu, weight = torch.tensor(behavior), torch.exp(torch.tensor(reward) / 0.5)
        logits = descend(lambda x, m=mu, w=weight: -(m * w * torch.log_softmax(x, -1)).sum(), np.zeros(len(reward)))  # type: ignore[misc]
        np.testing.assert_allclose(special.softmax(logits), solved(behavior, reward, "awac", beta=0.5), atol=1e-6)


def test_brac_is_nominal_around_the_estimate_whatever_the_data() -> None:
    for seed, (behavior, reward) in enumerate(BANDITS):
        estimate = make_problem(300 + seed, len(reward))[0]
        objective = make_objective("brac", beta=0.4)
        target = ps.induced_target(behavior, reward, objective, reference=estimate)
        other = ps.induced_target(behavior[::-1].copy(), reward, objective, reference=estimate)
        assert_log_policies_agree(other.log_policy, target.log_policy)
        np.testing.assert_allclose(target.policy, ps.nominal_target(estimate, reward, 0.4), rtol=1e-12)
        generic = ps.induced_target(behavior, reward, objective, reference=estimate, method="fixed_point")
        assert_log_policies_agree(generic.log_policy, target.log_policy, tolerance=1e-9)

        nu, r = torch.tensor(estimate), torch.tensor(reward)

        def loss(x: torch.Tensor, nu: torch.Tensor = nu, r: torch.Tensor = r) -> torch.Tensor:
            log_pi = torch.log_softmax(x, -1)
            return (torch.exp(log_pi) * (0.4 * (log_pi - torch.log(nu)) - r)).sum()

        np.testing.assert_allclose(special.softmax(descend(loss, np.zeros(len(r)))), target.policy, atol=1e-6)
        perfect = ps.induced_target(behavior, reward, objective)
        assert_log_policies_agree(
            perfect.log_policy, ps.induced_target(behavior, reward, "nominal", beta=0.4).log_policy
        )


def test_autograd_of_brac_with_another_reference() -> None:
    rng = np.random.default_rng(5)
    u, share = torch.tensor(rng.normal(size=6), requires_grad=True), torch.tensor(rng.normal(size=6))
    advantage = torch.tensor(rng.normal(size=6))
    objective: Any = make_objective("brac", beta=0.4)
    (slope,) = torch.autograd.grad(objective.loss(u, advantage, log_share=share).sum(), u)
    expected = -objective.score_weight(u.detach(), advantage, log_share=share)
    np.testing.assert_allclose(slope.numpy(), expected.numpy(), rtol=1e-12)
    assert not np.allclose(expected, -objective.score_weight(u.detach(), advantage))


# Which curve of the ratio is straight in the reward: one row a system.
SHAPES: dict[tuple[str, str], tuple[dict[str, Any], Callable[[Array, Array], Array]]] = {
    ("divergence_augmented", "kl"): ({"divergence": "kl"}, lambda w, mu: np.log(w)),
    ("divergence_augmented", "rkl"): ({"divergence": "rkl"}, lambda w, mu: 1.0 / w),
    ("divergence_augmented", "hellinger"): ({"divergence": "hellinger"}, lambda w, mu: w**-0.5),
    ("divergence_augmented", "inf"): ({"divergence": "inf"}, lambda w, mu: (w**-0.5 - 1.0) * mu**-0.5),
    ("divergence_augmented", "entropy"): ({"divergence": "entropy"}, lambda w, mu: np.log(w * mu)),
    ("awac", ""): ({"beta": 0.5}, lambda w, mu: np.log(w)),
    ("brac", ""): ({"beta": 0.5}, lambda w, mu: np.log(w)),
    ("cql", ""): ({"alpha": 2.0}, lambda w, mu: np.log(w * mu) + 2.0 * w),
    ("cql_reference", ""): ({"alpha": 0.8, "beta": 0.4}, lambda w, mu: np.log(w) + 2.0 * w),
}


@pytest.mark.parametrize("system", SHAPES)
def test_map_of_shapes(system: tuple[str, str]) -> None:
    behavior, reward = BANDITS[3]
    hyper, _ = SHAPES[system]
    policy = solved(behavior, reward, system[0], **hyper)
    fits = {other: straightness(bend(policy / behavior, behavior), reward) for other, (_, bend) in SHAPES.items()}
    assert fits[system] < 1e-12
    same = [other for other in SHAPES if fits[other] < 1e-6]
    exponential = [("divergence_augmented", "kl"), ("awac", ""), ("brac", "")]
    assert same == (exponential if system in exponential else [system])


def straightness(y: Array, x: Array) -> float:
    """Largest departure of y from a straight line in x, relative to its spread."""
    line = np.polynomial.Polynomial.fit(x, y, 1)
    return float(np.abs(line(x) - y).max() / np.ptp(y))
