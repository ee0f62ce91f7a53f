"""Quantiles, standardized groups, REINFORCE and its relatives against optimizers, gradient flow and their limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from scipy.integrate import solve_ivp

import pessimism as ps
from pessimism.fixed_point.score import data_weight
from pessimism.losses.registry import make_objective
from tests.flows import logit_field
from tests.helpers import Array, assert_log_policies_agree, make_problem


def minimized(loss: Callable[[Array], float], nu: Array) -> Array:
    """Policy of least loss, a function of log-probabilities, from a start away from ``nu``."""

    def of_logits(x: Array) -> float:
        return loss(x - np.logaddexp.reduce(x))

    start = np.log(nu) + 0.3 * np.random.default_rng(3).normal(size=len(nu))
    x = optimize.minimize(of_logits, start, method="BFGS", options={"gtol": 1e-8}).x
    return np.asarray(np.exp(x - np.logaddexp.reduce(x)))


def flow(objective: Any, q: Array, reward: Array, nu: Array, time: float) -> Array:
    """Policy that gradient flow on softmax logits has reached from the reference."""
    advantage = objective.advantage(reward, nu if getattr(objective, "baseline_under_reference", False) else q)
    run = solve_ivp(
        lambda _, x: logit_field(
            q, np.log(nu), lambda u: data_weight(objective, u, advantage, q, np.log(nu) - np.log(q)), x
        ),
        (0.0, time),
        np.log(nu),
        method="LSODA",
        rtol=1e-8,
        atol=1e-10,
    )
    x = run.y[:, -1]
    return np.asarray(np.exp(x - np.logaddexp.reduce(x)))


def standardized(q: Array, reward: Array) -> Array:
    mean = sum(q * reward)
    return (reward - mean) / np.sqrt(sum(q * (reward - mean) ** 2))


def quantile(nu: Array, reward: Array) -> Array:
    return np.array([sum(p for p, other in zip(nu, reward, strict=True) if other <= r) for r in reward])


# Published population losses, as functions of log-probabilities, written without the package.
def loss_of(label: str, q: Array, nu: Array, reward: Array) -> Callable[[Array], float]:
    u = lambda log_pi: log_pi - np.log(nu)  # noqa: E731
    if label == "qrpo":
        target = np.log(quantile(nu, reward)) - 0.3 * np.log(0.3 / 1.3)
        return lambda log_pi: float(q @ (target - 0.3 * u(log_pi)) ** 2)
    if label == "qrpo-identity":
        target = quantile(nu, reward) - 0.3 * np.log(0.3 * (np.exp(1 / 0.3) - 1.0))
        return lambda log_pi: float(q @ (target - 0.3 * u(log_pi)) ** 2)
    if label == "apa":
        return lambda log_pi: float(q @ (u(log_pi) - standardized(q, reward) / 0.9) ** 2)
    if label == "tpo":
        tilted = q * np.exp(standardized(q, reward) / 0.7)
        return lambda log_pi: float(-(tilted / tilted.sum()) @ log_pi)
    if label == "rloo":
        return lambda log_pi: float(-np.exp(log_pi) @ (reward - 0.4 * u(log_pi)))
    if label == "roirl":
        return lambda log_pi: float(-(q * (reward + 3.0)) @ log_pi)
    if label == "roirl-exponential":
        return lambda log_pi: float(-(q * np.exp(reward / 0.6)) @ log_pi)
    raise KeyError(label)


SETTINGS: dict[str, dict[str, Any]] = {
    "qrpo": {"beta": 0.3},
    "qrpo-identity": {"beta": 0.3, "transform": "identity"},
    "apa": {"beta": 0.9, "eps": 1e-14},
    "tpo": {"beta": 0.7},
    "rloo": {"beta": 0.4},
    "roirl": {},
    "roirl-exponential": {"weight": "exponential", "beta": 0.6},
}


@pytest.mark.parametrize("label", SETTINGS)
@pytest.mark.parametrize("width", [2, 4, 6])
@pytest.mark.parametrize("own_reference", [False, True])
def test_routes_to_the_target(label: str, width: int, own_reference: bool) -> None:
    """Published loss minimized, gradient flow and the generic fixed point against the closed form."""
    q, reward = make_problem(80 + width, width)
    objective = make_objective(label.split("-")[0], **SETTINGS[label])
    nu = make_problem(90, width)[0] if own_reference else q
    if own_reference and not objective.takes_reference:
        with pytest.raises(ValueError, match=r"^reference: objective .* has no log-ratio to another reference"):
            ps.induced_target(q, reward, objective, reference=nu)
        return
    given = reward + 3.0 if label == "roirl" else reward
    options = {"reference": nu} if own_reference else {}
    target = ps.induced_target(q, given, objective, **options)
    np.testing.assert_allclose(minimized(loss_of(label, q, nu, reward), nu), target.policy, atol=2e-6)
    np.testing.assert_allclose(flow(objective, q, given, nu, 1e4), target.policy, atol=1e-4)
    generic = ps.induced_target(q, given, objective, method="fixed_point", **options)
    assert_log_policies_agree(generic.log_policy, target.log_policy, tolerance=1e-9)


def test_quantiles_are_those_of_the_reference() -> None:
    q, nu, reward = np.array([0.2, 0.0, 0.8]), np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.1, 0.4])
    found = ps.induced_target(q, reward, "qrpo", beta=0.5, transform="identity", reference=nu).advantage
    log_z = np.log(0.5 * (np.exp(2.0) - 1.0))
    np.testing.assert_allclose(found, np.array([1.0, 0.3, 1.0]) - 0.5 * log_z, rtol=1e-14)
    grouped = make_objective("qrpo", beta=0.5).advantage(np.array([3.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(grouped, np.log([1.0, 0.25, 0.75, 0.75]) - 0.5 * np.log(0.5 / 1.5), rtol=1e-14)
    # A reward below all of the reference's has no quantile: the lowest one instead of a logarithm of 0.
    lowest = make_objective("qrpo").advantage(np.array([1.0, 0.0, 2.0]), np.array([0.25, 0.0, 0.75]))
    assert lowest[1] == lowest[0]


@pytest.mark.parametrize("transform", ["log", "identity"])
def test_the_partition_of_a_uniform_quantile_is_exact(transform: Any) -> None:
    for beta in (1e-4, 0.003, 0.3, 0.999, 1.001, 50.0):
        objective = make_objective("qrpo", beta=beta, transform=transform)
        # In logarithms, the quantile 1 factored out: the integral is over exp((R(q) - R(1))/beta).
        reach = min(1.0, 60.0 * beta)
        edges = np.linspace(1.0 - reach, 1.0, 20001) if transform == "identity" else np.linspace(0.0, 1.0, 200001)
        middle = (edges[1:] + edges[:-1]) / 2
        tilt = np.exp((middle - 1.0) / beta) if transform == "identity" else middle ** (1.0 / beta)
        expected = np.log(np.mean(tilt) * (reach if transform == "identity" else 1.0))
        expected += 1.0 / beta if transform == "identity" else 0.0
        assert objective.log_partition == pytest.approx(expected, rel=1e-4)


def test_frequent_values_make_a_quantile_target_conservative() -> None:
    # No value frequent beside beta: nominal in the quantile, kappa = O(1/(K beta)).
    kappas = []
    for width in (100, 1000):
        target = ps.induced_target(np.full(width, 1 / width), np.arange(width), "qrpo", beta=0.1)
        terms = np.log(quantile(np.full(width, 1 / width), np.arange(width))) / 0.1
        nominal = np.exp(terms - np.logaddexp.reduce(terms))
        assert 0.5 * np.abs(target.policy - nominal).sum() < 3.0 / width
        kappas.append(float(target.kappa))
    assert 8 < kappas[0] / kappas[1] < 12
    assert kappas[1] < 0.01
    # Binary rewards at the published beta: kappa = m log(m/beta), m the pass rate.
    for rate in (0.1, 0.5, 0.9):
        target = ps.induced_target([1 - rate, rate], [0.0, 1.0], "qrpo")
        assert float(target.kappa) == pytest.approx(rate * np.log(rate * (1 + 1 / 0.003)), rel=1e-9)
        assert target.regime == "positive"


def test_standardized_advantages() -> None:
    q, reward = make_problem(3, 5)
    for name, hyper in (("apa", {"eps": 1e-14}), ("tpo", {})):
        objective = make_objective(name, **hyper)
        np.testing.assert_allclose(objective.advantage(reward, q), standardized(q, reward), rtol=1e-12, atol=1e-13)
        # A sampled group divides by n as well.
        np.testing.assert_allclose(
            objective.advantage(reward), (reward - reward.mean()) / reward.std(), rtol=1e-12, atol=1e-13
        )
    assert ps.induced_target(q, reward, "apa").kappa > 0
    small = np.array([0.0, 1.9e-6])
    np.testing.assert_array_equal(make_objective("tpo").advantage(small, np.array([0.5, 0.5])), [0.0, 0.0])
    np.testing.assert_allclose(
        make_objective("tpo").advantage(2 * small, np.array([0.5, 0.5])), [-1.0, 1.0], rtol=1e-12
    )
    np.testing.assert_allclose(make_objective("apa").advantage(2e-4 * np.array([0.0, 1.0])), [-0.70711, 0.70711], 1e-5)


def test_tpo_loss_is_the_cross_entropy_in_the_group() -> None:
    q, reward = make_problem(4, 5)
    objective, u = make_objective("tpo", beta=0.7), np.random.default_rng(0).normal(size=5)
    for weights, old in ((q, q), (None, np.full(5, 0.2))):
        z = objective.advantage(reward, weights)
        target = old * np.exp(z / 0.7) / np.sum(old * np.exp(z / 0.7))
        shares = old * np.exp(u) / np.sum(old * np.exp(u))
        np.testing.assert_allclose(old * objective.score_weight(u, z, weights), target - shares, atol=1e-14)
        excess = old @ objective.loss(u, z, weights) - old @ objective.loss(z / 0.7, z, weights)
        assert excess == pytest.approx(target @ np.log(target / shares), rel=1e-12)


@pytest.mark.parametrize("name", ["reinforce", "opo"])
def test_on_its_own_samples_reinforce_is_greedy(name: str) -> None:
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.5, 1.0])
    target = ps.induced_target(q, reward, name)
    np.testing.assert_allclose(target.policy, [0.0, 0.0, 1.0], atol=1e-15)
    assert target.status == "vanishing_support"
    assert np.isnan(target.nominal).all()
    np.testing.assert_allclose(flow(target.objective, q, reward, q, 1e5), target.policy, atol=1e-4)
    tied = ps.induced_target(q, [0.0, 1.0, 1.0], name)
    np.testing.assert_allclose(tied.policy, [0.0, 0.6, 0.4], rtol=1e-15)
    assert tied.status == "set_valued"
    assert ps.induced_target([1.0], [0.3], name).status == "converged"


def test_the_baseline_matters_off_policy_only() -> None:
    q, reward = make_problem(6, 5)
    own = [ps.induced_target(q, reward, "reinforce", value=v).policy for v in (-3.0, 0.0, 5.0)]
    np.testing.assert_array_equal(own[0], own[1])
    np.testing.assert_array_equal(own[0], own[2])
    mean = float(q @ reward)
    for below in (0.1, 1.0, 30.0):
        stale = ps.induced_target(q, reward, "reinforce", value=mean - below, sampling="off_policy")
        same = ps.induced_target(q, reward, "asym_re", shift=-below)
        np.testing.assert_allclose(stale.policy, same.policy, atol=1e-13)
        np.testing.assert_allclose(flow(stale.objective, q, reward, q, 3e4), stale.policy, atol=1e-4)
    assert ps.induced_target(q, reward, "reinforce", value=mean + 0.1, sampling="off_policy").status == "no_target"
    raw = ps.induced_target(q, reward - mean + 0.5, "roirl")
    assert raw.status == "vanishing_support"
    np.testing.assert_allclose(raw.policy, ps.induced_target(q, reward, "asym_re", shift=-0.5).policy, atol=1e-13)


def test_lengths_decide_whether_stale_opo_has_a_target() -> None:
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 0.5])
    for length, exists in (((3.0, 1.0, 2.0), True), ((1.0, 3.0, 2.0), False), (None, False)):
        tokens = np.ones(3) if length is None else np.array(length)
        target = ps.induced_target(q, reward, "opo", lengths=length, sampling="off_policy")
        assert float(target.baseline) == pytest.approx((q * tokens) @ reward / (q @ tokens), rel=1e-14)
        assert (target.status != "no_target") == exists
        if exists:
            shift = float(target.baseline) - q @ reward
            np.testing.assert_allclose(target.policy, ps.induced_target(q, reward, "asym_re", shift=shift).policy)
    grouped = make_objective("opo", lengths=(3.0, 1.0, 2.0)).baseline(np.stack([reward, reward]))
    np.testing.assert_allclose(grouped, 2.0 / 6.0)


def test_rloo_is_the_mean_of_the_others() -> None:
    q, reward = make_problem(7, 5)
    u, objective = np.random.default_rng(1).normal(size=5), make_objective("rloo", beta=0.4)
    regularized = reward - 0.4 * u
    expected = [r - np.mean(np.delete(regularized, i)) for i, r in enumerate(regularized)]
    found = objective.score_weight(u, objective.advantage(reward), None)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    # On stale data the KL term at the current policy keeps the target nominal, for any behavior.
    nu = make_problem(8, 5)[0]
    stale = ps.induced_target(q, reward, "rloo", beta=0.4, sampling="off_policy", reference=nu)
    nominal = ps.nominal_target(q, reward, 0.4, reference=nu)
    np.testing.assert_allclose(stale.policy, nominal, rtol=1e-12)
    np.testing.assert_allclose(flow(stale.objective, q, reward, nu, 1e4), nominal, atol=1e-4)
    # Frozen at the rollout it would be a fixed reward minus its mean: no target.
    assert ps.induced_target(q, reward - 0.4 * np.log(q / nu), "asym_re", shift=0.0).status == "no_target"


def test_tapered_negatives_vanish_without_displacing_anything() -> None:
    q, reward = np.array([0.4, 0.3, 0.2, 0.1]), np.array([-1.0, 0.4, 0.0, 1.0])
    target = ps.induced_target(q, reward, "topr")
    gains = q * np.maximum(reward, 0.0)
    np.testing.assert_allclose(target.policy, gains / gains.sum(), rtol=1e-15)
    assert target.status == "vanishing_support"
    np.testing.assert_allclose(flow(target.objective, q, reward, q, 1e6), target.policy, atol=1e-4)
    # Water filling on the same advantages takes what negatives lack from the others, from small shares above all.
    plain = ps.induced_target(q, reward + 0.5, "roirl").policy
    tapered = ps.induced_target(q, reward + 0.5, "topr").policy
    assert plain[2] / plain[1] < 0.9 * tapered[2] / tapered[1]
    # Losses that outweigh the gains do not matter; for water filling there is no target.
    worse = np.array([-9.0, 0.4, -9.0, 1.0])
    np.testing.assert_allclose(ps.induced_target(q, worse, "topr").policy, target.policy, rtol=1e-15)
    assert ps.induced_target(q, worse, "roirl").status == "no_target"
    np.testing.assert_allclose(flow(target.objective, q, worse, q, 1e6), target.policy, atol=1e-4)


def test_the_share_of_positives_moves_with_the_constant() -> None:
    """The paper's p(1 - c)/(1 + (1 - 2p)c), its share of positives in what is pushed, for R = +-1 - c."""
    p, c = 0.3, 0.4
    pushed = np.array([p * (1 - c), (1 - p) * (1 + c)])
    assert pushed[0] / pushed.sum() == pytest.approx(p * (1 - c) / (1 + (1 - 2 * p) * c))
    target = ps.induced_target([p, 1 - p], [1.0, -1.0], "topr", value=c)
    np.testing.assert_allclose(target.policy, [1.0, 0.0], atol=1e-15)
    assert float(target.multiplier) == pytest.approx(p * (1 - c), rel=1e-12)


