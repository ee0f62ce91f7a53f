"""Clipped, capped and trust-region objectives against linear and cone programs, gradient flow and their limits."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.fixed_point.flow import flow_target
from pessimism.losses.registry import make_objective
from tests.flows import descend, maximize
from tests.helpers import Array, assert_policy, make_problem

BANDITS = [make_problem(seed, width) for seed, width in ((20, 2), (21, 3), (22, 5), (23, 8), (26, 12), (24, 33))]
TIED = (np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1.0, 0.0, 0.0]))
SETS: list[tuple[str, dict[str, float]]] = [
    ("ppo", {}),
    ("ppo", {"eps_low": 0.6, "eps_high": 0.1}),
    ("ppo", {"eps_high": 4.0}),
    ("ppo", {"eps_low": 10.0, "eps_high": 0.5}),
    ("dr_grpo", {}),
    ("dapo", {}),
    ("gspo", {}),
    ("grpo", {"beta": 0.0}),
]


def clipped_value(target: Any, w: Array) -> float:
    """E_q[min(w A, clip(w) A)] of ratios."""
    q, A, objective = target.behavior, target.advantage, target.objective
    held = np.clip(w, 1 - objective.eps_low, 1 + objective.eps_high)
    return float(q @ np.minimum(w * A, held * A))


def surrogate(objective: Any, w: Any, q: Array, A: Array) -> Any:
    """The same as a concave program."""
    up, down = A > 0, A < 0
    gained = cp.minimum(w[up], 1 + objective.eps_high)
    lost = cp.maximum(w[down], 1 - objective.eps_low)
    return cp.sum(cp.multiply((q * A)[up], gained)) + cp.sum(cp.multiply((q * A)[down], lost))


@pytest.mark.parametrize(("name", "hyper"), SETS)
@pytest.mark.parametrize("problem", [*range(5), "tied"])
def test_a_clipped_target_is_the_nearest_optimum(name: str, hyper: dict[str, float], problem: Any) -> None:
    """First the linear program, then the least KL(pi || mu) on its optimal face."""
    q, reward = TIED if problem == "tied" else BANDITS[problem]
    target = ps.induced_target(q, reward, name, **hyper)
    A, w = target.advantage, cp.Variable(len(q))
    simplex = [w >= 0, q @ w == 1]
    value = surrogate(target.objective, w, q, A)
    best = maximize(value, simplex)
    assert clipped_value(target, target.policy / q) == pytest.approx(best, abs=1e-7)
    nearest = cp.sum(cp.multiply(q, cp.kl_div(w, 1.0)))
    maximize(-nearest, [*simplex, value >= best - 1e-9])
    np.testing.assert_allclose(q * w.value, target.policy, atol=2e-4)
    kl = float(np.sum(target.policy[target.policy > 0] * np.log((target.policy / q)[target.policy > 0])))
    assert kl <= float(nearest.value) + 1e-5


@pytest.mark.parametrize(("name", "hyper"), [SETS[i] for i in (0, 1, 4, 5, 6, 7)])
def test_gradient_flow_ends_in_the_set(name: str, hyper: dict[str, float]) -> None:
    """The value of the surrogate where the flow stops is the optimum; the policy is any of the set."""
    for q, reward in BANDITS[2:3]:
        target = ps.induced_target(q, reward, name, **hyper)
        policy = descend(target.objective, q, reward)
        assert clipped_value(target, policy / q) == pytest.approx(clipped_value(target, target.policy / q), abs=1e-4)


def test_the_flow_of_the_library_fills_the_best_actions() -> None:
    """Without room for all better actions the optimum is one policy, and the flow's limit."""
    for q, reward in BANDITS[1:3]:
        target = ps.induced_target(q, reward, "ppo", eps_high=4.0)
        flow = flow_target(target.bandit, target.objective, target.advantage_rows)
        np.testing.assert_allclose(q * np.exp(flow.log_ratio[0]), target.policy, atol=1e-9)


def test_the_set_needs_room_for_the_better_actions() -> None:
    tight = ps.induced_target([0.3, 0.6, 0.1], [0.0, 1.0, 2.0], "ppo", eps_high=0.6)
    np.testing.assert_allclose(tight.policy, [0.0, 0.84, 0.16], atol=1e-15)
    assert (str(tight.status), str(tight.regime)) == ("vanishing_support", "positive")
    edge = ps.induced_target([0.5, 0.5], [0.0, 1.0], "ppo", eps_high=1.0)
    np.testing.assert_array_equal(edge.policy, [0.0, 1.0])
    roomy = ps.induced_target([0.3, 0.6, 0.1], [0.0, 1.0, 2.0], "ppo", eps_high=0.4)
    assert str(roomy.status) == "set_valued"
    np.testing.assert_allclose(roomy.policy, [0.02, 0.84, 0.14], atol=1e-15)
    lone = ps.induced_target([1.0], [0.3], "ppo")
    assert str(lone.status) == "converged"
    equal = ps.induced_target([0.2, 0.8], [1.0, 1.0], "ppo")
    assert str(equal.status) == "set_valued"
    np.testing.assert_array_equal(equal.policy, [0.2, 0.8])


