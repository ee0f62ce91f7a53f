from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.lag import COMPARED, finding, headline, held, lag, retuned, settings, trained
from analysis.lag_steps import COLLAPSED, Prompts, draw_prompts, measured, walk
from tests.analysis.lags import BETA, EVERY
from tests.helpers import numbers


def test_rounds_are_those_of_the_library_and_lag_only_delays() -> None:
    prompts = draw_prompts(300, 6, seed=1)
    *_, (policy, _) = trained(EVERY["kimi"], prompts, lag=1, rounds=6, group=8, seed=1)
    start, reward = np.exp(prompts.log_start[7:8]), prompts.reward[7:8]
    one = ps.lagged_iteration(start, reward, "kimi", beta=BETA, rounds=6, lag=1)  # exact, for the delay
    now = ps.lagged_iteration(start, reward, "kimi", beta=BETA, rounds=3)
    np.testing.assert_allclose(one["value"].iloc[6], now["value"].iloc[3], rtol=1e-12)
    *_, (half, _) = trained(EVERY["kimi"], prompts, lag=0, rounds=3, group=8, seed=2)
    gap = ((policy - half) * prompts.reward).sum(axis=-1)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(300)
    frame = ps.lagged_iteration(
        np.exp(prompts.log_start),
        prompts.reward,
        "kimi",
        beta=BETA,
        rounds=6,
        lag=1,
        samples=8,
        noise="bernoulli",
        seed=1,
    )
    value = frame[frame["round"] == 6]["value"].to_numpy()
    np.testing.assert_allclose((policy * prompts.reward).sum(axis=-1), value, rtol=1e-12)


def test_collapse_is_counted_by_its_threshold() -> None:
    reward = np.array([[0.9, 0.1]] * 4)
    prompts = Prompts(np.log(np.full((4, 2), 0.5)), reward, [])
    least = COLLAPSED
    policy = np.array([[1 - 0.9 * least, 0.9 * least], [1 - 1.1 * least, 1.1 * least], [0.5 * least, 1 - 0.5 * least]])
    found = measured(np.vstack([policy, [[0.5, 0.5]]]), np.zeros(4, dtype=bool), prompts)
    assert (found["collapsed"], found["premature"]) == (0.5, 0.25)
    assert found["value_error"] > 0


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return lag(lags=(0, 3), lrs=(0.5, 2.0), steps=30, rounds=4, prompts=6, actions=5, records=2)


def test_objectives_of_equal_advantage_are_one_algorithm_without_lag_and_not_with_it(frame: pd.DataFrame) -> None:
    rows = frame[(frame["dynamics"] == "steps") & (frame["time"] == 30)].set_index(["lag", "objective", "lr"])["value"]
    for name in ("ppo", "kimi"):
        np.testing.assert_allclose(rows[0][name], rows[0]["nominal"], rtol=1e-9)
        assert (np.abs(rows[3][name] - rows[3]["nominal"]) > 1e-6).all()


def test_the_start_is_the_same_for_all_and_updates_are_counted(frame: pd.DataFrame) -> None:
    start = frame[frame["time"] == 0]
    assert start["value"].nunique() == 1 or np.ptp(start["value"]) < 1e-12
    assert (start[["premature", "ended"]] == 0).all(axis=None)
    rounds = frame[(frame["dynamics"] == "rounds") & (frame["time"] == 4)].groupby("lag")["updates"].first()
    assert rounds.to_dict() == {0: 4, 3: 1}
    assert set(COMPARED) - set(frame.loc[frame["dynamics"] == "rounds", "objective"]) == {"grpo"}


def test_seeds_and_more_prompts(frame: pd.DataFrame) -> None:
    options = {"lags": (3,), "lrs": (2.0,), "steps": 30, "rounds": 4, "prompts": 6, "actions": 5, "records": 2}
    keys = ["dynamics", "objective", "lag", "time", "lr"]
    alone = lag(**options).set_index(keys)
    assert (alone.pop("difference_error") == 0).all()  # to the least lag of the frame
    pd.testing.assert_frame_equal(alone, frame.set_index(keys).loc[alone.index].drop(columns="difference_error"))
    other = lag(**options, seed=1).set_index(keys)
    assert (other["value"] != alone["value"]).all()
    few, many = draw_prompts(2, 5, seed=0), draw_prompts(4, 5, seed=0)
    np.testing.assert_array_equal(many.reward[:2], few.reward)