@pytest.mark.parametrize(("name", "hyper"), [("roirl", {"weight": "exponential"}), ("awr", {"w_max": np.inf})])
@pytest.mark.parametrize("base", [0.0, 100.0, 1e4])
def test_exponential_weights_that_overflow_keep_target_and_certificate(name: str, hyper: Any, base: float) -> None:
    q, reward = np.array([0.2, 0.3, 0.5]), base + np.array([0.125, 0.25, -2.0 * base])
    target = ps.induced_target(q, reward, name, beta=0.125, **hyper)
    assert np.isinf(target.multiplier) == (base > 0)
    # Two rewards one temperature apart, and one that is below them by as much as it is.
    weights = q * np.exp([-1.0, 0.0, -(0.25 + 2.0 * base) / 0.125])
    np.testing.assert_allclose(target.policy, weights / weights.sum(), rtol=1e-12)
    assert target.certificate()["worst"][0] < 1e-15
    off = target.solution._replace(log_ratio=np.zeros((1, 3)))
    assert dataclasses.replace(target, solution=off).certificate()["stationarity"][0] > 0.1


@pytest.mark.parametrize(
    ("q", "reward"),
    [
        ([0.2, 0.3, 0.5], [-1.0, -2.0, -3.0]),
        ([0.02, 0.3, 0.68], [-1.0, -1.5, -1.6]),
        ([0.02, 0.3, 0.68], [-1.0, -1.5, -4.0]),
        ([0.5, 0.3, 0.2], [0.0, -1.0, -2.0]),
    ],
)
def test_without_a_success_topr_runs_to_one_action(q: list[float], reward: list[float]) -> None:
    behavior, r = np.array(q), np.array(reward)
    target = ps.induced_target(behavior, r, "topr")
    assert target.status == "vanishing_support"
    assert np.sort(target.policy)[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(flow(target.objective, behavior, r, behavior, 1e5), target.policy, atol=1e-3)


def test_equal_failures_keep_the_behavior() -> None:
    for reward, status in (([-1.0, -1.0, -1.0], "converged"), ([0.0, 0.0, 0.0], "set_valued")):
        target = ps.induced_target([0.2, 0.3, 0.5], reward, "topr")
        np.testing.assert_allclose(target.policy, [0.2, 0.3, 0.5], rtol=1e-15)
        assert target.status == status
    tied = ps.induced_target([0.2, 0.3, 0.5], [0.0, -1.0, 0.0], "topr")
    np.testing.assert_allclose(tied.policy, [2 / 7, 0.0, 5 / 7], rtol=1e-14)
    assert tied.status == "set_valued"


def test_a_batch_mixes_kinds_of_rows() -> None:
    rewards = np.array([[1.0, -1.0, 2.0], [-1.0, -1.0, -1.0], [-1.0, -2.0, -3.0], [0.0, 0.0, -1.0]])
    batch = ps.induced_target([0.2, 0.3, 0.5], rewards, "topr")
    for row, reward in enumerate(rewards):
        single = ps.induced_target([0.2, 0.3, 0.5], reward, "topr")
        assert_log_policies_agree(batch.log_policy[row], single.log_policy)
        assert batch.status[row] == single.status


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("qrpo", {"transform": "normal"}, 'qrpo: transform must be "identity" or "log", got \'normal\''),
        ("roirl", {"weight": "exp"}, 'roirl: weight must be "identity" or "exponential", got \'exp\''),
        ("reinforce", {"sampling": "stale"}, 'reinforce: sampling must be "on_policy" or "off_policy", got \'stale\''),
        ("rloo", {"sampling": 1}, 'rloo: sampling must be "on_policy" or "off_policy", got 1'),
        ("topr", {"value": None}, "topr: value must be a finite number, got None"),
        ("opo", {"lengths": (1.0, 0.0)}, r"opo: lengths must be a tuple of finite numbers > 0, got \(1.0, 0.0\)"),
        ("opo", {"lengths": 3}, "opo: lengths must be a tuple of finite numbers > 0, got 3"),
        ("tpo", {"min_std": 0.0}, "tpo: min_std must be > 0, got 0.0"),
        ("apa", {"eps": -1.0}, "apa: eps must be > 0, got -1.0"),
    ],
)
def test_bad_settings_are_named(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_objective(name, **hyper)


def test_lengths_must_fit_the_actions() -> None:
    with pytest.raises(ValueError, match="^opo: lengths must hold one number per action, got 2 for 3 actions$"):
        ps.induced_target([0.2, 0.3, 0.5], [0.0, 1.0, 2.0], "opo", lengths=(1.0, 2.0))
