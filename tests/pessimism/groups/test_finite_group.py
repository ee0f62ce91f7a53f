"""Finite groups: every group enumerated, descent on the enumerated loss, 50 digits, routes against each other."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import pessimism as ps
from pessimism import OAPL, AsymRE, Kimi, Nominal
from pessimism.core.objective import as_objective
from pessimism.groups.finite_group import FiniteGroup, finite_group
from pessimism.groups.target import is_squared
from pessimism.losses.registry import objectives
from tests.pessimism.groups.enumerated import BEHAVIOR, REWARD

# log Z of the group's V* at its own beta, pass rate 1/2, beta 0.1.
GOLDEN = {
    False: {2: -0.340, 4: -0.152, 8: -0.068, 16: -0.032, 64: -0.008},
    True: {2: 4.31, 4: 1.12, 8: 0.145, 16: 0.038, 64: 0.008},
}


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("size", [2, 4, 8, 16, 64])
def test_golden_log_z(size: int, leave_one_out: bool) -> None:
    group = finite_group("optimal_value", size, pass_rate=0.5, beta=0.1, leave_one_out=leave_one_out)
    golden = GOLDEN[leave_one_out][size]
    assert float(group.log_z) == pytest.approx(golden, abs=0.0051 if golden > 1 else 0.00051)
    assert group.regime == ("positive" if leave_one_out else "negative")
    assert (group.method, group.log_z_error, group.kept) == ("exact", 0.0, 1.0)


def test_a_large_group_is_the_population() -> None:
    for name in ("optimal_value", "kimi", "std_normalized"):
        group = finite_group(name, 4000, pass_rate=0.3, beta=0.5)
        population = ps.induced_target([0.7, 0.3], [0.0, 1.0], name, beta=0.5)
        np.testing.assert_allclose(group.target.policy, population.policy, atol=3e-4)


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

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 0.5 * (advantage - self.beta * log_ratio) ** 2 / self.beta


def test_an_objective_of_ones_own() -> None:
    mine, kimi = (finite_group(o, 5, BEHAVIOR, REWARD, drop_equal=True) for o in (Own(), Kimi(beta=0.1)))
    np.testing.assert_allclose(mine.target.policy, kimi.target.policy, rtol=1e-12)
    assert is_squared(as_objective(Own()))
    assert not is_squared(as_objective(Bounded()))
    assert not is_squared(Nominal())
    assert not is_squared(AsymRE())


class Shrunk(Own):
    """Subtracts a width that depends on how often a completion was seen."""

    prices_propensity = True

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - 0.1 / np.sqrt(np.full_like(reward, 1 / reward.shape[-1]) if weights is None else weights)


ERRORS: list[tuple[Any, dict[str, Any], str]] = [
    ("awr", {}, "not affine in the advantage"),
    (Bounded(), {}, "not affine in the advantage"),
    ("tba", {}, "couples the log-ratios of a group"),
    ("rebel", {}, "couples the log-ratios of a group"),
    ("kl_regularized", {}, "follow the policy itself"),
    ("std_normalized", {"leave_one_out": True}, "leave_one_out: the advantage of std_normalized"),
    (Shrunk(), {}, "its advantage needs the probability of each completion"),
    ("kimi", {"group_size": 0}, "group_size must be an integer >= 1, got 0"),
    ("kimi", {"group_size": 10**9}, "^group_size must be at most 131,072, got 1,000,000,000$"),
    ("kimi", {"draws": 10**12}, "^draws must be at most 1,073,741,824, got 1,000,000,000,000$"),
    (
        "std_normalized",
        {"pass_rate": None, "reward": np.arange(100.0), "group_size": 100, "draws": 2**30},
        "^draws times group_size times the number of distinct rewards must be at most 17,179,869,184, got ",
    ),
    (
        "kimi",
        {"pass_rate": None, "reward": np.arange(1000.0), "group_size": 2**17},
        "^group_size times the number of distinct rewards must be at most 67,108,864, got 131,072,000$",
    ),
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
    said = "FiniteGroup(optimal_value(beta=0.1), G=8, drop_equal, status=local_minimum, regime=negative, "
    assert repr(one) == str(one)
    assert repr(one).startswith(f"{said}kappa={float(one.kappa):.4g}, factor=")
    assert "log_z=-0.06268, policy=[" in repr(one)
    batch = finite_group("kimi", 4, pass_rate=[0.1, 0.2])
    kappa = f"{float(np.median(batch.kappa)):.4g}"
    shape = "FiniteGroup(kimi(beta=0.01), G=4, shape=(2, 2), regime=positive 100%"
    assert repr(batch).startswith(f"{shape}, median kappa={kappa}, median log_z=")
    assert f"<tr><th>median kappa</th><td>{kappa}</td></tr>" in batch._repr_html_()
    assert "<tr><th>option</th><td>drop_equal</td></tr>" in one._repr_html_()


@pytest.mark.parametrize("size", [1, 2, 8])
def test_on_policy_the_baseline_of_a_star_po_cancels(size: int) -> None:
    """V* of G draws of the behavior by summing over pass counts; the target is the tilt at beta2 at every G."""
    p, beta1, beta2 = 0.2, 0.7, 0.3
    group = ps.finite_group("a_star_po", size, pass_rate=p, beta1=beta1, beta2=beta2)
    chance = [math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)]
    value = sum(c * beta1 * math.log1p(k / size * math.expm1(1 / beta1)) for k, c in enumerate(chance))
    np.testing.assert_allclose(group.advantage, [-value, 1 - value], rtol=1e-12)
    right = p * math.exp(1 / beta2) / (1 - p + p * math.exp(1 / beta2))
    np.testing.assert_allclose(group.target.policy, [1 - right, right], rtol=1e-12)
    assert group.regime == "boundary"
    assert group.regime_shares["boundary"].tolist() == [1.0]
    assert 'sampling="off_policy"' in repr(group)
    off = ps.finite_group("a_star_po", size, pass_rate=p, beta1=beta1, beta2=beta2, sampling="off_policy")
    assert "off_policy" not in repr(off).replace("sampling='off_policy'", "")
    assert (off.kappa != 0.0) == (size > 1)  # V* of one reward is that reward


def test_what_a_group_apart_has_no_use_for_is_refused() -> None:
    for option in ("leave_one_out", "drop_equal"):
        with pytest.raises(ValueError, match=f'{option} is not defined.* none of the group .*"off_policy"'):
            ps.finite_group("a_star_po", 8, pass_rate=0.2, **{option: True})
    with pytest.raises(ValueError, match='sampling="off_policy" has groups of the behavior'):
        ps.finite_group("kl_regularized", 8, pass_rate=0.2)


@pytest.mark.parametrize("pass_rate", [0.2, [0.2, 0.3]])
def test_on_policy_a_star_po_has_no_log_z_as_its_baseline_cancels(pass_rate: Any) -> None:
    """Any constant may be added to its advantage: a number of it would say nothing."""
    group = finite_group("a_star_po", 8, pass_rate=pass_rate)
    assert np.isnan(group.log_z).all()
    assert set(np.atleast_1d(group.regime)) == {"boundary"}
    assert "log_z" not in repr(group)
    assert "log_z" in repr(finite_group("a_star_po", 8, pass_rate=pass_rate, sampling="off_policy"))
