"""Finite groups: every group enumerated, descent on the enumerated loss, 50 digits, routes against each other."""

from __future__ import annotations

from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.stats import binom

import pessimism as ps
from pessimism.groups import expected_advantage
from pessimism.groups.finite_group import FiniteGroup, finite_group
from pessimism.groups.reward_law import compositions, expected_by_counts, kept_given_value
from pessimism.groups.target import is_affine, is_squared
from pessimism.losses.registry import (
    AWR,
    OAPL,
    AsymRE,
    ConstantBaseline,
    Kimi,
    MixedChi2KL,
    Nominal,
    ObjectiveLike,
    OptimalValue,
    ShiftedMean,
    StdNormalized,
    objectives,
)

BEHAVIOR, REWARD = np.array([0.4, 0.35, 0.2, 0.05]), np.array([0.0, 0.6, 1.0, 0.6])
OPTIONS = [(False, False), (True, False), (False, True), (True, True)]
SQUARED: list[Any] = [
    Kimi(beta=0.3),
    ShiftedMean(beta=0.3, shift=0.4),
    OptimalValue(beta=0.2),
    OAPL(beta1=0.5, beta2=0.2),
    ConstantBaseline(beta=0.3, value=0.4),
    StdNormalized(beta=0.8),
]
# log Z of the group's V* at its own beta, pass rate 1/2, beta 0.1.
GOLDEN = {
    False: {2: -0.340, 4: -0.152, 8: -0.068, 16: -0.032, 64: -0.008},
    True: {2: 4.31, 4: 1.12, 8: 0.145, 16: 0.038, 64: 0.008},
}


def every_sample(
    objective: ObjectiveLike, behavior: Any, reward: Any, size: int, leave_one_out: bool, drop_equal: bool
) -> tuple[Any, Any, Any]:
    """Probability, action and advantage of every completion in every group that is kept, one group at a time."""
    weight, action, advantage = [], [], []
    for group in product(range(len(behavior)), repeat=size):
        r = reward[list(group)]
        if drop_equal and np.ptp(r) == 0:
            continue
        for i, a in enumerate(group):
            others = np.delete(r, i)
            if leave_one_out:
                value = others[0] - objective.advantage(others)[0]
                advantage.append(r[i] - value)
            else:
                advantage.append(objective.advantage(r)[i])
            weight.append(np.prod(behavior[list(group)]) / size)
            action.append(a)
    return np.array(weight), np.array(action), np.array(advantage)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("size", [2, 4, 8, 16, 64])