@pytest.mark.parametrize("length", [1.0, 1.0 + 1e-9, 2.0, 700.0])
def test_gspo_clips_the_geometric_mean(length: float) -> None:
    q, reward = BANDITS[3]
    gspo = ps.induced_target(q, reward, "gspo", length=length)
    bounds = {"eps_low": -np.expm1(length * np.log1p(-3e-4)), "eps_high": np.expm1(length * np.log1p(4e-4))}
    assert length * np.log1p(4e-4) < -np.log(np.sum(q[reward > q @ reward]))
    np.testing.assert_allclose(gspo.policy, ps.induced_target(q, reward, "ppo", **bounds).policy, rtol=1e-9)


@pytest.mark.parametrize("length", [1.5, 3.0, 40.0])
@pytest.mark.parametrize("problem", range(5))
def test_gspo_without_room_shares_the_mass(length: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "gspo", length=length, eps_high=2.0)
    A = target.advantage
    up = A > 0
    if np.sum(q[up]) * 3.0**length <= 1:
        assert str(target.status) == "set_valued"
        return
    w = cp.Variable(int(up.sum()))
    value = cp.sum(cp.multiply((q * A)[up], cp.minimum(cp.power(w, 1.0 / length), 3.0)))
    maximize(value, [q[up] @ w == 1])
    np.testing.assert_allclose(target.policy[up], q[up] * w.value, atol=1e-5)
    assert_policy(target.policy, q)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


def penalized_value(target: Any, log_policies: Array) -> Array:
    """E_q[-loss] of log-policies ``(n, K)``."""
    q = target.behavior
    loss = target.objective.loss(log_policies - np.log(q), np.broadcast_to(target.advantage, log_policies.shape), None)
    return np.asarray(-np.sum(q * loss, axis=-1))


@pytest.mark.parametrize("beta", [0.04, 0.5, 3.0])
@pytest.mark.parametrize("seed", [31, 33, 35])
def test_grpo_with_a_positive_multiplier_is_the_best_policy(beta: float, seed: int) -> None:
    """Its surrogate is not concave, so all of the simplex is searched; with lam < 0 it is a stable point only."""
    q, reward = make_problem(seed, 4)
    reward = reward if np.sum(q[reward > q @ reward]) > 0.55 else -reward
    target = ps.induced_target(q, reward, "grpo", beta=beta)
    rng = np.random.default_rng(seed)
    anywhere = np.log(rng.dirichlet(np.full(4, 0.5), size=20000) + 1e-300)
    near = target.log_policy + 0.03 * rng.normal(size=(20000, 4))
    for log_policies in (anywhere, near):
        log_policies = log_policies - np.logaddexp.reduce(log_policies, axis=-1, keepdims=True)
        assert penalized_value(target, target.log_policy[None])[0] >= penalized_value(target, log_policies).max()


def test_grpo_with_a_negative_multiplier_is_stable_but_a_rare_action_would_pay() -> None:
    """Mass on an action that old samples hardly contain costs their k3 next to nothing."""
    q, reward = np.array([1e-4, 0.2999, 0.7]), np.array([1.0, 1.0, 0.0])
    target = ps.induced_target(q, reward, "grpo", beta=0.5)
    assert str(target.status) == "converged"
    assert float(q @ target.objective.score_weight(target.log_ratio + 1e-6, target.advantage)) < 0
    np.testing.assert_allclose(descend(target.objective, q, reward), target.policy, atol=1e-4)
    dumped = np.array([0.08012, 0.35988, 0.56])  # every surrogate at its best, the surplus on the rare action
    assert penalized_value(target, np.log(dumped)[None])[0] > penalized_value(target, target.log_policy[None])[0]


