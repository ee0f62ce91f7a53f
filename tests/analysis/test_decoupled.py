from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.decoupled import decoupled, finding, headline
from tests.helpers import numbers

P = 0.3


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return decoupled(n=13)


@pytest.fixture(scope="module")
def grid(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"] == "grid"]


def optimal_value(beta: np.ndarray) -> np.ndarray:
    return np.asarray(1 + beta * np.log(P + (1 - P) * np.exp(-1 / beta)))


def test_every_pair_is_there_once(grid: pd.DataFrame) -> None:
    table = grid.pivot(index="beta2", columns="beta1", values="kappa")
    assert table.shape == (13, 13)
    np.testing.assert_allclose(table.index, np.geomspace(1e-4, 10, 13), rtol=1e-15)
    np.testing.assert_allclose(table.columns, np.geomspace(1e-4, 10, 13), rtol=1e-15)


def test_scaling_at_once_is_solving_one_by_one(grid: pd.DataFrame) -> None:
    for row in grid.iloc[::7].itertuples():
        off = ps.induced_target([0.7, 0.3], [0.0, 1.0], ps.OAPL(beta1=row.beta1, beta2=row.beta2), unseen=True)
        on = ps.induced_target([0.7, 0.3], [0.0, 1.0], ps.AStarPO(beta1=row.beta1, beta2=row.beta2))
        assert float(off.kappa) == pytest.approx(row.kappa, rel=1e-8, abs=1e-10, nan_ok=row.leak > 0)
        assert float(off.leak) == pytest.approx(row.leak, rel=1e-8, abs=1e-10)
        assert str(off.regime) == row.regime
        assert float(on.conservatism()["pessimism_factor"].iloc[0]) == pytest.approx(row.on_policy_factor, rel=1e-8)


def test_binary_targets_obey_their_equation(grid: pd.DataFrame) -> None:
    kept = grid[grid["leak"] == 0]
    # In units of beta2: d = log(w+/w-) = 1/(factor beta2) and p w+ + (1 - p) w- = 1 give both ratios.
    d = 1 / (kept["pessimism_factor"] * kept["beta2"])
    passing = 1 / (P + (1 - P) * np.exp(-d))
    failing = passing * np.exp(-d)
    np.testing.assert_allclose(d + kept["kappa"] * (passing - failing), 1 / kept["beta2"], rtol=1e-9)
    level = (1 - optimal_value(kept["beta1"].to_numpy())) / kept["beta2"]
    np.testing.assert_allclose(np.log(passing) + kept["kappa"] * passing, level, rtol=1e-8, atol=1e-12)


def test_sign_and_leak_are_those_of_the_two_optimal_values(grid: pd.DataFrame) -> None:
    v1, v2 = (optimal_value(grid[column].to_numpy()) for column in ("beta1", "beta2"))
    np.testing.assert_allclose(grid["log_z"], (v2 - v1) / grid["beta2"], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(grid["leak"], -np.expm1(np.minimum((v2 - v1) / grid["beta2"], 0)), rtol=1e-7, atol=1e-9)
    apart = grid[grid["beta1"] != grid["beta2"]]
    np.testing.assert_array_equal(apart["kappa"] > 0, apart["beta1"] > apart["beta2"])
    np.testing.assert_array_equal(apart["regime"] == "negative", apart["beta1"] < apart["beta2"])
    on = grid[grid["beta1"] == grid["beta2"]]
    assert set(on["regime"]) == {"boundary"}
    np.testing.assert_allclose(on["pessimism_factor"], 1.0, rtol=1e-9)


def test_on_policy_neither_temperature_matters(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame["on_policy_factor"], 1.0, rtol=1e-9)


def test_kappa_and_factor_grow_with_beta1(grid: pd.DataFrame) -> None:
    for column in ("kappa", "pessimism_factor"):
        table = grid.pivot(index="beta2", columns="beta1", values=column).to_numpy()
        step = np.diff(table, axis=1)
        assert (step[np.isfinite(step)] >= -1e-12).all()


def test_limits_of_the_factor() -> None:
    cold = decoupled(least=1e-5, n=13).query("kind == 'grid' and beta1 > 0.05 and beta2 < 2e-5")
    # beta2 -> 0: kappa w+ = A/beta2, so that what is left of 1/beta2 is V*_beta1/beta2.
    np.testing.assert_allclose(cold["pessimism_factor"], 1 / optimal_value(cold["beta1"].to_numpy()), rtol=2e-3)
    far = ps.induced_target([0.7, 0.3], [0.0, 1.0], ps.OAPL(beta1=1e6, beta2=0.1))
    mean = ps.induced_target([0.7, 0.3], [0.0, 1.0], ps.Kimi(beta=0.1))
    assert float(far.kappa) == pytest.approx(float(mean.kappa), rel=1e-4)  # beta1 -> infinity: the mean


def test_published_pairs_are_as_published(frame: pd.DataFrame) -> None:
    rows = frame[frame["kind"] == "published"].set_index("objective")
    for objective in (ps.OAPL(), ps.AStarPO()):
        row = rows.loc[objective.name]
        assert (row["beta1"], row["beta2"]) == (pytest.approx(objective.beta1), objective.beta2)
    lagged = ps.induced_target([0.7, 0.3], [0.0, 1.0], ps.AStarPO(sampling="off_policy")).conservatism().iloc[0]
    assert rows.loc["a_star_po", "pessimism_factor"] == pytest.approx(lagged["pessimism_factor"], rel=1e-9)
    assert numbers(headline(frame))[-2:] == [1.0, round(lagged["pessimism_factor"], 1)]
    assert numbers(finding(frame)).count(13 * 13 - 13) == 2


def test_what_is_a_fact_of_the_bandit_names_it(frame: pd.DataFrame) -> None:
    rare = decoupled(behavior=(0.9, 0.1), n=2)
    graded = decoupled(behavior=(0.5, 0.5), reward=(0.0, 0.5), n=2)
    for one, value, binary in ((frame, P, True), (rare, 0.1, True), (graded, 0.25, False)):
        np.testing.assert_allclose(one["behavior_value"], value, rtol=1e-14)
        assert (one["binary"] == binary).all()
    for made, where in ((frame, 0.3), (rare, 0.1), (graded, 0.25)):
        assert numbers(headline(made))[0] == numbers(finding(made))[0] == where
    assert headline(rare)[20:] != headline(frame)[20:]


@pytest.mark.parametrize("bad", [{"least": 0.0}, {"least": 2.0, "most": 1.0}, {"n": 1}])
def test_bad_temperatures_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="temperatures must be 0 < least < most and n >= 2"):
        decoupled(**bad)  # type: ignore[arg-type]


def test_equal_rewards_are_refused() -> None:
    with pytest.raises(ValueError, match="reward must differ between actions"):
        decoupled(reward=(1.0, 1.0))
