from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.bandit_logs import likelier_first
from analysis.pessimism_or_variance import CELLS, crossed, finding, headline, makers, noise, pessimism_or_variance
from pessimism.dynamics.trajectory import make_flow_problem
from tests.helpers import numbers

RNG = np.random.default_rng(5)
Q, R = RNG.dirichlet(np.ones(6)), RNG.uniform(0.1, 0.9, size=6)
BETA = 0.2


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pessimism_or_variance(rollouts=(64, 2048), caps=(1e-3, 1.0, 1e4), seeds=30)


def halfway(objective: ps.Objective) -> np.ndarray:
    policy = np.sqrt(Q * np.asarray(ps.induced_target(Q, R, objective).policy))
    return policy / policy.sum()


@pytest.mark.parametrize("name", list(CELLS))
def test_noise_is_that_of_sampled_gradients(name: str) -> None:
    objective = makers(BETA, ())[name, np.inf](1.3)
    policy, rng = halfway(objective), np.random.default_rng(0)
    actions = rng.choice(6, size=400_000, p=Q)
    observed = rng.binomial(1, R[actions])
    baseline = float(ps.induced_target(Q, R, objective).baseline)
    g = objective.score_weight(np.log(policy / Q)[actions], observed - baseline, None)
    gradients = g[:, None] * (np.eye(6)[actions] - policy)
    mean = gradients.mean(axis=0)
    assert noise(Q, R, objective, 0.5) == pytest.approx(gradients.var(axis=0).sum() / (mean @ mean), rel=0.05)


@pytest.mark.parametrize("name", list(CELLS))
def test_the_signal_is_the_exact_field(name: str) -> None:
    """Noise + 1 is the second moment over the squared field, with the field from the library."""
    objective = makers(BETA, ())[name, np.inf](1.3)
    target, policy = ps.induced_target(Q, R, objective), halfway(objective)
    field = make_flow_problem(Q, R, objective, None, None).pull.field(np.log(policy))
    u, second = np.log(policy / Q), 0.0
    for action in range(6):
        for reward, chance in ((0.0, 1 - R[action]), (1.0, R[action])):
            g = objective.score_weight(u[action], np.float64(reward) - target.baseline, None)
            second += Q[action] * chance * float(np.sum((g * (np.eye(6)[action] - policy)) ** 2))
    assert noise(Q, R, objective, 0.5) + 1 == pytest.approx(second / (field @ field), rel=1e-9)


def test_noise_does_not_depend_on_the_scale_of_a_loss() -> None:
    class Doubled(ps.Kimi):
        def score_weight(self, log_ratio: np.ndarray, advantage: np.ndarray, weights: object = None) -> np.ndarray:
            return 7.0 * super().score_weight(log_ratio, advantage, None)

        def loss(self, log_ratio: np.ndarray, advantage: np.ndarray, weights: object = None) -> np.ndarray:
            return 7.0 * super().loss(log_ratio, advantage, None)

    assert noise(Q, R, Doubled(beta=BETA), 0.5) == pytest.approx(noise(Q, R, ps.Kimi(beta=BETA), 0.5), rel=1e-12)


def test_ends_of_the_dial_are_the_cells(frame: pd.DataFrame) -> None:
    for n in (64, 2048):
        rows = frame[frame["rollouts"] == n].set_index(["objective", "cap"])
        low, high = rows.loc[("truncated_is", 1e-3)], rows.loc[("truncated_is", 1e4)]
        assert low["improvement"] == pytest.approx(rows.loc[("kimi", np.inf), "improvement"], abs=1e-5)
        assert high["improvement"] == pytest.approx(rows.loc[("nominal", np.inf), "improvement"], abs=1e-9)
        assert low["noise_halfway"] == pytest.approx(rows.loc[("kimi", np.inf), "noise_halfway"], rel=0.01)
        assert high["noise_halfway"] == pytest.approx(rows.loc[("nominal", np.inf), "noise_halfway"], rel=1e-6)


def test_estimators_of_a_target_agree_and_targets_do_not(frame: pd.DataFrame) -> None:
    for n in (64, 2048):
        table = crossed(frame, n, "improvement")
        np.testing.assert_allclose(table["ratio-free"], table["importance-weighted"], atol=1e-12)
        assert abs(table["ratio-free"].diff().iloc[-1]) > 0.005
    assert frame.loc[frame["target"] != "between", "apart"].max() < 1e-12
    assert frame.loc[frame["cap"] == 1.0, "apart"].min() > 1e-3


def test_all_objectives_start_alike_up_to_the_baseline(frame: pd.DataFrame) -> None:
    start = frame.set_index("objective")["noise_start"]
    means = start.drop("optimal_value")
    np.testing.assert_allclose(means, means.iloc[0], rtol=1e-9)
    assert abs(start["optimal_value"].iloc[0] / means.iloc[0] - 1) > 0.01