@pytest.mark.parametrize("hyper", [{"beta": 1.5}, {"beta": 3.0, "eps_high": 0.9}, {"beta": 2.0, "eps_low": 10.0}])
@pytest.mark.parametrize("around", ["behavior", "initial"])
def test_grpo_is_where_gradient_flow_ends(hyper: dict[str, float], around: str) -> None:
    for reward in (np.array([0.4, 0.0, 1.0, -0.3]), np.array([0.0, 0.1, 2.0, 1.0])):
        q = np.array([0.2, 0.3, 0.25, 0.25])
        reference = None if around == "behavior" else np.array([0.3, 0.3, 0.2, 0.2])
        target = ps.induced_target(q, reward, "grpo", reference=reference, **hyper)
        assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
        policy = descend(target.objective, q, reward, reference=reference)
        np.testing.assert_allclose(policy, target.policy, atol=1e-4)


def test_grpo_on_its_stable_branch_is_the_flow_of_the_library() -> None:
    """Every row that the closed form answers, to rounding."""
    for seed in range(3):
        q, reward = make_problem(50 + seed, 5)
        closed = ps.induced_target(q, reward, "grpo", beta=0.7)
        flow = flow_target(closed.bandit, closed.objective, closed.advantage_rows)  # type: ignore[arg-type]
        np.testing.assert_allclose(closed.log_ratio, flow.log_ratio[0], rtol=1e-10, atol=1e-12)


def test_grpo_off_its_stable_branch_is_the_flow() -> None:
    """One better action in ten: it must hold 0.28 once the others are at the clip, 2.8 times its reference."""
    target = ps.induced_target([0.9, 0.1], [0.0, 1.0], "grpo")
    np.testing.assert_allclose(target.policy, [0.72, 0.28], rtol=1e-12)
    with pytest.raises(ValueError, match="^method: objective grpo.* has no closed form at reward$"):
        ps.induced_target([0.9, 0.1], [0.0, 1.0], "grpo", method="closed_form")


def test_of_equal_better_completions_one_takes_what_grpo_frees() -> None:
    """Two right in sixteen would have to hold 2.4 times their reference each, where k3 is concave: a saddle."""
    reward = np.zeros(16)
    reward[[3, 7]] = 1.0
    target = ps.induced_target(None, reward, "grpo")
    assert str(target.status) == "local_minimum"
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    ratio = target.policy * 16
    assert ratio[3] > 2.0 > ratio[7] > 1.2
    np.testing.assert_allclose(np.delete(ratio, [3, 7]), 0.8, rtol=1e-12)
    start = np.full(16, 1 / 16) + 1e-4 * (np.arange(16) == 7)
    other = ps.gradient_flow(np.full(16, 1 / 16), reward, "grpo", start=start / start.sum())
    np.testing.assert_allclose(np.sort(other.policy), np.sort(target.policy), rtol=1e-9)
    assert other.policy[7] > other.policy[3]
    exact = ps.gradient_flow(np.full(16, 1 / 16), reward, "grpo")
    assert (exact.status, exact.message.split(",")[0]) == ("not_converged", "rests on a saddle")
    np.testing.assert_allclose(exact.policy[[3, 7]], 2.4 / 16, rtol=1e-9)


@pytest.mark.parametrize("gap", [1e-15, 1e-12, 1e-8, 1e-6])
def test_next_to_nothing_decides_between_nearly_equal_completions(gap: float) -> None:
    target = ps.induced_target(None, [1.0, 1.0 + gap, *[0.0] * 14], "grpo")
    ratio = target.policy * 16
    assert ratio[1] > 3.0 > ratio[0] > 1.2
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize(("right", "width"), [(3, 16), (2, 12)])  # (2, 12): the ratio is 2, where k3 turns
def test_equal_completions_that_a_difference_does_not_part_stay_equal(right: int, width: int) -> None:
    target = ps.induced_target(None, [1.0] * right + [0.0] * (width - right), "grpo")
    assert str(target.status) == "converged"
    np.testing.assert_allclose(target.policy[:right], (1.0 - 0.8 * (width - right) / width) / right, rtol=1e-12)


@pytest.mark.parametrize("width", [2, 3, 8, 16])
def test_where_nothing_pulls_the_flow_stays(width: int) -> None:
    hyper: dict[str, Any] = {"beta": 0.1, "estimator": "k3", "placement": "reward"}
    target = ps.induced_target(None, [1.0] * width, "kl_regularized", **hyper)
    assert str(target.status) == "converged"
    np.testing.assert_allclose(target.policy, 1.0 / width, rtol=1e-14)


def with_an_unseen_action(target: Any, share: float) -> Array:
    """Policy ``(K + 1,)`` where gradient ascent ends from a reference with one more action that no sample shows."""
    q, A = target.behavior, target.advantage
    logits = np.log(np.append((1 - share) * q, share))
    for size in np.geomspace(0.9, 3e-5, 12) / target.objective.beta:
        for _ in range(1500):
            policy = np.exp(logits - np.logaddexp.reduce(logits))
            pull = np.append(q * target.objective.score_weight(np.log(policy[:-1] / q), A, None), 0.0)
            logits = logits + size * (pull - policy * pull.sum())
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits)))


