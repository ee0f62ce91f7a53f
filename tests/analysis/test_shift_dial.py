from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw, softmax

import pessimism as ps
from analysis.shift_dial import finding, headline, shift_dial, trained, world

BETA = 0.1


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return shift_dial(rollouts=(32, 256, 4096), shifts=(0.0, 1.0, 4.0, 10.0), seeds=150)


def lambert(q: np.ndarray, reward: np.ndarray, shift: float) -> np.ndarray:
    """Target of one log by Lambert's function and a root finder."""
    x = (reward - q @ reward) / BETA + shift

    def ratio(kappa: float) -> np.ndarray:
        return np.real(lambertw(kappa * np.exp(x))) / kappa

    return q * ratio(brentq(lambda kappa: q @ ratio(kappa) - 1, 1e-6, 60.0, xtol=1e-14))


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_training_is_on_the_actions_drawn(shift: float) -> None:
    rng = np.random.default_rng(1)
    q, true = rng.dirichlet(np.ones(6)), rng.uniform(size=6)
    counts = np.array([[5, 0, 3, 9, 1, 0], [1, 1, 1, 1, 1, 1]])
    estimate = rng.binomial(counts, true) / np.maximum(counts, 1)
    found = trained(q, estimate, counts, ps.ShiftedMean(beta=BETA, shift=shift))
    for log, policy in enumerate(found):
        drawn = counts[log] > 0
        mass = q[drawn].sum()
        np.testing.assert_allclose(
            policy[drawn], mass * lambert(q[drawn] / mass, estimate[log, drawn], shift), rtol=1e-8
        )
        np.testing.assert_array_equal(policy[~drawn], q[~drawn])


def test_numbers_are_those_of_a_loop_over_the_logs() -> None:
    frame = shift_dial(beta=BETA, actions=5, rewards=(0.9, 0.3), rollouts=(20,), shifts=(0.5, 2.0), seeds=7, seed=3)
    q = 1 / np.arange(1, 6) / (1 / np.arange(1, 6)).sum()
    rng = np.random.default_rng([3, 0, 20])
    true = world("competent", 5, (0.9, 0.3), rng, 7)[0]
    counts = rng.multinomial(20, q, size=7)
    estimate = rng.binomial(counts, true) / np.maximum(counts, 1)
    values, nominal = np.zeros((7, 2)), np.zeros(7)
    for log in range(7):
        drawn = counts[log] > 0
        mass, part = q[drawn].sum(), q[drawn] / q[drawn].sum()
        tilted = softmax(np.log(part) + estimate[log, drawn] / BETA)
        nominal[log] = mass * (tilted - part) @ true[drawn]
        for i, shift in enumerate((0.5, 2.0)):
            values[log, i] = mass * (lambert(part, estimate[log, drawn], shift) - part) @ true[drawn]
    rows = frame[frame["world"] == "competent"]
    np.testing.assert_allclose(rows["improvement"], values.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(rows["standard_error"], values.std(axis=0, ddof=1) / np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(rows["nominal"], nominal.mean(), rtol=1e-8)
    np.testing.assert_allclose(rows["over_first"], [0.0, (values[:, 1] - values[:, 0]).mean()], rtol=1e-6, atol=1e-15)
    assert rows["best"].tolist() == (np.arange(2) == values.mean(axis=0).argmax()).tolist()


def test_with_exact_rewards_a_shift_only_costs(frame: pd.DataFrame) -> None:
    exact = frame.pivot(index=["world", "rollouts"], columns="shift", values="exact")
    assert (np.diff(exact, axis=1) < 0).all()
    assert (exact > 0).all(axis=None)


def test_many_rollouts_tend_to_exact_rewards() -> None:
    rows = shift_dial(rollouts=(2**20,), seeds=4)
    np.testing.assert_allclose(rows["improvement"], rows["exact"], rtol=0.01)


def test_a_huge_shift_stays_at_the_behavior() -> None:
    rows = shift_dial(rollouts=(64,), shifts=(0.0, 1e5), seeds=20)
    assert rows.loc[rows["shift"] == 1e5, "improvement"].abs().max() < 1e-5


def test_one_best_shift_for_each_number_of_rollouts(frame: pd.DataFrame) -> None:
    for _, rows in frame.groupby(["world", "rollouts"]):
        assert rows["best"].sum() == 1
        assert rows.loc[rows["best"], "improvement"].item() == rows["improvement"].max()


def test_what_is_said_is_read_from_the_frame(frame: pd.DataFrame) -> None:
    assert "up to n = 256" in headline(frame)
    assert "at no n" in headline(frame.assign(over_first=0.0))
    last = frame[(frame["world"] == "competent") & (frame["rollouts"] == 4096) & (frame["shift"] == 10)]
    assert f"c = 10 costs {-last['over_first'].item():.3f} at n = 4096" in finding(frame)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seeds": 1}, "seeds must be an integer >= 2, got 1"),
        ({"rollouts": (0,)}, "rollouts must be an integer >= 1, got 0"),
        ({"rewards": (0.2, 0.7)}, "rewards must be the largest and the smallest"),
        ({"shifts": (1.0, 0.0)}, "shifts must be ascending"),
    ],
)
def test_bad_arguments_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shift_dial(**setting)
