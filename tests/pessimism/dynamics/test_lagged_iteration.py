"""Iterated targets against closed forms and rounds written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

import pessimism as ps
from pessimism.dynamics.lagged_iteration import lagged_iteration
from tests.helpers import Array, assert_log_policies_agree, assert_monotone, make_problem

PROBLEM = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]


def drawn(rng: np.random.Generator, policy: Array, samples: int) -> Array:
    """How often each action comes up, each sample on its own."""
    return np.histogram(rng.random(samples), np.concatenate([[0.0], np.cumsum(policy)]))[0]


def policies(frame: pd.DataFrame) -> Array:
    return frame[[c for c in frame if c.startswith("pi_")]].to_numpy()


def test_nominal_rounds_compound_the_tilt() -> None:
    behavior, reward = map(np.array, PROBLEM)
    frame = lagged_iteration(behavior, reward, "nominal", beta=0.25, rounds=12, policies=True)
    for rounds, policy in enumerate(policies(frame)):
        tilted = np.log(behavior) + rounds * reward / 0.25
        assert_log_policies_agree(np.log(policy), tilted - np.logaddexp.reduce(tilted))
    assert list(frame["regime"]) == ["undefined"] + ["boundary"] * 12
    assert list(frame["status"]) == ["initial"] + ["converged"] * 12


def test_columns() -> None:
    frame = lagged_iteration(*PROBLEM, "kimi", beta=0.25, rounds=3, policies=True)
    behavior, reward = map(np.array, PROBLEM)
    assert list(frame)[:12] == [
        *("problem", "run", "round", "value", "entropy", "kl", "max_ratio", "leak", "regime", "kappa", "status"),
        "collapsed",
    ]
    pi = policies(frame)
    np.testing.assert_allclose(frame["value"], pi @ reward)
    np.testing.assert_allclose(frame["entropy"], -(pi * np.log(pi)).sum(axis=1))
    np.testing.assert_allclose(frame["kl"], (pi * np.log(pi / behavior)).sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(frame["max_ratio"][1:], (pi[1:] / pi[:-1]).max(axis=1))
    # kappa = KL(behavior || target) of every round.
    np.testing.assert_allclose(frame["kappa"][1:], (pi[:-1] * np.log(pi[:-1] / pi[1:])).sum(axis=1), rtol=1e-9)
    assert (frame["regime"][1:] == "positive").all()
    assert not frame["collapsed"].any()


def step_of_the_logit(p: float, beta: float, shift: float) -> float:
    """By how much a round moves logit p: log(w+/w-) + kappa (w+ - w-) = 1/beta, kappa = shift + KL(mu || pi)."""

    def excess(d: float) -> float:
        log_z = np.logaddexp(np.log(p) + d, np.log1p(-p))
        up, down = d - log_z, -log_z
        kappa = shift - (p * up + (1 - p) * down)
        return float(up - down + kappa * (np.exp(up) - np.exp(down)) - 1 / beta)

    return float(brentq(excess, 0.0, 1 / beta, xtol=1e-14))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_binary_rewards_move_the_logit_by_the_effective_temperature(shift: float) -> None:
    frame = lagged_iteration([0.9, 0.1], [0.0, 1.0], "shifted_mean", beta=0.5, shift=shift, rounds=6, policies=True)
    passes = policies(frame)[:, 1]
    logits = np.log(passes) - np.log(policies(frame)[:, 0])
    for t in range(6):
        np.testing.assert_allclose(logits[t + 1] - logits[t], step_of_the_logit(passes[t], 0.5, shift), rtol=1e-10)
    if shift == 0.0:
        kimi = lagged_iteration([0.9, 0.1], [0.0, 1.0], "kimi", beta=0.5, rounds=6)
        np.testing.assert_allclose(kimi["value"], frame["value"], rtol=1e-12)


def test_shifts_slow_the_rounds_down() -> None:
    after = [
        lagged_iteration(*PROBLEM, "shifted_mean", beta=0.1, shift=shift, rounds=5)["value"].iloc[-1]
        for shift in (0.0, 0.5, 1.0, 4.0)
    ]
    assert_monotone(after, increasing=False)
    nominal = lagged_iteration(*PROBLEM, "nominal", beta=0.1, rounds=5)["value"].iloc[-1]
    assert nominal > after[0]


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_a_lag_runs_chains_that_never_meet(lag: int) -> None:
    fresh = policies(lagged_iteration(*PROBLEM, "kimi", beta=0.25, rounds=7, policies=True))
    late = policies(lagged_iteration(*PROBLEM, "kimi", beta=0.25, rounds=13, lag=lag, policies=True))
    for t, policy in enumerate(late):
        np.testing.assert_array_equal(policy, fresh[-(-t // (lag + 1))])


def test_a_fixed_reference_holds_the_policy() -> None:
    frame = lagged_iteration(*PROBLEM, "tba", beta=0.25, rounds=4, reference="initial", policies=True)
    for policy in policies(frame)[1:]:
        np.testing.assert_allclose(policy, ps.nominal_target(*PROBLEM, beta=0.25), rtol=1e-12)
    moving = lagged_iteration(*PROBLEM, "tba", beta=0.25, rounds=4)
    assert moving["value"].iloc[-1] > frame["value"].iloc[-1] + 0.1
    with pytest.raises(ValueError, match="^reference: objective nominal"):
        lagged_iteration(*PROBLEM, "nominal", beta=0.25, rounds=4, reference="initial")


def test_asym_re_collapses() -> None:
    frame = lagged_iteration(*PROBLEM, "asym_re", shift=-0.05, rounds=4)
    assert list(frame["status"]) == ["initial", "vanishing_support", "vanishing_support", "converged", "converged"]
    assert list(frame["collapsed"]) == [False, False, True, True, True]
    assert frame["entropy"].iloc[-1] == 0.0
    assert frame["value"].iloc[-1] == 0.8


def test_without_a_target_a_run_ends() -> None:
    frame = lagged_iteration(*PROBLEM, "asym_re", shift=0.1, rounds=4)
    assert list(frame["round"]) == [0, 1]
    assert frame["status"].iloc[-1] == "no_target"
    assert frame[["value", "entropy", "kl", "max_ratio"]].iloc[-1].isna().all()
    assert not frame["collapsed"].iloc[-1]


@dataclass(frozen=True)
class ConstantREINFORCE(ps.AsymRE):
    """Off-policy REINFORCE against a constant: a target exists only while the rewards seen are above it."""

    def baseline_parts(self, reward: Any, weights: Any = None) -> tuple[Any, Any]:
        zeros = np.zeros_like(reward[..., 0])
        return zeros + 0.35, zeros


def test_the_other_runs_go_on() -> None:
    frame = lagged_iteration(*PROBLEM, ConstantREINFORCE(), rounds=6, samples=4, noise="bernoulli", runs=40, seed=3)
    last = frame.groupby("run").tail(1).set_index("run")
    ended = last["status"] == "no_target"
    assert 3 < ended.sum() < 37
    assert (last.loc[~ended, "round"] == 6).all()
    assert (last.loc[ended, "round"] < 6).any()
    # A run's rows are those of rounds 0, 1, ... up to its last.
    assert (frame.groupby("run")["round"].apply(list) == last["round"].map(lambda t: list(range(t + 1)))).all()


@pytest.mark.parametrize("unsampled", ["keep", "drop"])
def test_sampled_rounds_by_hand(unsampled: Any) -> None:
    behavior, reward = map(np.array, PROBLEM)
    options: dict[str, Any] = {"beta": 0.25, "rounds": 4, "samples": 5, "noise": "bernoulli", "seed": 11}
    frame = lagged_iteration(*PROBLEM, "kimi", runs=3, unsampled=unsampled, policies=True, **options)
    dropped = 0
    for run in range(3):
        rng, policy = np.random.default_rng([11, 0, run]), behavior
        for expected in policies(frame[frame["run"] == run])[1:]:
            counts = drawn(rng, policy, 5)
            seen = counts > 0
            means = rng.binomial(counts[seen], reward[seen]) / counts[seen]
            mass = policy[seen].sum()
            target = ps.induced_target(policy[seen] / mass, means, "kimi", beta=0.25)
            after = np.zeros(4) if unsampled == "drop" else policy.copy()
            after[seen] = (1.0 if unsampled == "drop" else mass) * target.policy
            dropped += int((~seen).sum())
            policy = after / after.sum()
            np.testing.assert_allclose(policy, expected, rtol=1e-10)
    assert dropped > 0


def test_runs_and_problems_do_not_disturb_each_other() -> None:
    behavior = np.stack([make_problem(s, 5)[0] for s in (1, 2)])
    reward = np.array([0.0, 0.3, 0.5, 0.9, 1.0])
    options: dict[str, Any] = {"beta": 0.3, "rounds": 5, "samples": 20, "seed": 4, "policies": True, "lag": 1}
    many = lagged_iteration(behavior, reward, "shifted_mean", runs=3, **options)
    assert many.groupby(["problem", "run"]).ngroups == 6
    one = lagged_iteration(behavior[0], reward, "shifted_mean", runs=1, **options)
    same = many[(many["problem"] == 0) & (many["run"] == 0)]
    np.testing.assert_allclose(policies(same), policies(one), rtol=1e-12)
    others = many[(many["problem"] == 0) & (many["run"] == 1)]
    assert np.abs(policies(others) - policies(one)).max() > 1e-3
    again = lagged_iteration(behavior, reward, "shifted_mean", runs=3, **options)
    pd.testing.assert_frame_equal(many, again, check_exact=True)
    exact = lagged_iteration(behavior, reward, "shifted_mean", beta=0.3, rounds=5, lag=1, policies=True)
    for problem in range(2):
        alone = lagged_iteration(behavior[problem], reward, "shifted_mean", beta=0.3, rounds=5, lag=1, policies=True)
        np.testing.assert_allclose(policies(exact[exact["problem"] == problem]), policies(alone), rtol=1e-12)


def test_many_samples_are_exact() -> None:
    exact = lagged_iteration(*PROBLEM, "kimi", beta=0.25, rounds=4)
    for noise in (None, "bernoulli", 0.5, lambda rng, mean: rng.uniform(0.0, 2.0 * mean)):
        frame = lagged_iteration(*PROBLEM, "kimi", beta=0.25, rounds=4, samples=2_000_000, noise=noise, seed=2)
        np.testing.assert_allclose(frame["value"], exact["value"], atol=5e-3)
        if noise is None:
            np.testing.assert_allclose(frame["value"], exact["value"], rtol=1e-12)
        else:
            assert np.abs(frame["value"] - exact["value"]).max() > 1e-7


def test_noise_of_few_samples_misleads() -> None:
    # Of equal rewards nothing can be learned; noise is taken for a difference, and entropy falls.
    frame = lagged_iteration(
        [0.25] * 4, [0.5] * 4, "kimi", beta=0.2, rounds=30, samples=8, noise="bernoulli", runs=20, seed=5
    )
    entropy = frame.groupby("round")["entropy"].mean()
    assert entropy.iloc[-1] < 0.5 * entropy.iloc[0]
    exact = lagged_iteration([0.25] * 4, [0.5] * 4, "kimi", beta=0.2, rounds=3)
    np.testing.assert_allclose(exact["entropy"], np.log(4.0))


def test_what_leaks_goes_to_the_actions_not_drawn() -> None:
    options: dict[str, Any] = {"beta": 0.25, "value": 1.0, "unseen": True, "policies": True}
    frame = lagged_iteration(*PROBLEM, "constant_baseline", rounds=1, samples=3, runs=12, seed=1, **options)
    behavior, reward = map(np.array, PROBLEM)
    after = frame[frame["round"] == 1]
    assert (after["leak"] > 0.1).all()
    for run, policy in enumerate(policies(after)):
        counts = drawn(np.random.default_rng([1, 0, run]), behavior, 3)
        seen = counts > 0
        mass = behavior[seen].sum()
        target = ps.induced_target(
            behavior[seen] / mass, reward[seen], "constant_baseline", unseen=True, beta=0.25, value=1.0
        )
        np.testing.assert_allclose(policy[seen], mass * target.policy, rtol=1e-12)
        np.testing.assert_allclose(policy[~seen], behavior[~seen] / (1 - mass) * (1 - policy[seen].sum()), rtol=1e-12)
    # Where everything is seen there is nowhere to go.
    everything = lagged_iteration(*PROBLEM, "constant_baseline", rounds=1, **options)
    np.testing.assert_allclose(policies(everything).sum(axis=1), 1.0)


def test_nothing_is_printed_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    lagged_iteration(*PROBLEM, "kimi", rounds=3, samples=5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds must be an integer >= 1, got 0"),
        ({"lag": -1}, "lag must be an integer >= 0, got -1"),
        ({"samples": 0}, "samples must be an integer >= 1, got 0"),
        ({"rounds": 10**9}, "rounds must be at most 100,000, got 1,000,000,000"),
        ({"samples": 10**9}, "samples must be at most 67,108,864, got 1,000,000,000"),
        (
            {"samples": 1, "runs": 10**9},
            "rounds times runs times the number of problems must be at most 10,000,000, got 2,000,000,000",
        ),
        ({"runs": 3}, "runs and noise need samples: exact rounds do not differ"),
        ({"noise": "bernoulli"}, "runs and noise need samples: exact rounds do not differ"),
        ({"samples": 4, "noise": "gauss"}, "noise must be None, \"bernoulli\", .*, got 'gauss'"),
        ({"samples": 4, "noise": -1.0}, 'noise must be None, "bernoulli", .*, got -1.0'),
        ({"samples": 4, "noise": lambda rng, mean: mean[:2]}, r"noise must return 4 finite rewards, got shape \(2,\)"),
        ({"unsampled": "lose"}, 'unsampled must be "keep" or "drop", got \'lose\''),
        ({"reference": "first"}, 'reference must be "behavior" or "initial", got \'first\''),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        lagged_iteration(*PROBLEM, "kimi", **{"rounds": 2, **options})


@pytest.mark.parametrize("options", [{"lag": 10**9}, {"policies": True}])
def test_what_is_held_at_once_is_bounded(options: dict[str, Any]) -> None:
    what = f"{'rounds' if 'policies' in options else 'lag'} times runs times the number of probabilities"
    with pytest.raises(ValueError, match=f"^{what} must be at most 134,217,728, got 200,002,000$"):
        lagged_iteration([0.05] * 20, [0.0] * 20, "kimi", rounds=10**5, samples=1, runs=100, **options)


def test_bernoulli_noise_needs_probabilities() -> None:
    with pytest.raises(ValueError, match='^noise="bernoulli" needs rewards that are probabilities'):
        lagged_iteration([0.5, 0.5], [0.0, 2.0], "kimi", rounds=2, samples=4, noise="bernoulli")
    with pytest.raises(ValueError, match="^behavior must be given"):
        lagged_iteration(None, [0.0, 1.0], "kimi", rounds=2)