@pytest.mark.parametrize(
    "objective",
    [
        ps.GRPO(beta=0.3),
        ps.GRPO(beta=2.0, eps_low=0.4),
        ps.KLRegularized(beta=0.5, estimator="k3", placement="loss", sampling="off_policy"),
    ],
    ids=str,
)
@pytest.mark.parametrize("reward", [(1.0, 0.0, 0.0, 0.0), (1.0, 0.9, 0.0, -2.0), (0.2, 0.2, 0.3, 0.25)])
def test_mass_that_a_penalty_in_the_loss_frees_leaks_to_unseen_actions(objective: Any, reward: Any) -> None:
    q = np.array([0.3, 0.2, 0.4, 0.1])
    target = ps.induced_target(q, reward, objective, unseen=True)
    kept = ps.induced_target(q, reward, objective)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    np.testing.assert_allclose(target.policy.sum() + target.leak, 1.0, rtol=1e-13)
    # Its mass moves at a rate of lam times its square: where it must vanish it starts almost there.
    policy = with_an_unseen_action(target, 0.05 if target.leak > 0 else 1e-4)
    np.testing.assert_allclose(policy[:-1], target.policy, atol=2e-3)
    assert policy[-1] == pytest.approx(float(target.leak), abs=2e-3)
    assert (float(target.leak) > 1e-3) == (float(kept.multiplier) < -1e-6)
    if target.leak > 0:
        assert str(target.regime) == "negative"


def test_grpo_between_its_limits() -> None:
    q, reward = BANDITS[2]
    ppo = ps.induced_target(q, reward, "ppo", eps_low=0.3, eps_high=0.3)
    weak = ps.induced_target(q, reward, "grpo", beta=1e-7, eps_low=0.3, eps_high=0.3)
    assert clipped_value(ppo, weak.policy / q) == pytest.approx(clipped_value(ppo, ppo.policy / q), abs=1e-5)
    strong = ps.induced_target(q, reward, "grpo", beta=1e6)
    np.testing.assert_allclose(1e6 * strong.log_ratio, strong.advantage, rtol=1e-4)


@pytest.mark.parametrize("name", ["grpo", "kl_regularized"])
def test_two_ratios_in_one_loss(name: str) -> None:
    """Autograd of the loss with a share is minus the score weight with it."""
    objective: Any = make_objective(name, beta=0.4) if name == "grpo" else None
    if name == "kl_regularized":
        objective = make_objective(name, placement="loss", estimator="k3", sampling="off_policy")
    rng = np.random.default_rng(5)
    u, share, A = (torch.tensor(0.5 * rng.normal(size=(6, 5))) for _ in range(3))
    u.requires_grad_()
    (gradient,) = torch.autograd.grad(objective.loss(u, A, None, log_share=share).sum(), u)
    g = objective.score_weight(u.detach(), A, None, log_share=share)
    np.testing.assert_allclose(gradient.numpy(), -g.numpy(), rtol=1e-12, atol=1e-12)
    assert not np.allclose(g.numpy(), objective.score_weight(u.detach(), A, None).numpy())


