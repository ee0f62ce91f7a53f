"""Systems on logged data: closed forms against optimizers of the published estimators, gradient flow and limits."""

from __future__ import annotations

import math
import warnings
from typing import Any

import array_api_strict
import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy import optimize

import pessimism as ps
from tests.flows import flow_to_rest
from tests.helpers import Array, assert_log_policies_agree, make_problem, total_variation

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ips": [{"beta": 0.2}],
    "weight_clipping": [{"cap": 1.2, "beta": 0.2}, {"cap": 2.0, "beta": 0.02}, {"cap": 0.7, "beta": 0.2}],
    "propensity_clipping": [{"tau": 0.3, "beta": 0.2}, {"beta": 0.2}],
    "implicit_exploration": [{"gamma": 0.1, "beta": 0.2}],
    "exponential_smoothing": [{"alpha": 0.4, "beta": 0.2}, {"beta": 0.2}],
    "log_smoothing": [{"lam": 0.5}, {"lam": 50.0}],
    "log_smoothing_linear": [{"lam": 0.5, "beta": 0.2}],
    "power_mean": [{"l": 0.3}, {"l": 0.9}],
    "chi2": [{"beta": 0.1}, {"beta": 3.0}],
    "pevi": [{"n": 60, "delta": 0.1}],
    "pevi_kl": [{"n": 60, "delta": 0.1, "beta": 0.2}],
    "empirical_likelihood_lcb": [{"n": 2, "z": 1.96}, {"n": 30, "z": 1.0}, {"n": 1000, "z": 1.96}],
}
EVERY = [(name, hyper) for name, settings in SETTINGS.items() for hyper in settings]
GOLDEN = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])  # of the literature's tables


def unit_problem(seed: int, width: int) -> tuple[Array, Array]:
    """A behavior and mean rewards in (0, 1)."""
    behavior, reward = make_problem(seed, width)
    return behavior, 1.0 / (1.0 + np.exp(-1.5 * reward))


def outcomes(reward: Array, moment: Array) -> list[tuple[Array, Array]]:
    """The two values of each action's reward, with their probabilities."""
    size = moment / reward
    return [(reward / size, size), (1 - reward / size, np.zeros_like(size))]


def published(name: str, h: dict[str, Any], q: Array, r: Array, m: Array, pi: cp.Variable) -> Any:
    """What the system maximizes, as an expectation over logged actions and rewards, in the published estimator."""
    w, width = cp.multiply(pi, 1 / q), len(q)
    rounds = outcomes(r, m)
    penalty = h.get("beta", 0.0) * cp.sum(cp.kl_div(pi, q))
    gamma = np.sqrt(np.log(2 * width / h.get("delta", 1.0)) / (2 * h.get("n", 1.0) * q))
    linear = {
        "ips": lambda reward: reward / q,
        "propensity_clipping": lambda reward: reward / np.maximum(q, h.get("tau", 1 / width)),
        "implicit_exploration": lambda reward: reward / (q + h["gamma"]),
        "exponential_smoothing": lambda reward: reward / q ** h.get("alpha", 1 - 1 / width),
        "log_smoothing_linear": lambda reward: np.log(1 + h["lam"] * reward / q) / h["lam"],
    }
    if name in linear:
        return sum(cp.sum(cp.multiply(q * chance * linear[name](reward), pi)) for chance, reward in rounds) - penalty
    if name == "weight_clipping":
        return cp.sum(cp.multiply(q * r, cp.minimum(w, h["cap"]))) - penalty
    if name == "log_smoothing":
        logs = (cp.multiply(q * chance, cp.log(1 + h["lam"] * cp.multiply(w, reward))) for chance, reward in rounds)
        return sum(cp.sum(x) for x in logs) / h["lam"]
    if name == "power_mean":  # w / ((1 - l) + l w) = (1 - (1 - l) / ((1 - l) + l w)) / l
        rest = 1 - h["l"]
        return cp.sum(cp.multiply(q * r, 1 - rest * cp.inv_pos(rest + h["l"] * w))) / h["l"]
    if name == "chi2":
        return r @ pi - 0.5 * h["beta"] * cp.sum(cp.multiply(q, cp.square(w - 1)))
    if name in ("pevi", "pevi_kl"):
        return (r - gamma) @ pi - penalty
    value = r @ pi
    parts = [cp.multiply(np.sqrt(q * chance), cp.multiply(w, reward) - value) for chance, reward in rounds]
    return value - h["z"] / np.sqrt(h["n"]) * cp.norm(cp.hstack(parts))


def assert_optimal(policy: Array, name: str, h: dict[str, Any], q: Array, r: Array, m: Array | None = None) -> None:
    """No policy of a cone program has a larger value, and its argument, known to half the digits, is the same."""
    pi = cp.Variable(len(q), nonneg=True)
    value = published(name, h, q, r, r if m is None else m, pi)
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")  # it asks for the last digits
        cp.Problem(cp.Maximize(value), [cp.sum(pi) == 1]).solve(solver=cp.CLARABEL, **tolerances)
    assert total_variation(pi.value, policy) <= 1e-5
    pi.value = np.maximum(pi.value, 0.0) / np.maximum(pi.value, 0.0).sum()
    largest = float(value.value)
    pi.value = np.asarray(policy)
    assert float(value.value) >= largest - 1e-12