def test_golden_log_z(size: int, leave_one_out: bool) -> None:
    group = finite_group("optimal_value", size, pass_rate=0.5, beta=0.1, leave_one_out=leave_one_out)
    golden = GOLDEN[leave_one_out][size]
    assert float(group.log_z) == pytest.approx(golden, abs=0.0051 if golden > 1 else 0.00051)
    assert group.regime == ("positive" if leave_one_out else "negative")
    assert (group.method, group.log_z_error, group.kept) == ("exact", 0.0, 1.0)


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
@pytest.mark.parametrize("objective", SQUARED, ids=lambda o: o.name)
def test_every_group_enumerated(objective: Any, leave_one_out: bool, drop_equal: bool) -> None:
    """Expected advantage, data and share kept by a loop over all K^G groups; the routes of many values agree."""
    if leave_one_out and objective.name == "std_normalized":
        pytest.skip("no baseline to leave out")
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    for size in (2, 3, 5):
        weight, action, advantage = every_sample(objective, BEHAVIOR, REWARD, size, **setting)
        mass = np.bincount(action, weight, minlength=4)
        expected = np.bincount(action, weight * advantage, minlength=4) / mass
        group = finite_group(objective, size, BEHAVIOR, REWARD, **setting)
        np.testing.assert_allclose(group.advantage, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(group.data, mass / mass.sum(), rtol=1e-13)
        assert group.kept == pytest.approx(weight.sum(), rel=1e-13)
        assert float(group.log_z) == pytest.approx(
            float(np.log(BEHAVIOR @ np.exp(expected / objective.temperature))), rel=1e-11, abs=1e-13
        )
        values, law = np.array([0.0, 0.6, 1.0]), np.array([0.4, 0.4, 0.2])
        at = np.array([0, 1, 2, 1])
        kept = kept_given_value(law, size) if drop_equal else None
        beta = expected_advantage.optimal_value_temperature(objective)
        if beta is not None:
            found = expected_advantage.expected_under_optimal_value(
                values, law, size, beta, leave_one_out=leave_one_out
            )
            found = found if kept is None else expected_advantage.given_kept(found, np.zeros(3), law, size)
            np.testing.assert_allclose(found[at], expected, rtol=1e-12, atol=1e-14)
        linear = expected_advantage.linear_in_rewards(objective, values, size)
        assert (linear is None) == (objective.name in ("optimal_value", "oapl", "std_normalized"))
        if linear is not None and not leave_one_out:
            found = expected_advantage.expected_linear(linear, values, law, size, kept=kept)
            np.testing.assert_allclose(found[at], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
def test_draws_agree_within_their_error(leave_one_out: bool, drop_equal: bool) -> None:
    values, law = np.array([0.0, 0.6, 1.0]), np.array([0.5, 0.45, 0.05])
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    for objective in (OAPL(beta1=0.1), Kimi()) if leave_one_out else (OAPL(beta1=0.1), StdNormalized()):
        exact, _ = expected_by_counts(objective, values[None], law[None], 6, **setting)
        mean, error, ends = expected_advantage.expected_by_draws(
            objective, values, law, 6, draws=20_000, seed=1, **setting
        )
        assert np.all(error > 0)
        assert np.all(np.abs(mean - exact[0]) < 4 * error)
        assert ends[0] < mean.min() <= mean.max() < ends[1]
        again = expected_advantage.expected_by_draws(objective, values, law, 6, draws=20_000, seed=1, **setting)
        np.testing.assert_array_equal(mean, again[0])
        # The stated error is that of the mean: the spread over seeds.
        several = [
            expected_advantage.expected_by_draws(objective, values, law, 6, draws=500, seed=s, **setting)[:2]
            for s in range(60)
        ]
        spread = np.std([m for m, _ in several], axis=0, ddof=1)
        np.testing.assert_allclose(np.mean([e for _, e in several], axis=0), spread, rtol=0.35)


@pytest.mark.parametrize(("p", "beta", "size"), [(0.5, 0.1, 64), (1e-6, 1e-3, 16), (0.999, 0.02, 200), (0.3, 5.0, 7)])
def test_binomial_sums_at_fifty_digits(p: float, beta: float, size: int) -> None:
    with mpmath.workdps(50):
        q, b = mpmath.mpf(p), mpmath.mpf(beta)

        def value(successes: int) -> Any:
            return b * mpmath.log(1 + mpmath.mpf(successes) / size * mpmath.expm1(1 / b))

        def weight(k: int) -> Any:
            return mpmath.binomial(size - 1, k) * q**k * (1 - q) ** (size - 1 - k)

        up = sum(weight(k) * (1 - value(k + 1)) for k in range(size))
        down = -sum(weight(k) * value(k) for k in range(size))
        log_z = mpmath.log(q * mpmath.exp(up / b) + (1 - q) * mpmath.exp(down / b))
        exact = [float(x) for x in (down, up, log_z)]
    group = finite_group("optimal_value", size, pass_rate=p, beta=beta)
    np.testing.assert_allclose(group.advantage, exact[:2], rtol=1e-13 * size, atol=1e-16)
    assert float(group.log_z) == pytest.approx(exact[2], rel=1e-11, abs=1e-15 / beta)


def descend(entries: tuple[Any, Any, Any], objective: Any, sampler: Any, start: Any) -> Any:
    """Gradient descent on the enumerated loss of softmax logits; the gradient is that of the score weight."""
    weight, action, advantage = entries

    def loss(logits: Any) -> tuple[float, Any]:
        log_policy = logits - np.logaddexp.reduce(logits)
        u = (log_policy - np.log(sampler))[action]
        pull = np.bincount(action, weight * objective.score_weight(u, advantage), minlength=len(sampler))
        gradient = -(pull - np.exp(log_policy) * pull.sum())
        return float(weight @ objective.loss(u, advantage)), gradient

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    return np.exp(found.x - np.logaddexp.reduce(found.x))


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
@pytest.mark.parametrize("objective", [*SQUARED, Nominal(beta=0.4), MixedChi2KL(beta=0.4)], ids=lambda o: o.name)
def test_descent_on_the_enumerated_loss_ends_in_the_target(
    objective: Any, leave_one_out: bool, drop_equal: bool
) -> None:
    """The definition taken literally: the loss of all groups of 3, minimized over policies."""
    if leave_one_out and objective.name == "std_normalized":
        pytest.skip("no baseline to leave out")
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    entries = every_sample(objective, q, reward, 3, **setting)
    target = finite_group(objective, 3, q, reward, **setting).target
    assert target.status in ("converged", "local_minimum")
    found = descend(entries, objective, q, np.log(q))
    np.testing.assert_allclose(target.policy, found, atol=3e-7)
    if target.regime == "positive":
        far = descend(entries, objective, q, np.array([1.0, -1.0, 0.5]))
        np.testing.assert_allclose(target.policy, far, atol=3e-7)


def test_the_policy_gradient_without_ratios_on_the_groups_kept() -> None:
    """AsymRE: (d A - c)_+ / E_d[A], d the data of the groups kept; c by bisection."""
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    objective = AsymRE(shift=-0.2)
    weight, action, advantage = every_sample(objective, q, reward, 3, False, True)
    pull = np.bincount(action, weight * advantage, minlength=3)
    point = pull / pull.sum()
    level = brentq(lambda c: np.maximum(point - c, 0.0).sum() - 1.0, -2.0, 2.0, xtol=1e-15)
    group = finite_group(objective, 3, q, reward, drop_equal=True)
    np.testing.assert_allclose(group.target.policy, np.maximum(point - level, 0.0), atol=1e-13)
    assert np.isnan(group.log_z)
    kept = group.target.policy > 0
    np.testing.assert_allclose(group.target.log_ratio[kept], np.log(group.target.policy[kept] / q[kept]), rtol=1e-12)


def test_closed_forms_of_the_mean() -> None:
    for size in (1, 2, 5, 300):
        gap = REWARD - BEHAVIOR @ REWARD
        group = finite_group("kimi", size, BEHAVIOR, REWARD, beta=0.3)
        np.testing.assert_allclose(group.advantage, (1 - 1 / size) * gap, rtol=1e-12, atol=1e-15)
        if size > 1:
            alone = finite_group("kimi", size, BEHAVIOR, REWARD, beta=0.3, leave_one_out=True)
            np.testing.assert_allclose(alone.advantage, gap, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(
                alone.target.policy, ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=0.3).policy, rtol=1e-10
            )


def test_standardized_advantages_use_the_unbiased_spread() -> None:
    """Groups of 2: a pair that differs has mean 1/2 and std sqrt(1/2)."""
    p, eps = 0.3, 1e-4
    group = finite_group("std_normalized", 2, pass_rate=p, eps=eps)
    size = 0.5 / (np.sqrt(0.5) + eps)
    np.testing.assert_allclose(group.advantage, [-p * size, (1 - p) * size], rtol=1e-14)


@given(st.floats(0.0, 1.0), st.integers(1, 40), st.floats(-2.0, 2.0))
def test_an_optimal_value_of_the_group_is_never_positive(p: float, size: int, log_beta: float) -> None:
    """E[exp(A_i/beta)] = 1 by exchangeability, so log E[exp(A_eff/beta)] <= 0 by Jensen; the mean is never negative."""
    beta = float(10.0**log_beta)
    noise = 1e-15 * size * (1 + 1 / beta)
    assert finite_group("optimal_value", size, pass_rate=p, beta=beta).log_z <= noise
    assert finite_group("kimi", size, pass_rate=p, beta=beta).log_z >= -noise


def test_a_large_group_is_the_population() -> None:
    for name in ("optimal_value", "kimi", "std_normalized"):
        group = finite_group(name, 4000, pass_rate=0.3, beta=0.5)
        population = ps.induced_target([0.7, 0.3], [0.0, 1.0], name, beta=0.5)
        np.testing.assert_allclose(group.target.policy, population.policy, atol=3e-4)


def test_counts_as_weights_are_the_groups_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for objective in SQUARED:
        short = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.setattr("pessimism.groups.reward_law._DENSE", 1)
        again = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.setattr("pessimism.groups.reward_law._CHUNK", 64)
        chunks = expected_by_counts(objective, np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), 30)[0]
        monkeypatch.undo()
        np.testing.assert_allclose(again, short, rtol=1e-13)
        np.testing.assert_allclose(chunks, short, rtol=1e-13)


def test_compositions_are_all_of_them() -> None:
    for size, width in ((4, 1), (5, 2), (4, 3), (3, 5)):
        found = compositions(size, width)
        brute = {c for c in product(range(size + 1), repeat=width) if sum(c) == size}
        assert {tuple(row) for row in found.tolist()} == brute
        assert len(found) == len(brute)


@pytest.mark.parametrize("name", ["kimi", "optimal_value"])
def test_a_batch_is_its_rows(name: str) -> None:
    p = np.array([[0.0, 0.01, 0.5], [0.9, 1.0, 0.3]])
    batch = finite_group(name, 5, pass_rate=p, drop_equal=True)
    assert batch.log_z.shape == batch.kept.shape == batch.method.shape == (2, 3)
    assert batch.advantage.shape == (2, 3, 2)
    for at in np.ndindex(p.shape):
        one = finite_group(name, 5, [1 - p[at], p[at]], [0.0, 1.0], drop_equal=True)
        np.testing.assert_allclose(batch.advantage[at], one.advantage, rtol=1e-14)
        np.testing.assert_allclose(batch.target.policy[at], one.target.policy, rtol=1e-12)
        assert batch.log_z[at] == pytest.approx(float(one.log_z), abs=1e-15)
        assert batch.regime[at] == one.regime


def test_nothing_to_learn_from_equal_rewards() -> None:
    group = finite_group("kimi", 4, pass_rate=[0.0, 1.0], beta=0.1, drop_equal=True)
    assert group.kept.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(group.log_z, 0.0)
    assert group.regime.tolist() == ["boundary", "boundary"]
    np.testing.assert_array_equal(group.target.policy, [[1.0, 0.0], [0.0, 1.0]])
    assert np.isnan(group.advantage).tolist() == [[False, True], [True, False]]
    constant = finite_group("constant_baseline", 4, pass_rate=0.0, beta=0.5, value=0.25)
    assert float(constant.log_z) == -0.5
    with_own = finite_group("kimi", 1, pass_rate=0.5)  # a group of one is its own mean
    np.testing.assert_array_equal(with_own.advantage, 0.0)


def test_which_route_was_taken() -> None:
    sample = np.random.default_rng(0).normal(size=60)
    for name, method in (("kimi", "exact"), ("oapl", "quadrature"), ("std_normalized", "monte_carlo")):
        group = finite_group(name, 8, reward=sample, draws=500)
        assert group.method == method
        assert (group.standard_error > 0).all() == (method == "monte_carlo")
        assert (group.log_z_error > 0) == (method == "monte_carlo")
    # A sample of 60 in order is the same problem as the law of its values.
    shuffled = finite_group("std_normalized", 8, reward=sample[::-1], draws=500)
    np.testing.assert_array_equal(shuffled.advantage[::-1], group.advantage)


@pytest.mark.parametrize("drop_equal", [False, True])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_shares_of_the_regimes_by_enumeration(leave_one_out: bool, drop_equal: bool) -> None:
    """Each group of actions by itself, an induced target with its own advantages and mass free to leave."""
    q, reward, size, objective = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0]), 4, OAPL(beta1=0.2, beta2=0.25)
    share = dict.fromkeys(("positive", "boundary", "negative"), 0.0)
    for members in product(range(3), repeat=size):
        r = reward[list(members)]
        if drop_equal and np.ptp(r) == 0:
            continue
        if leave_one_out:
            advantage = np.array([r[i] - objective.baseline(np.delete(r, i)) for i in range(size)])
        else:
            advantage = objective.advantage(r)
        log_z = np.log(np.mean(np.exp(advantage / 0.25)))
        regime = "boundary" if abs(log_z) < 1e-14 else "positive" if log_z > 0 else "negative"
        share[regime] += float(np.prod(q[list(members)]))
    total = sum(share.values())
    group = finite_group(objective, size, q, reward, leave_one_out=leave_one_out, drop_equal=drop_equal)
    row = group.regime_shares.iloc[0]
    for name, expected in share.items():
        assert row[name] == pytest.approx(expected / total, abs=1e-13)
    assert row["kept"] == pytest.approx(total)
    assert row["standard_error"] == 0.0