@pytest.mark.parametrize("cap", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("problem", range(6))
def test_cispo_maximizes_a_concave_surrogate(cap: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "cispo", cap=cap)
    A = target.advantage
    up = A > 0
    below, beyond = cp.Variable(int(up.sum()), nonneg=True), cp.Variable(int(up.sum()), nonneg=True)
    value = cp.sum(cp.multiply((q * A)[up], below + cap * cp.log(1 + beyond / cap)))
    maximize(value, [below <= cap, q[up] @ (below + beyond) == 1])
    np.testing.assert_allclose(target.policy[up], q[up] * (below.value + beyond.value), atol=2e-5)
    assert np.all(target.policy[~up] == 0)


def test_cispo_is_where_gradient_flow_ends() -> None:
    for (q, reward), cap in ((BANDITS[1], 0.7), (BANDITS[2], 1.5)):
        target = ps.induced_target(q, reward, "cispo", cap=cap)
        np.testing.assert_allclose(descend(target.objective, q, reward, time=1e8), target.policy, atol=1e-4)


def test_cispo_between_its_limits() -> None:
    q, reward = BANDITS[4]
    positive = np.maximum(reward - q @ reward, 0.0)
    loose = ps.induced_target(q, reward, "cispo", cap=1e-9)
    np.testing.assert_allclose(loose.policy, q * positive / (q @ positive), atol=1e-15)
    assert ps.induced_target(q, reward, "cispo", cap=1e9).policy[np.argmax(reward)] >= 1 - 1e-15
    tied = ps.induced_target(*TIED, "cispo", cap=1e9)
    np.testing.assert_allclose(tied.policy, [1 / 3, 2 / 3, 0, 0], rtol=1e-15)
    assert str(tied.status) == "set_valued"


@pytest.mark.parametrize("delta", [1e-6, 0.01, 0.5, 20.0])
@pytest.mark.parametrize("problem", range(6))
def test_trpo_uses_up_its_region(delta: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "trpo", delta=delta)
    divergence = -float(np.sum(q * target.log_ratio))
    assert divergence == pytest.approx(delta, rel=1e-6 if delta < 1e-4 else 1e-11)
    if delta in (0.01, 0.5) and len(q) < 13:
        w = cp.Variable(len(q))
        region = [q @ w == 1, -cp.sum(cp.multiply(q, cp.log(w))) <= delta]
        maximize((q * reward) @ w, region)
        np.testing.assert_allclose(q * w.value, target.policy, atol=1e-5)


def test_trpo_is_where_gradient_flow_ends() -> None:
    for q, reward in BANDITS[:3]:
        target = ps.induced_target(q, reward, "trpo", delta=0.2)
        eta = torch.tensor(target.objective.multiplier(target.advantage, q))
        lagrangian = SimpleNamespace(
            advantage=target.objective.advantage,
            loss=lambda u, A, _, eta=eta: -u.exp() * A - eta * u,
            on_policy=False,
            takes_share=False,
            kinks=(),
        )
        np.testing.assert_allclose(descend(lagrangian, q, reward), target.policy, atol=1e-6)


def test_trpo_between_its_limits() -> None:
    q, reward = BANDITS[2]
    gap = reward - q @ reward
    small = ps.induced_target(q, reward, "trpo", delta=1e-8)
    np.testing.assert_allclose(small.log_ratio, 2**0.5 * 1e-4 * gap / np.sqrt(q @ gap**2), atol=1e-7)
    large = ps.induced_target(q, reward, "trpo", delta=400.0)
    assert large.policy[np.argmax(reward)] > 1 - 1e-12
    assert np.all(np.isfinite(large.log_ratio))
    equal = ps.induced_target([0.2, 0.8], [1.0, 1.0], "trpo")
    assert str(equal.status) == "set_valued"
    np.testing.assert_allclose(equal.policy, [0.2, 0.8], rtol=1e-15)


def test_the_multiplier_of_the_region_has_a_derivative() -> None:
    objective = ps.objectives()["trpo"](delta=0.1)  # type: ignore[call-arg]
    A = torch.tensor(np.random.default_rng(1).normal(size=(2, 4)), requires_grad=True)
    weights = torch.tensor(np.random.default_rng(2).dirichlet(np.ones(4), size=2))
    assert torch.autograd.gradcheck(lambda a: objective.multiplier(a, weights), (A,))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("ppo", {"eps_low": 0.0}, "ppo: eps_low must be > 0, got 0.0"),
        ("dr_grpo", {"eps_high": float("nan")}, "dr_grpo: eps_high must be a finite number, got nan"),
        ("dapo", {"eps": -1.0}, "dapo: eps must be > 0, got -1.0"),
        ("grpo", {"beta": -0.1}, "grpo: beta must be >= 0, got -0.1"),
        ("gspo", {"length": 0.5}, "gspo: length must be >= 1, got 0.5"),
        ("cispo", {"cap": 0.0}, "cispo: cap must be > 0, got 0.0"),
        ("trpo", {"delta": 0}, "trpo: delta must be > 0, got 0"),
        ("kl_regularized", {"estimator": "k4"}, 'kl_regularized: estimator must be "k1", "k2" or "k3", got \'k4\''),
        ("kl_regularized", {"placement": 1}, 'kl_regularized: placement must be "reward" or "loss", got 1'),
        ("luffy", {"expert_share": 1.0}, "luffy: expert_share must be < 1, got 1.0"),
        ("luffy", {"gamma": 0.0}, "luffy: gamma must be > 0, got 0.0"),
        ("chord", {"mu": 1.5}, "chord: mu must be < 1, got 1.5"),
        ("chord", {"phi": "yes"}, "chord: phi must be True or False, got 'yes'"),
    ],
)
def test_bad_hyper_parameters(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_objective(name, **hyper)
