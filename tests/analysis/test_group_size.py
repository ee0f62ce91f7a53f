from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import comb, logsumexp

from analysis.group_size import finding, group_size, headline
from tests.helpers import numbers

BETA, SHIFT = 0.2, 0.7
RATES, SIZES = (0.1, 0.5, 0.8), (2, 3, 8)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return group_size(beta=BETA, pass_rates=RATES, sizes=SIZES, shift=SHIFT)


def baseline(name: str, rewards: np.ndarray, me: int) -> float:
    """Of completion `me` in a sampled group, as published."""
    if name == "V*":
        return float(BETA * (logsumexp(rewards / BETA) - np.log(len(rewards))))
    if name == "leave-one-out mean":
        return float(np.delete(rewards, me).mean())
    return float(rewards.mean() - (SHIFT * BETA if name == "shifted mean" else 0.0))


def enumerated(name: str, size: int, p: float) -> np.ndarray:
    """E[A_1 | a_1] of a failing and of a passing completion, over all groups."""
    expected = np.zeros(2)
    for mine in (0, 1):
        for others in product((0, 1), repeat=size - 1):
            chance = p ** sum(others) * (1 - p) ** (size - 1 - sum(others))
            expected[mine] += chance * (mine - baseline(name, np.array([mine, *others], dtype=float), 0))
    return expected


def stationary(advantage: np.ndarray, p: float) -> tuple[float, float]:
    """1 / (beta log(w+/w-)) and kappa of the stationary ratio, from log w + kappa w = A/beta."""
    failing, passing = advantage / BETA

    def gap(down: float) -> float:
        up = (1 - (1 - p) * down) / p
        kappa = (failing - np.log(down)) / down
        return float(np.log(up) + kappa * up - passing)

    down = brentq(gap, 1e-12, 1 - 1e-9, xtol=1e-15)
    kappa = float((failing - np.log(down)) / down)
    return float(1 / np.log((1 - (1 - p) * down) / p / down) / BETA), kappa


def test_population_is_that_of_all_groups_enumerated(frame: pd.DataFrame) -> None:
    for row in frame.itertuples():
        advantage = enumerated(row.baseline, row.group_size, row.pass_rate)
        q = np.array([1 - row.pass_rate, row.pass_rate])
        assert row.log_z == pytest.approx(logsumexp(advantage / BETA, b=q), rel=1e-9)
        factor, kappa = stationary(advantage, row.pass_rate)
        assert row.pessimism_factor == pytest.approx(factor, rel=1e-7)
        assert row.kappa == pytest.approx(kappa, rel=1e-6, abs=1e-9)
        regime = "boundary" if abs(row.log_z) < 1e-12 else "positive" if row.log_z > 0 else "negative"
        assert (row.regime, row.status) == (regime, "local_minimum" if regime == "negative" else "converged")
    assert (frame["standard_error"] == 0).all()  # counted, not drawn
    np.testing.assert_allclose(frame[["positive", "boundary", "negative"]].sum(axis=1), 1.0, rtol=1e-12)


def test_groups_with_a_pass_and_a_failure_are_positive_under_the_mean(frame: pd.DataFrame) -> None:
    rows = frame[frame["baseline"].isin(["mean", "leave-one-out mean"])]
    p, size = rows["pass_rate"], rows["group_size"]
    mixed = sum(comb(size, k) * p**k * (1 - p) ** (size - k) * (k < size) for k in range(1, max(SIZES)))
    np.testing.assert_allclose(rows["positive"], mixed, rtol=1e-12)
    np.testing.assert_allclose(rows["boundary"], 1 - mixed, rtol=1e-9)


def test_the_optimal_value_is_negative_and_tends_to_the_boundary() -> None:
    frame = group_size(sizes=(2, 8, 32, 128, 512)).query("baseline == 'V*'")
    assert (frame["log_z"] < 0).all()
    assert (frame["regime"] == "negative").all()
    assert (frame["boundary"] == 1).all()
    last = frame[frame["group_size"] == 512]
    assert (last["log_z"] > -0.01).all()
    np.testing.assert_allclose(last["pessimism_factor"], last["factor_limit"], rtol=2e-3)


def test_a_shift_adds_itself_to_log_z_and_the_others_mean_needs_no_group(frame: pd.DataFrame) -> None:
    log_z = frame.pivot(index=["pass_rate", "group_size"], columns="baseline", values="log_z")
    np.testing.assert_allclose(log_z["shifted mean"], log_z["mean"] + SHIFT, rtol=1e-12)
    out = frame[frame["baseline"] == "leave-one-out mean"]
    np.testing.assert_allclose(out["log_z"], out["log_z_limit"], rtol=1e-10)
    np.testing.assert_allclose(out["pessimism_factor"], out["factor_limit"], rtol=1e-8)


def test_what_is_said_is_read_from_the_frame(frame: pd.DataFrame) -> None:
    top = frame[(frame["baseline"] == "V*") & (frame["group_size"] == 2)]["pessimism_factor"].max()
    assert numbers(headline(frame))[-2:] == [round(top, 1), 2]
    one_rate = frame[frame["pass_rate"] == 0.5]
    assert 0.5 in numbers(finding(one_rate))
    assert headline(frame.assign(regime="positive")) != headline(frame)
    assert ", yet up to " in headline(frame)
    assert ", and at most 0.5×" in headline(frame.assign(pessimism_factor=0.5))  # which is no "yet"


def test_all_groups_are_said_to_be_at_the_boundary_only_if_all_are(frame: pd.DataFrame) -> None:
    assert 99.9 not in numbers(finding(frame))
    assert 99.9 in numbers(finding(frame.assign(boundary=0.9996)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sizes": (1,)}, "group_size must be an integer >= 2"),
        ({"pass_rates": (0.5, 1.5)}, r"pass_rates\[1\] must be in \(0, 1\), got 1.5"),
        ({"pass_rates": (0, 1)}, r"pass_rates\[0\] must be in \(0, 1\), got 0"),
        ({"pass_rates": (0.5, 1.0)}, r"pass_rates\[1\] must be in \(0, 1\), got 1.0"),
        ({"pass_rates": ()}, "pass_rates must hold at least one number, got none"),
    ],
)
def test_bad_arguments_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_size(**setting)