def test_no_baseline_takes_the_noise_of_the_ratios_away() -> None:
    """A constant baseline leaves the mean of weighted gradients as it is; try all of them on the default problem."""
    behavior = 1 / np.arange(1, 33) / (1 / np.arange(1, 33)).sum()
    reward, objective = np.linspace(0.7, 0.2, 32), ps.Nominal(beta=0.05)
    target = ps.induced_target(behavior, reward, objective)
    policy = np.sqrt(behavior * np.asarray(target.policy))
    policy /= policy.sum()
    score, noises = np.eye(32) - policy, []
    for baseline in np.linspace(-1, 2, 301):
        mean, second = np.zeros(32), 0.0
        for observed, chance in ((0.0, 1 - reward), (1.0, reward)):
            g = objective.score_weight(np.log(policy / behavior), np.full(32, observed - baseline), None)
            mean += (behavior * chance * g) @ score
            second += (behavior * chance * g**2) @ (score**2).sum(axis=1)
        noises.append(second / (mean @ mean) - 1)
    assert min(noises) > 0.95 * noise(behavior, reward, objective, 0.5)
    assert min(noises) > 5 * noise(behavior, reward, ps.OptimalValue(beta=0.05), 0.5)


def test_the_dip_of_the_dial_is_the_signal_and_continuous() -> None:
    behavior = 1 / np.arange(1, 33) / (1 / np.arange(1, 33)).sum()
    reward, caps = np.linspace(0.7, 0.2, 32), np.linspace(1.4, 2.5, 441)
    noises, ratios, largest = np.zeros((3, len(caps)))
    for i, cap in enumerate(caps):
        objective = ps.TruncatedIS(beta=0.05, cap=cap)
        log_ratio = np.asarray(ps.induced_target(behavior, reward, objective).log_ratio)
        policy = behavior * np.exp(0.9 * log_ratio)
        noises[i] = noise(behavior, reward, objective, 0.9)
        ratios[i], largest[i] = (policy / policy.sum() / behavior).max(), np.exp(log_ratio).max()
    assert np.abs(np.diff(np.log(noises))).max() < 0.03
    meets = caps[np.argmax(caps > ratios)]
    assert caps[noises.argmin()] == pytest.approx(meets, abs=0.01)
    nominal = noise(behavior, reward, ps.Nominal(beta=0.05), 0.9)
    np.testing.assert_allclose(noises[caps > largest], nominal, rtol=1e-9)
    assert noises.min() < nominal / 2


def test_noises_of_the_frame_are_those_under_the_true_rewards(frame: pd.DataFrame) -> None:
    behavior, reward = likelier_first(32), np.linspace(0.7, 0.2, 32)
    cells = frame[frame["rollouts"] == 64].set_index("objective")
    for name, objective in (
        ("nominal", ps.Nominal(beta=0.05)),
        ("kimi", ps.Kimi(beta=0.05)),
        ("optimal_value", ps.OptimalValue(beta=0.05)),
    ):
        for column, along in (("noise_start", 0.0), ("noise_halfway", 0.5), ("noise_near", 0.9)):
            assert cells.loc[name, column] == pytest.approx(noise(behavior, reward, objective, along), rel=1e-9)
    free = frame.groupby("estimator")["objective"].unique()
    assert set(free["ratio-free"]) == {"optimal_value", "kimi"}


def test_the_standard_error_is_the_spread_over_other_logs() -> None:
    several = [pessimism_or_variance(rollouts=(64,), caps=(1.0,), seeds=10, seed=seed) for seed in range(25)]
    spread = np.std([frame["improvement"] for frame in several], axis=0, ddof=1)
    stated = np.mean([frame["standard_error"] for frame in several], axis=0)
    np.testing.assert_allclose(stated, spread, rtol=0.5)


def test_what_is_said_is_read_from_the_frame(frame: pd.DataFrame) -> None:
    assert headline(frame.assign(apart=0.1)) != headline(frame)
    gain = crossed(frame, 64, "improvement")["ratio-free"]
    assert float(f"{gain['Lambert'] - gain['nominal']:.2g}") in numbers(finding(frame))


def test_factors_of_the_noise_say_where_they_hold(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame))[-2:] == [4.8, 11]
    for along in ("start", "halfway", "near"):
        cells = frame[frame["rollouts"] == 64].set_index("objective")[f"noise_{along}"]
        times = (cells["nominal"] / cells["optimal_value"], cells["mixed_chi2_kl"] / cells["kimi"])
        low, high = (f"{time:.0f}" if time > 9.5 else f"{time:.2g}" for time in (min(times), max(times)))
        assert [float(low), float(high)] in [list(pair) for pair in pairwise(numbers(finding(frame)))]


@pytest.mark.parametrize("beta", [0.01, 1.0])
def test_nothing_is_concluded_that_other_parameters_deny(beta: float) -> None:
    frame = pessimism_or_variance(beta=beta, rollouts=(128,), caps=(1.0,), seeds=10)
    assert numbers(finding(frame)).count(128) == 1
    assert "mostly" not in finding(frame)
    assert "that is pessimism" not in finding(frame)
    if beta == 1.0:
        assert numbers(headline(frame))[-1] == 1.1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seeds": 1}, "seeds must be an integer >= 2, got 1"),
        ({"actions": 1}, "actions must be an integer >= 2, got 1"),
        ({"rollouts": ()}, "rollouts must hold at least one number, got none"),
        ({"rollouts": (0,)}, "rollouts must be an integer >= 1, got 0"),
        ({"rewards": (0.5, 0.5)}, r"rewards must be the largest and the smallest, different.*got \(0.5, 0.5\)"),
        ({"rewards": (2, 0.2)}, r"rewards must be the largest and the smallest, .*in \[0, 1\], got \(2, 0.2\)"),
        ({"caps": (0.0,), "seeds": 2}, "truncated_is: cap must be > 0"),
    ],
)
def test_bad_arguments_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        pessimism_or_variance(**setting)
    assert "\n" not in str(error.value)