@pytest.mark.parametrize(("name", "hyper"), EVERY)
@pytest.mark.parametrize("width", [2, 6])
def test_the_target_maximizes_the_published_estimator(name: str, hyper: dict[str, Any], width: int) -> None:
    behavior, reward = unit_problem(30 + width, width)
    target = ps.induced_target(behavior, reward, name, **hyper)
    assert_optimal(target.policy, name, hyper, behavior, reward)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("log_smoothing", {"lam": 50.0}),
        ("log_smoothing_linear", {"lam": 0.5, "beta": 0.2}),
        ("empirical_likelihood_lcb", {"n": 2, "z": 1.96}),
        ("empirical_likelihood_lcb", {"n": 30, "z": 1.0}),
    ],
)
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_second_moments_enter(name: str, hyper: dict[str, Any], noise: float) -> None:
    behavior, reward = unit_problem(3, 5)
    rng = np.random.default_rng(7)
    moment = reward**2 + noise * rng.random(5) * (reward - reward**2)
    target = ps.induced_target(behavior, reward, name, **hyper, second_moment=tuple(moment))
    assert_optimal(target.policy, name, hyper, behavior, reward, moment)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11
    bernoulli = ps.induced_target(behavior, reward, name, **hyper)
    same = ps.induced_target(behavior, reward, name, **hyper, second_moment=list(reward))
    assert_log_policies_agree(same.log_policy, bernoulli.log_policy)
    assert total_variation(bernoulli.policy, target.policy) > 1e-3


def by_supports(behavior: Array, reward: Array, moment: Array, k: float) -> Array:
    """Policy of the largest v - k S: S = s at the optimum of v - k S^2 / (2 s), a quadratic program on each support."""

    def best(s: float) -> Array:
        found, value = np.zeros_like(reward), -np.inf
        for bits in range(1, 2 ** len(reward)):
            on = np.array([bool(bits >> i & 1) for i in range(len(reward))])
            curve = np.diag(moment / behavior) - np.outer(reward, reward)
            system = np.ones((on.sum() + 1, on.sum() + 1))
            system[:-1, :-1], system[-1, -1] = k / s * curve[np.ix_(on, on)], 0.0
            part = np.linalg.solve(system, np.append(reward[on], 1.0))[:-1]
            score = reward[on] @ part - 0.5 * k / s * part @ curve[np.ix_(on, on)] @ part
            if np.all(part >= 0) and score > value:
                found, value = np.where(on, 0.0, 0.0), score
                found[on] = part
        return found

    def gap(s: float) -> float:
        pi = best(s)
        return math.sqrt(np.sum(pi**2 * moment / behavior) - (pi @ reward) ** 2) - s

    return best(optimize.brentq(gap, 1e-3, 1e2, xtol=1e-14))


@pytest.mark.parametrize("n", [1, 5, 20, 50, 200])
@pytest.mark.parametrize("seed", range(3))
def test_the_lower_bound_by_quadratic_programs(n: int, seed: int) -> None:
    behavior, reward = unit_problem(20 + seed, 4)
    moment = reward**2 + (1 - 0.3 * seed) * (reward - reward**2)
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=n, second_moment=tuple(moment))
    expected = by_supports(behavior, reward, moment, 1.96 / math.sqrt(n))
    np.testing.assert_allclose(target.policy, expected, atol=1e-9)


@pytest.mark.parametrize(("name", "hyper"), [e for e in EVERY if "cap" not in e[1]])  # LSODA stalls on jumps
def test_gradient_ascent_leads_from_the_behavior_to_the_target(name: str, hyper: dict[str, Any]) -> None:
    behavior, reward = unit_problem(5, 4)
    objective = ps.objectives()[name](**hyper)
    target = ps.induced_target(behavior, reward, objective)
    log_q = np.log(behavior)

    def weight(u: Array) -> Array:
        return np.asarray(objective.score_weight(u, target.advantage, behavior))

    followed, _ = flow_to_rest(behavior, log_q, weight, log_q, tolerance=1e-9)
    assert total_variation(np.exp(followed), target.policy) <= 1e-4


def test_gradient_ascent_with_clipped_weights_slides_along_the_cap() -> None:
    behavior, reward = unit_problem(5, 4)
    objective = ps.objectives()["weight_clipping"](cap=1.2, beta=0.2)
    target = ps.induced_target(behavior, reward, objective)
    logits = np.log(behavior)
    for step in range(6000):
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        pull = behavior * objective.score_weight(np.log(policy / behavior), reward, behavior)
        logits = logits + 300.0 / (100.0 + step) * (pull - policy * pull.sum())
    assert np.isclose(np.max(target.log_ratio), np.log(1.2), atol=1e-14)
    assert total_variation(policy, target.policy) <= 2e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_the_coupled_route_finds_the_lower_bound(seed: int, width: int) -> None:
    behavior, reward = make_problem(60 + seed, width)
    reward = 0.45 + 0.1 * np.tanh(reward)
    closed = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2)
    generic = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2, method="fixed_point")
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)
    np.testing.assert_allclose(generic.multiplier, closed.multiplier, rtol=1e-9)


