"""STAR: SNIPS at horizon one, the exact value of a Markov decision process, windows by products, refusals."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pessimism import evaluate, make_logs
from pessimism.evaluation.star import window_products
from tests.helpers import Array
from tests.pessimism.evaluation.simulate import POLICY, bandit_feedback

# Three states, two actions; what is missing from a row is the chance that the episode ends.
MOVES = np.array(
    [[[0.1, 0.5, 0.1], [0.1, 0.1, 0.5]], [[0.4, 0.1, 0.1], [0.0, 0.1, 0.5]], [[0.2, 0.3, 0.0], [0.5, 0.0, 0.1]]]
)
GAIN = np.array([[0.0, 1.0], [0.5, -0.5], [2.0, 0.2]])
START = np.array([0.6, 0.3, 0.1])
LOGGER = np.array([[0.5, 0.5], [0.6, 0.4], [0.4, 0.6]])
TARGET = np.array([[0.3, 0.7], [0.5, 0.5], [0.6, 0.4]])
COARSE = [0, 1, 1]


def _true_value(gamma: float) -> float:
    """By repeated Bellman updates."""
    value = np.zeros(3)
    for _ in range(500):
        value = (TARGET * (GAIN + gamma * MOVES @ value)).sum(axis=1)
    return float(START @ value)


@cache
def _episodes(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    episode, state, rows, step = np.arange(count), rng.choice(3, size=count, p=START), [], 0
    while len(episode):
        action = (rng.random(len(state)) < LOGGER[state, 1]).astype(int)
        columns = {"episode": episode, "step": step, "context": state, "action": action}
        columns |= {"pscore": LOGGER[state, action], "reward": GAIN[state, action] + rng.normal(size=len(state))}
        rows.append(pd.DataFrame(columns))
        after = (rng.random(len(state))[:, None] > MOVES[state, action].cumsum(axis=1)).sum(axis=1)
        episode, state, step = episode[after < 3], after[after < 3], step + 1
    return pd.concat(rows, ignore_index=True)


def test_horizon_one_and_one_abstract_state_is_snips() -> None:
    feedback = bandit_feedback(seed=4)
    star, snips = evaluate(POLICY, feedback, "star"), evaluate(POLICY, feedback, "snips")
    for name in ("value", "lower", "upper", "ess", "n"):
        assert getattr(star, name) == pytest.approx(getattr(snips, name), abs=1e-12, rel=1e-12)


def test_horizon_one_by_context_is_stratified_snips() -> None:
    feedback = bandit_feedback(seed=4)
    group = np.arange(200) % 3
    found = evaluate(dict.fromkeys(range(3), POLICY), feedback | {"context": group}, "star", phi=lambda c: c)
    weight, reward = POLICY[feedback["action"]] / feedback["pscore"], feedback["reward"]
    strata = [(weight * reward)[group == c].sum() / weight[group == c].sum() for c in range(3)]
    assert found.value == pytest.approx(np.bincount(group) / 200 @ strata, rel=1e-13)


@pytest.mark.parametrize("gamma", [1.0, 0.8])
@pytest.mark.parametrize(
    ("phi", "window"), [(None, None), (COARSE, None), ([0, 1, 2], None), ([0, 1, 2], 1), ([0, 1, 2], 3)]
)
def test_consistent_for_any_abstraction_with_all_ratios_and_for_the_states_with_any_window(
    phi: Any, window: int | None, gamma: float
) -> None:
    found = evaluate(TARGET, _episodes(40_000, 0), "star", phi=phi, window=window, gamma=gamma)
    error = (found.upper - found.value) / 1.959964
    assert abs(found.value - _true_value(gamma)) < 3 * error
    assert error < 0.05
    assert found.n == 40_000


def test_a_short_window_under_a_coarse_abstraction_is_off() -> None:
    """So that the consistency above says something."""
    found = evaluate(TARGET, _episodes(40_000, 0), "star", window=1)
    assert abs(found.value - _true_value(1.0)) > 4 * (found.upper - found.value) / 1.959964
    logger = evaluate(LOGGER, _episodes(40_000, 0), "star").value
    assert abs(logger - _true_value(1.0)) > 0.1


def test_on_policy_and_undiscounted_is_the_mean_return() -> None:
    """All weights one: visits solve the flow equations of the counts, so nothing is lost by abstraction."""
    logs = _episodes(500, 1)
    for phi in (None, COARSE):
        found = evaluate(LOGGER, logs, "star", phi=phi)
        assert found.value == pytest.approx(logs.reward.sum() / 500, rel=1e-10)
        half = 1.959964 * logs.groupby("episode").reward.sum().std() / np.sqrt(500)
        assert found.upper - found.value == pytest.approx(half, rel=1e-6)


def test_the_interval_covers() -> None:
    hits, truth = 0, _true_value(1.0)
    logs = _episodes(40_000, 2)
    for _, part in logs.groupby(logs.episode // 200):
        found = evaluate(TARGET, part, "star", phi=[0, 1, 2], window=1)
        hits += found.lower <= truth <= found.upper
    assert 0.90 <= hits / 200 <= 0.99


def test_order_of_rows_does_not_matter_with_steps() -> None:
    logs = _episodes(100, 3)
    ordered = logs.sort_values(["episode", "step"])
    shuffled = logs.sample(frac=1, random_state=0)
    expected = evaluate(TARGET, ordered.drop(columns="step"), "star", phi=COARSE, window=2)
    found = evaluate(TARGET, shuffled, "star", phi=COARSE, window=2)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.upper == pytest.approx(expected.upper, rel=1e-12)


def test_windows_are_products() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 8, size=30)
    time = np.concatenate([np.arange(length) for length in lengths])
    ratio = rng.exponential(size=len(time)) * (rng.random(len(time)) > 0.3)

    def slow(row: int, window: int) -> float:
        return float(np.prod(ratio[row - min(time[row], window - 1) : row + 1]))

    for window in (1, 2, 3, 7, 50):
        expected = [slow(row, window) for row in range(len(time))]
        np.testing.assert_allclose(window_products(ratio, time, window), expected, rtol=1e-14)
    np.testing.assert_allclose(window_products(ratio, time, None), [slow(row, 50) for row in range(len(time))])


def test_zero_ratios_give_numbers() -> None:
    """A window that has left the zero behind counts again, where division of running products gives nan."""
    ratio: Array = np.array([0.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    logs = {"weight": ratio, "reward": [1.0, 1.0, 3.0, 0.0, 1.0, 2.0], "episode": [0, 0, 0, 1, 1, 1]}
    # W = (0, 0, 2) and (1, 1, 1): visits 5, gains 2 * 3 + 0 + 1 + 2, ends 2 + 1.
    found = evaluate(None, logs, "star", window=2)
    assert found.value == pytest.approx(9 / 5 / (3 / 5))
    assert np.isfinite([found.lower, found.upper, found.ess]).all()
    assert np.isfinite(evaluate(None, logs, "star").value)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"window": 0}, "^window must be a positive integer or None, got 0$"),
        ({}, {"gamma": 1.1}, "^gamma must be at most 1, got 1.1$"),
        ({}, {"gamma": 0.0}, "^gamma must be greater than 0, got 0.0$"),
        ({}, {"phi": [0, 1]}, "^logs must hold integer context ids for phi, a vector of abstract states$"),
        ({}, {"phi": lambda c: c}, "^logs must hold context for phi, which maps it to abstract states$"),
        (
            {"context": [0, 0, 2]},
            {"phi": [0, 1]},
            r"^context\[2\] must be the index of one of 2 entries of phi, got 2$",
        ),
        ({"episode": [0, 1, 0]}, {}, "^episode 0 starts again at row 2: keep its rows together and in order"),
        ({"step": [0, 2, 0]}, {}, r"^step\[1\] must follow each other by one within episode 'a', got 2 after 0$"),
        ({"weight": [1, 0, 0]}, {}, "^policy must let episodes end: from some abstract state none does"),
        (
            {"weight": [0, 0, 0]},
            {},
            "^policy must give some logged action positive probability in every abstract state",
        ),
        (
            {"context": [0, 1, 2]},
            {"phi": lambda c: ["a", 1, "b"]},
            r"^phi\[1\] must be comparable with phi\[0\], got int and str$",
        ),
        ({"weight": [1e200, 1e200, 1]}, {}, "^window must be smaller: products of ratios overflow$"),
    ],
)
def test_refusals(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    logs = {"weight": [1.0, 1.0, 1.0], "reward": [1.0, 0.0, 1.0], "episode": ["a", "a", "b"]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(None, make_logs(logs), "star", **options)