def test_shares_of_the_regimes_are_binomial() -> None:
    """A constant baseline: positive where the group has enough successes."""
    p, size, beta, value = 0.3, 16, 0.5, 0.6
    least = next(s for s in range(17) if s / size * np.exp(1 / beta) + 1 - s / size > np.exp(value / beta))
    shares = finite_group("constant_baseline", size, pass_rate=p, beta=beta, value=value).regime_shares
    assert shares["positive"][0] == pytest.approx(float(binom.sf(least - 1, size, p)), rel=1e-12)
    mean = finite_group("kimi", 4, pass_rate=[0.5, 0.0]).regime_shares
    assert mean["boundary"].to_numpy() == pytest.approx([1 / 8, 1.0])
    sampled = finite_group("kimi", 16, reward=np.random.default_rng(1).random(50), draws=100).regime_shares
    assert sampled["positive"][0] == 1.0
    mixed = finite_group(
        "constant_baseline", 16, reward=np.random.default_rng(1).random(50), draws=400, beta=0.1, value=0.7
    ).regime_shares
    assert 0.0 < mixed["standard_error"][0] < 0.03


@pytest.mark.parametrize("name", sorted(objectives()))
def test_every_objective_is_answered_or_refused_in_a_line(name: str) -> None:
    for drop_equal in (False, True):
        refused = None
        try:
            group = finite_group(name, 4, pass_rate=[0.3, 0.6], drop_equal=drop_equal)
            mass = group.target.policy.sum(axis=-1) + group.target.leak
        except ValueError as error:
            refused = str(error)
        if refused is None:
            assert isinstance(group, FiniteGroup)
            found = ~np.isin(group.target.status, ["no_target", "not_converged"])
            np.testing.assert_allclose(mass[found], 1.0, rtol=1e-8)
            assert found.all() or drop_equal
        else:
            assert refused.startswith("objective ")
            assert "\n" not in refused


