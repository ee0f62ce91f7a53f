from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import pessimism as ps
from analysis.three_regimes import finding, headline, three_regimes
from tests.helpers import numbers

BEHAVIOR, REWARD, BETA = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8]), 0.25
POLICY = [f"policy_{action}" for action in range(4)]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return three_regimes(n=7, starts=10)


def loss(log_policy: np.ndarray, offset: float) -> float:
    """Of the squared regression over beta^2, written out."""
    optimal = BETA * np.log(BEHAVIOR @ np.exp(REWARD / BETA))
    z = (REWARD - optimal) / BETA - offset
    return float(BEHAVIOR @ (z - log_policy + np.log(BEHAVIOR)) ** 2)


def test_log_z_is_the_distance_of_the_baseline(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame["log_z"], -frame["offset"], atol=1e-12)
    optimal = BETA * np.log(BEHAVIOR @ np.exp(REWARD / BETA))
    np.testing.assert_allclose(frame["baseline"], optimal + BETA * frame["offset"], rtol=1e-12)


def test_kappa_changes_sign_with_the_regime(frame: pd.DataFrame) -> None:
    regimes = np.select([frame["offset"] < 0, frame["offset"] > 0], ["positive", "negative"], "boundary")
    assert frame["regime"].tolist() == regimes.tolist()
    np.testing.assert_array_equal(np.sign(frame["kappa"].round(12)), -np.sign(frame["offset"]))


def test_leak_is_the_surplus_of_the_partition_function(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame["leak"], np.maximum(1 - np.exp(-frame["offset"]), 0.0), atol=1e-12)


def test_losses_and_entropies_are_those_of_the_policies(frame: pd.DataFrame) -> None:
    for row, policy in zip(frame.to_dict("records"), frame[POLICY].to_numpy(), strict=True):
        assert policy.sum() == pytest.approx(1.0, rel=1e-12)
        assert row["loss"] == pytest.approx(loss(np.log(policy), row["offset"]), rel=1e-9, abs=1e-20)
        assert row["entropy"] == pytest.approx(-(policy * np.log(policy)).sum(), rel=1e-12)
    assert frame.groupby("offset")["loss"].apply(lambda losses: losses.is_monotonic_increasing).all()


def test_a_general_minimizer_ends_in_the_same_minima(frame: pd.DataFrame) -> None:
    """Quasi-Newton on the logits, from a start near each vertex and the middle: no route of the package."""
    for offset, rows in frame[frame["offset"] > 0].groupby("offset"):
        found = set()
        for start in (*(4.0 * np.eye(4)), np.zeros(4)):
            end = minimize(lambda x, at=float(offset): loss(log_softmax(x), at), start, tol=1e-12)
            distance = np.abs(rows[POLICY].to_numpy() - softmax(end.x)).max(axis=1)
            assert distance.min() < 1e-4
            found.add(int(distance.argmin()))
        assert found == set(range(len(rows)))  # and each listed minimum is one


def test_every_start_ends_in_a_listed_minimum(frame: pd.DataFrame) -> None:
    assert (frame["elsewhere"] == 0).all()
    by = frame.groupby("offset")
    assert (by["reached"].sum() == 10).all()
    np.testing.assert_allclose(by["share"].sum(), 1.0)
    assert (by["is_target"].sum() == 1).all()
    assert (by["from_behavior"].sum() == 1).all()


def test_gradient_descent_falls_into_the_basins_of_the_flow(frame: pd.DataFrame) -> None:
    offset = 3.0
    rows = frame[frame["offset"] == offset]
    objective = ps.ConstantBaseline(beta=BETA, value=float(rows["baseline"].iloc[0]))
    ends = [
        ps.sgd(BEHAVIOR, REWARD, objective, start=start, steps=4000, lr=0.2).policy
        for start in (BEHAVIOR, *np.random.default_rng(0).dirichlet(np.ones(4), 10))
    ]
    which = np.array([np.abs(rows[POLICY].to_numpy() - end).max(axis=1).argmin() for end in ends])
    assert np.flatnonzero(rows["from_behavior"]).tolist() == [which[0]]
    np.testing.assert_array_equal(np.bincount(which[1:], minlength=len(rows)), rows["reached"])


def test_one_minimum_outside_the_negative_regime(frame: pd.DataFrame) -> None:
    assert (frame.loc[frame["offset"] <= 0, "minima"] == 1).all()
    assert frame.groupby("offset").size().tolist() == frame.drop_duplicates("offset")["minima"].tolist()
    assert frame["minima"].max() == 4


def test_the_surplus_goes_to_one_action_on_the_other_branch(frame: pd.DataFrame) -> None:
    local = 1 + frame[["kappa"]].to_numpy() * np.exp(log_softmax(np.log(frame[POLICY].to_numpy()), axis=1)) / BEHAVIOR
    np.testing.assert_array_equal((local < 0).sum(axis=1), frame["surplus"] >= 0)
    taken = frame["surplus"] >= 0
    np.testing.assert_array_equal(local.argmin(axis=1)[taken], frame.loc[taken, "surplus"])
    np.testing.assert_array_equal(frame.loc[taken, "surplus_reward"], REWARD[frame.loc[taken, "surplus"]])


def test_what_is_found_is_what_the_frame_says(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame)) == [2, 4]
    assert numbers(finding(frame))[:2] == [70, 70]
    said = numbers(finding(frame))
    assert [2, 4] in [said[i : i + 2] for i in range(len(said))]  # several by, at most
    assert said[-1] == 2  # the lowest is missed by
    astray = frame.assign(elsewhere=np.where(frame["offset"] == 4, 1, 0))
    assert numbers(finding(astray))[:2] == [70, 71]
    assert numbers(headline(frame[frame["offset"] < 1])) == [-2, 0]


def test_minima_coexist_before_the_first_offset_of_a_grid_at_which_they_do() -> None:
    """So that the grid says by which offset, not from which."""
    between = three_regimes(low=1.85, high=1.95, n=2, starts=1)
    assert between.drop_duplicates("offset")["minima"].tolist() == [1, 2]
    assert numbers(headline(between))[:2] == [1.95, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n must be >= 1"),
        ({"starts": 0}, "starts must be >= 1"),
        ({"low": 2.0, "high": 1.0}, "low must not be above high"),
        ({"beta": 0.0}, "beta must be > 0"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        three_regimes(**given)  # type: ignore[arg-type]