@pytest.mark.parametrize("name", ["log_smoothing", "empirical_likelihood_lcb"])
def test_the_coupled_route_takes_second_moments(name: str) -> None:
    behavior, reward = GOLDEN
    hyper = {"lam": 40.0} if name == "log_smoothing" else {"n": 2}
    moments = (0.1, 0.3, 0.4, 0.7)
    closed = ps.induced_target(behavior, reward, name, **hyper, second_moment=moments)
    generic = ps.induced_target(behavior, reward, name, **hyper, second_moment=moments, method="fixed_point")
    assert closed.status == generic.status == "converged"
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)


def test_tables_of_the_literature() -> None:
    """Four lower-bound policies and one pessimism factor that were computed elsewhere, to their three digits."""
    expected = {
        5: [0.412, 0.297, 0.195, 0.097],
        20: [0.187, 0.363, 0.292, 0.158],
        50: [0.0, 0.343, 0.408, 0.249],
        200: [0.0, 0.0, 0.522, 0.478],
    }
    for n, policy in expected.items():
        found = ps.induced_target(*GOLDEN, "empirical_likelihood_lcb", n=n).policy
        np.testing.assert_allclose(found, policy, atol=6e-4, err_msg=str(n))
    twin = ps.induced_target(*GOLDEN, "pevi_kl", n=200, beta=0.25).conservatism()
    assert twin["pessimism_factor"].iloc[0] == pytest.approx(1.41, abs=5e-3)


@pytest.mark.parametrize("n", [0.5, 2, 10, 100, 1e5])
def test_the_multiplier_is_the_lower_bound(n: float) -> None:
    behavior, reward = unit_problem(8, 6)
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=n)
    pi, value = target.policy, target.policy @ reward
    spread = math.sqrt(np.sum(pi**2 * reward / behavior) - value**2)
    assert float(target.multiplier) == pytest.approx(value - 1.96 / math.sqrt(n) * spread, abs=1e-12)
    loss = target.objective.loss(target.log_ratio, target.advantage, behavior)  # type: ignore[union-attr]
    assert behavior @ loss == pytest.approx(-float(target.multiplier), abs=1e-12)


@pytest.mark.parametrize(("name", "hyper"), EVERY)
def test_the_loss_is_the_negative_of_the_estimator(name: str, hyper: dict[str, Any]) -> None:
    """E_mu[loss] = - published objective, at any policy: the loss is not only right in its gradient."""
    behavior, reward = unit_problem(2, 5)
    other = np.random.default_rng(1).dirichlet(np.ones(5))
    pi = cp.Variable(5)
    pi.value = other
    objective = ps.objectives()[name](**hyper)
    advantage = objective.advantage(reward, behavior)
    found = behavior @ objective.loss(np.log(other / behavior), advantage, behavior)
    assert found == pytest.approx(
        -float(published(name, hyper, behavior, reward, reward, pi).value), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("name", ["log_smoothing", "log_smoothing_linear", "empirical_likelihood_lcb"])
@pytest.mark.parametrize("sampled", [False, True])
def test_methods_with_second_moments(name: str, sampled: bool) -> None:
    rng = np.random.default_rng(3)
    u, reward, weights = rng.normal(size=(4, 5)), rng.random((4, 5)), rng.dirichlet(np.ones(5), size=4)
    objective = ps.objectives()[name](second_moment=tuple(np.linspace(1.0, 1.4, 5)))
    given = None if sampled else weights
    advantage = objective.advantage(reward, given)
    for library in (torch, array_api_strict):
        v, r, w = (library.asarray(a) for a in (u, reward, weights))
        w = None if sampled else w
        for method in ("score_weight", "loss"):
            found = getattr(objective, method)(v, objective.advantage(r, w), w)
            np.testing.assert_allclose(np.asarray(found), getattr(objective, method)(u, advantage, given), rtol=1e-12)
    v = torch.tensor(u, requires_grad=True)
    shares = torch.full((4, 5), 0.2, dtype=torch.float64) if sampled else torch.tensor(weights)
    loss = objective.loss(v, torch.tensor(advantage), None if sampled else shares)
    (gradient,) = torch.autograd.grad((shares * loss).sum(), v)
    np.testing.assert_allclose(-gradient / shares, objective.score_weight(u, advantage, given), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "hyper"), [*EVERY, ("log_smoothing", {"lam": 30.0, "second_moment": (0.1, 0.3, 0.4, 0.7)})]
)
def test_gradients_in_the_reward(name: str, hyper: dict[str, Any]) -> None:
    behavior, reward = (torch.tensor(a) for a in GOLDEN)
    if name == "empirical_likelihood_lcb":  # coupled: where every action keeps some mass
        hyper = hyper | {"n": min(hyper["n"], 5)}
    reward.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r: ps.induced_target(behavior, r, name, **hyper).policy, (reward,), eps=1e-7, atol=1e-5, rtol=1e-5
    )