class Bounded:
    """The README's objective: a weight that is not affine in the advantage."""

    beta = 0.1

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - np.average(reward, axis=-1, weights=weights, keepdims=True)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.tanh(advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.log(np.cosh(advantage - self.beta * log_ratio)) / self.beta


class Own(Bounded):
    """The same baseline in a squared regression of one's own."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - self.beta * log_ratio


def test_an_objective_of_ones_own() -> None:
    mine, kimi = (finite_group(o, 5, BEHAVIOR, REWARD, drop_equal=True) for o in (Own(), Kimi(beta=0.1)))
    np.testing.assert_allclose(mine.target.policy, kimi.target.policy, rtol=1e-12)
    assert is_squared(Own())
    assert not is_squared(Bounded())
    assert not is_squared(Nominal())
    assert not is_squared(AsymRE())


def test_affine_in_the_advantage() -> None:
    for objective in (*SQUARED, Nominal(), AsymRE(), MixedChi2KL()):
        assert is_affine(objective, -1.0, 1.0), objective
    for objective in (AWR(), AWR(w_max=np.inf), Bounded()):
        assert not is_affine(objective, -1.0, 1.0)
        assert is_affine(objective, 0.5, 0.5)


class Shrunk(Own):
    """Subtracts a width that depends on how often a completion was seen."""

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - 0.1 / np.sqrt(np.full_like(reward, 1 / reward.shape[-1]) if weights is None else weights)


ERRORS: list[tuple[Any, dict[str, Any], str]] = [
    ("awr", {}, "not affine in the advantage"),
    (Bounded(), {}, "not affine in the advantage"),
    ("tba", {}, "couples the log-ratios of a group"),
    ("rebel", {}, "couples the log-ratios of a group"),
    ("a_star_po", {}, "follow the policy itself"),
    ("std_normalized", {"leave_one_out": True}, "leave_one_out: the advantage of std_normalized"),
    (Shrunk(), {}, "its advantage needs the probability of each completion"),
    ("kimi", {"group_size": 0}, "group_size must be an integer >= 1, got 0"),
    ("kimi", {"group_size": 2.0}, "group_size must be an integer >= 1, got 2.0"),
    ("kimi", {"group_size": 1, "drop_equal": True}, ">= 2 with leave_one_out or drop_equal, got 1"),
    ("kimi", {"pass_rate": 1.5}, r"pass_rate must be in \[0, 1\], got 1.5"),
    ("kimi", {"pass_rate": float("nan")}, r"pass_rate must be in \[0, 1\], got nan"),
    ("kimi", {"reward": [0.0, 1.0]}, "give pass_rate, or reward"),
    ("kimi", {"pass_rate": None}, "reward must be given"),
    ("kimi", {"pass_rate": None, "reward": [0.0, np.inf]}, "must be finite"),
    ("kimi", {"pass_rate": [0.5, 2.0]}, r"^pass_rate\[1\] must be in \[0, 1\], got 2.0$"),
    ("kimi", {"pass_rate": "a"}, r"^pass_rate must be real numbers in \[0, 1\], got 'a'$"),
    ("kimi", {"pass_rate": ["a", 0.5]}, r"^pass_rate must be real numbers in \[0, 1\], got \['a', 0.5\]$"),
    ("kimi", {"pass_rate": [[0.1], [0.1, 0.2]]}, "^pass_rate must be real numbers in"),
    ("kimi", {"pass_rate": 10**400}, "^pass_rate must be real numbers in"),
    ("kimi", {"draws": 1}, "^draws must be an integer >= 2, got 1$"),
    ("kimi", {"draws": 2.5}, "^draws must be an integer >= 2, got 2.5$"),
    ("kimi", {"draws": "x"}, "^draws must be an integer >= 2, got 'x'$"),
    ("kimi", {"draws": np.full((2, 2), 3)}, "^draws must be an integer >= 2, got array"),
    ("kimi", {"seed": -1}, "^seed must be an integer >= 0, got -1$"),
    ("kimi", {"seed": None}, "^seed must be an integer >= 0, got None$"),
    ("kimi", {"betta": 1.0}, "no hyper-parameter 'betta'"),
]


@pytest.mark.parametrize(("objective", "options", "message"), ERRORS)
def test_errors(objective: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        finite_group(objective, **({"group_size": 4, "pass_rate": 0.5} | options))
    assert "\n" not in str(caught.value)


def test_what_it_prints() -> None:
    one = finite_group("optimal_value", 8, pass_rate=0.5, beta=0.1, drop_equal=True)
    assert repr(one) == "FiniteGroup(optimal_value(beta=0.1), G=8, drop_equal, regime=negative, log_z=-0.06268)"
    assert repr(finite_group("kimi", 4, pass_rate=[0.1, 0.2])) == "FiniteGroup(kimi(beta=0.01), G=4, shape=(2, 2))"
