from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from analysis.bandit_logs import world
from analysis.shift_dial import finding, headline, shift_dial
from tests.analysis.lambert import BETA, lambert
from tests.helpers import numbers


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return shift_dial(rollouts=(32, 256, 4096), shifts=(0.0, 1.0, 4.0, 10.0), seeds=300)


def test_numbers_are_those_of_a_loop_over_the_logs() -> None:
    """The best shift is chosen on the first half of the logs, everything else measured on the other."""
    frame = shift_dial(beta=BETA, actions=5, rewards=(0.9, 0.3), rollouts=(20,), shifts=(0.5, 2.0), seeds=13, seed=3)
    q = 1 / np.arange(1, 6) / (1 / np.arange(1, 6)).sum()
    rng = np.random.default_rng([3, 0, 20])
    true = world("competent", 5, (0.9, 0.3), rng, 13)[0]
    counts = rng.multinomial(20, q, size=13)
    estimate = rng.binomial(counts, true) / np.maximum(counts, 1)
    values, nominal = np.zeros((13, 2)), np.zeros(13)
    for log in range(13):
        drawn = counts[log] > 0
        mass, part = q[drawn].sum(), q[drawn] / q[drawn].sum()
        tilted = softmax(np.log(part) + estimate[log, drawn] / BETA)
        nominal[log] = mass * (tilted - part) @ true[drawn]
        for i, shift in enumerate((0.5, 2.0)):
            values[log, i] = mass * (lambert(part, estimate[log, drawn], shift) - part) @ true[drawn]
    rows, measured = frame[frame["world"] == "competent"], values[6:]
    over = measured[:, 1] - measured[:, 0]
    np.testing.assert_allclose(rows["improvement"], measured.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(rows["standard_error"], measured.std(axis=0, ddof=1) / np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(rows["nominal"], nominal[6:].mean(), rtol=1e-8)
    np.testing.assert_allclose(rows["nominal_error"], nominal[6:].std(ddof=1) / np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(rows["over_first"], [0.0, over.mean()], rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(rows["over_first_error"], [0.0, over.std(ddof=1) / np.sqrt(7)], rtol=1e-6)
    assert rows["best"].tolist() == (np.arange(2) == values[:6].mean(axis=0).argmax()).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_chosen_by_chance_does_not_pay(seed: int) -> None:
    """At n = 512 no shift is better than none: the best of many on the logs that chose it would seem so."""
    frame = shift_dial(rollouts=(512,), seeds=400, seed=seed)
    assert headline(frame) == "A shift pays at no n, whether the behavior knows what is good or not"


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
    assert (frame.groupby(["world", "rollouts"])["best"].sum() == 1).all()


def test_what_is_said_is_read_from_the_frame(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame))[0] == 256
    last = frame[(frame["world"] == "competent") & (frame["rollouts"] == 4096) & (frame["shift"] == 10)]
    said = numbers(finding(frame))
    assert float(f"{-last['over_first'].item():.2g}") in said
    assert [10, 32, 0, 4096] in [said[i : i + 4] for i in range(len(said))]  # the best shift, at few and many rollouts
    holes = frame.assign(over_first=frame["over_first"].where(frame["rollouts"] != 32, 0.0))
    assert numbers(headline(holes))[:2] == [1, 3]


def test_where_no_shift_pays_none_is_said_to() -> None:
    frame = shift_dial(beta=1.0, rollouts=(64, 4096), shifts=(0.0, 1.0), seeds=40)
    assert frame.loc[frame["best"], "shift"].eq(0).all()
    assert numbers(headline(frame)) == []
    assert numbers(finding(frame)).count(0) == 2


def test_a_change_within_its_error_is_no_cost() -> None:
    frame = shift_dial(rollouts=(64,), shifts=(0.0, 1e-7), seeds=40)
    blurred = frame.assign(over_first=-1e-4, over_first_error=1e-4)
    assert 1e-7 in numbers(finding(blurred))
    assert not {1e-4, -1e-4} & set(numbers(finding(blurred)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seeds": 3}, "seeds must be an integer >= 4, got 3"),
        ({"actions": 1}, "actions must be an integer >= 2, got 1"),
        ({"rollouts": (0,)}, "rollouts must be an integer >= 1, got 0"),
        ({"rollouts": ()}, "rollouts must hold at least one number, got none"),
        ({"rewards": (0.2, 0.7)}, "rewards must be the largest and the smallest"),
        ({"rewards": (0.7, 0.5, 0.2)}, "rewards must be the largest and the smallest"),
        ({"shifts": (1.0, 0.0)}, "shifts must be ascending"),
    ],
)
def test_bad_arguments_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shift_dial(**setting)
