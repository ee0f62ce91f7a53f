from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import softmax

import pessimism as ps
from analysis.kl_estimators import finding, headline, kl_estimators, named
from tests.helpers import numbers

Q, R = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])
POLICY = [f"policy_{action}" for action in range(4)]
NOMINAL = ["k1 in reward, on-policy", "k1 in reward, off-policy", "k2 in loss, on-policy"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return kl_estimators(low=0.08, high=0.8, n=3)


def of(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[named(frame) == name]


def test_every_combination_is_there_once_per_temperature(frame: pd.DataFrame) -> None:
    keys = ["estimator", "placement", "sampling"]
    assert not frame.duplicated([*keys, "beta"]).any()
    choices = product(("k1", "k2", "k3"), ("reward", "loss"), ("on_policy", "off_policy"))
    assert frame[keys].drop_duplicates().apply(tuple, axis=1).tolist() == list(choices)
    assert len(frame) == 12 * 3


@pytest.mark.parametrize("name", NOMINAL)
def test_three_are_nominal(frame: pd.DataFrame, name: str) -> None:
    rows = of(frame, name)
    assert (rows["leads_to"] == "nominal").all()
    np.testing.assert_allclose(rows[POLICY], softmax(np.log(Q) + R / rows[["beta"]].to_numpy(), axis=1), rtol=1e-8)
    np.testing.assert_allclose(rows["factor"], 1.0, rtol=1e-7)


def test_no_other_is(frame: pd.DataFrame) -> None:
    others = frame[~named(frame).isin(NOMINAL)]
    assert (others["leads_to"] != "nominal").all()
    assert (others["tv"].dropna() > 1e-3).all()


def test_k1_in_the_loss_on_policy_is_no_penalty(frame: pd.DataFrame) -> None:
    rows = of(frame, "k1 in loss, on-policy")
    np.testing.assert_allclose(rows[POLICY], np.tile([0.0, 0.0, 0.0, 1.0], (3, 1)), atol=1e-15)
    assert (rows["leads_to"] == "one action").all()


def test_k3_in_the_loss_on_policy_is_the_penalty_of_the_other_divergence(frame: pd.DataFrame) -> None:
    """pi/mu = beta / (lam - r), lam by a root finder."""
    for row in of(frame, "k3 in loss, on-policy").to_dict("records"):
        beta = row["beta"]
        lam = brentq(lambda x, b=beta: Q @ (b / (x - R)) - 1, R.max() + 0.09 * beta, R.max() + 2 * beta, xtol=1e-15)
        np.testing.assert_allclose([row[p] for p in POLICY], Q * beta / (lam - R), rtol=1e-10)


@pytest.mark.parametrize(("estimator", "slope"), [("k2", lambda u: u), ("k3", lambda u: 1 - np.exp(-u))])
def test_old_data_leave_a_penalty_too_weak(frame: pd.DataFrame, estimator: str, slope: object) -> None:
    """w A - beta k'(u) = lam w at an interior rest: the same lam for all actions."""
    rows = of(frame, f"{estimator} in loss, off-policy")
    assert (rows["leads_to"] == "other").all()
    for row in rows.to_dict("records"):
        w = np.array([row[p] for p in POLICY]) / Q
        lam = R - row["beta"] * slope(np.log(w)) / w  # type: ignore[operator]
        np.testing.assert_allclose(lam, lam[0], rtol=1e-8)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_in_the_reward_k2_and_k3_lose_actions(frame: pd.DataFrame, estimator: str) -> None:
    for sampling in ("on-policy", "off-policy"):
        rows = of(frame, f"{estimator} in reward, {sampling}")
        assert rows["leads_to"].isin(["one action", "fewer actions", "no target"]).all()
        assert not (rows[POLICY] > 0).all(axis=1).any()


def test_gradient_flow_leads_there_too(frame: pd.DataFrame) -> None:
    for row in frame.to_dict("records"):
        objective = ps.KLRegularized(row["estimator"], row["placement"], row["sampling"], row["beta"])
        flow = ps.gradient_flow(Q, R, objective)
        if row["leads_to"] == "no target":
            assert flow.status == "diverged"
            continue
        np.testing.assert_allclose(flow.policy, [row[p] for p in POLICY], atol=1e-8)


def test_distances_and_values_are_those_of_the_policies(frame: pd.DataFrame) -> None:
    rows = frame[frame["leads_to"] != "no target"]
    nominal = softmax(np.log(Q) + R / rows[["beta"]].to_numpy(), axis=1)
    np.testing.assert_allclose(rows["tv"], np.abs(rows[POLICY] - nominal).sum(axis=1) / 2, atol=1e-9)
    np.testing.assert_allclose(rows["value"], rows[POLICY] @ R, rtol=1e-12)
    np.testing.assert_allclose(rows["factor"], rows["effective_temperature"] / rows["beta"], rtol=1e-12)
    assert frame.loc[frame["leads_to"] == "no target", [*POLICY, "tv", "factor"]].isna().all(axis=None)


def test_what_is_found(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame)) == [3, 12, 6]
    assert all(name in finding(frame) for name in NOMINAL)
    lost = frame[frame["leads_to"].isin(["one action", "no target"])]
    assert numbers(headline(lost))[0] == 0
    assert "nan" not in finding(lost)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"low": 0.0}, "low must be in"), ({"low": 2.0}, "low must be in"), ({"n": 0}, "n must be >= 1")],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kl_estimators(**given)  # type: ignore[arg-type]