def test_the_error_of_a_difference_is_paired_by_prompt(frame: pd.DataFrame) -> None:
    prompts, values = draw_prompts(6, 5, seed=0), {}
    for behind in (0, 3):
        fresh = draw_prompts(6, 5, seed=0)
        *_, (policy, _) = walk(settings(0.1)["kimi"], fresh, lag=behind, lrs=(0.5, 2.0), steps=30, group=8)
        values[behind] = (np.exp(policy[1]) * prompts.reward).sum(axis=-1)
    rows = frame.query("dynamics == 'steps' and objective == 'kimi' and lr == 2.0 and time == 30").set_index("lag")
    expected = np.std(values[3] - values[0], ddof=1) / np.sqrt(6)
    assert rows.loc[3, "difference_error"] == pytest.approx(expected, rel=1e-9)
    assert expected < 0.9 * np.hypot(rows.loc[3, "value_error"], rows.loc[0, "value_error"])
    assert (frame.loc[frame["lag"] == 0, "difference_error"] == 0).all()
    assert (frame.query("lag == 3 and time == 4 and dynamics == 'rounds'")["difference_error"] > 0).all()


def test_prompts_do_not_share_their_stream_with_the_samples_of_rounds() -> None:
    theirs = np.random.default_rng([0, 2, 0]).standard_normal(3)
    np.testing.assert_array_equal(theirs, np.random.default_rng([0, 2]).standard_normal(3))  # why a spawn key
    log_start = draw_prompts(3, 3, seed=0).log_start[2]
    assert np.abs((log_start - log_start[0]) - (theirs - theirs[0])).max() > 0.1


def _row(objective: str, lag: int, lr: float, value: float, premature: float) -> dict[str, object]:
    rest = {"time": 9, "updates": 9, "value_error": 0.01, "entropy": 1.0, "kl": 1.0, "collapsed": 1.1 * premature}
    rest |= {"difference_error": 0.02 * (lag > 0)}
    own = {"objective": objective, "lag": lag, "lr": lr, "value": value, "premature": premature}
    return {"dynamics": "steps", **own, **rest, "ended": 0.0}


def test_rates_are_chosen_without_lag_for_all_or_anew_for_each() -> None:
    rows = [_row("a", 0, 1.0, 0.80, 0.5), _row("a", 0, 2.0, 0.795, 0.6), _row("a", 0, 4.0, 0.7, 0.9)]
    rows += [_row("a", 8, 1.0, 0.75, 0.2), _row("a", 8, 2.0, 0.90, 0.1), _row("a", 8, 4.0, 0.91, 0.3)]
    rounds = [{**row, "dynamics": "rounds", "lr": np.nan} for row in rows[::3]]
    made = pd.DataFrame(rows + rounds)
    assert held(made)["lr"].tolist() == [2.0, 2.0]
    assert retuned(made)["lr"].tolist() == [1.0, 4.0]
    # Time, lag, delayed collapses of all objectives, errors that count, values raised.
    assert numbers(headline(made)) == [9, 8, 1, 1, 2, 1]
    assert numbers(headline(made.assign(difference_error=0.06))) == [9, 8, 1, 1, 2, 0]
    assert numbers(headline(made[made["lag"] == 0]))[-1] == 0
    said = numbers(finding(made))
    # Premature collapses without lag, those with it (at all), and the gain 0.105 in errors of 0.02.
    assert {9, 60, 10, 11, 5.2} <= set(said)
    assert [0.8, 0.8, 0, 0.91, 0.91, 8] in [said[i : i + 6] for i in range(len(said))]  # of the best rates
    assert sorted(numbers(finding(made.assign(ended=0.25)))) == sorted([*said, 25])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lags": (0, -1)}, "lags must be increasing integers >= 0"),
        ({"lags": ()}, "lags must be increasing"),
        ({"lrs": (1.0, 0.5)}, "lrs must be increasing finite numbers > 0"),
        ({"lrs": (0.0,)}, "lrs must be increasing finite numbers > 0"),
        ({"group": 1}, "group must be an integer >= 2, got 1"),
        ({"prompts": 1}, "prompts must be an integer >= 2, got 1"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"beta": 0.0}, "beta must be > 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lag(**arguments)
