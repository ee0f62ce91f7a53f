from __future__ import annotations

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy.special import lambertw

import pessimism as ps
from analysis.lambert_tempering import finding, headline, lambert_tempering, tempered
from tests.helpers import numbers


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return lambert_tempering(kappas=(-2.0, -0.1, 0.0, 0.1, 1.0, 10.0))


def test_every_row_solves_the_equation(frame: pd.DataFrame) -> None:
    w, kappa = frame["ratio"], frame["kappa"]
    np.testing.assert_allclose(np.log(w) + kappa * w, frame["z"], atol=1e-12)
    np.testing.assert_allclose(frame["local_temperature"], 1 + kappa * w, atol=1e-12)


def test_ratios_are_lamberts_by_scipy(frame: pd.DataFrame) -> None:
    rows = frame[(frame["kappa"] != 0) & (frame["point"] == "curve")]
    x = rows["kappa"] * np.exp(rows["z"])
    w = (
        np.array([lambertw(value, branch).real for value, branch in zip(x, rows["branch"], strict=True)])
        / rows["kappa"]
    )
    # At the branch point scipy keeps half of the digits.
    away = (rows["local_temperature"].abs() > 1e-2).to_numpy()
    assert away.mean() > 0.9
    np.testing.assert_allclose(rows["ratio"][away], w[away], rtol=1e-9)


@pytest.mark.parametrize("branch", [0, -1])
def test_next_to_the_branch_point_by_mpmath(branch: int) -> None:
    z = np.array([-1 - np.log(0.1)]) - np.array([1e-12, 1e-8, 1e-3, 1.0, 300.0])
    with mpmath.workdps(40):
        exact = [mpmath.lambertw(mpmath.mpf(-0.1) * mpmath.exp(mpmath.mpf(x)), branch) / mpmath.mpf(-0.1) for x in z]
    # The distance to the branch point is known to the rounding of z, and moves w by its root.
    w = tempered(z, -0.1, branch)[0]
    np.testing.assert_allclose(w[2:], [float(x.real) for x in exact[2:]], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(w[:2], [float(x.real) for x in exact[:2]], rtol=1e-8)


def test_the_local_temperature_is_the_slope(frame: pd.DataFrame) -> None:
    for _, curve in frame[frame["point"] == "curve"].groupby(["kappa", "branch"]):
        u, z = np.log(curve["ratio"].to_numpy()), curve["z"].to_numpy()
        middle = (curve["local_temperature"].to_numpy()[1:] + curve["local_temperature"].to_numpy()[:-1]) / 2
        np.testing.assert_allclose(np.diff(z) / np.diff(u), middle, atol=2e-3)


def test_branches_meet_at_the_branch_point(frame: pd.DataFrame) -> None:
    points = frame[frame["point"] == "branch_point"].set_index("kappa")
    assert points.index.tolist() == [-2.0, -0.1]
    for kappa, point in points.iterrows():
        curve = frame[(frame["kappa"] == kappa) & (frame["point"] == "curve")]
        below, above = (curve[curve["branch"] == branch] for branch in (0, -1))
        assert (below["local_temperature"] > 0).all()
        assert (above["local_temperature"] < 0).all()
        assert below["ratio"].is_monotonic_increasing
        assert above["ratio"].is_monotonic_decreasing
        assert below["ratio"].iloc[-1] < point["ratio"] < above["ratio"].iloc[-1]
        assert below["ratio"].iloc[-1] == pytest.approx(above["ratio"].iloc[-1], rel=0.05)
        # -1/kappa is where A/beta, as a function of w, is largest.
        w = point["ratio"] * np.linspace(0.9, 1.1, 21)
        assert np.argmax(np.log(w) + kappa * w) == 10


def test_curves_lie_in_the_order_of_kappa(frame: pd.DataFrame) -> None:
    table = frame.query("point == 'curve' and kappa >= 0").pivot(index="z", columns="kappa", values="ratio")
    assert (np.diff(table, axis=1) < 0).all()


def test_the_ratios_of_a_target_lie_on_the_curve_of_its_kappa() -> None:
    for value in (0.2, 0.4, 1.0):  # positive, and two negative ones
        points = ps.stationary_points(
            [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "constant_baseline", beta=0.25, value=value
        )
        for point in points:
            for action, reward in enumerate((0.2, 0.4, 0.6, 0.8)):
                branch = -1 if action == point.branch else 0
                w = tempered(np.array([(reward - value) / 0.25]), point.kappa, branch)[0]
                np.testing.assert_allclose(w, np.exp(point.log_ratio[action]), rtol=1e-9)


def test_doubling_costs_log_2_and_twice_kappa(frame: pd.DataFrame) -> None:
    rows = frame[frame["point"] == "doubled"].set_index("kappa")
    np.testing.assert_allclose(rows["ratio"], 2.0, rtol=1e-13)
    assert rows["branch"].to_dict() == {-2.0: -1, -0.1: 0, 0.0: 0, 0.1: 0, 1.0: 0, 10.0: 0}
    doubling = [round(np.log(2) + 2, 2), 3, round(np.log(2), 2)]
    assert numbers(headline(frame)) == [1, *doubling]
    assert set(doubling) <= set(numbers(finding(frame)))


def test_without_curvature_nothing_differs_from_the_nominal_target() -> None:
    frame = lambert_tempering(kappas=(0.0,), n=5)
    assert numbers(headline(frame)) == [0, 0.69, 1]
    assert {0.69, 1} <= set(numbers(finding(frame)))


def test_a_range_below_the_branch_point_has_none() -> None:
    frame = lambert_tempering(kappas=(-0.1,), high=0.0, n=5)
    assert set(frame["point"]) == {"curve", "doubled"}
    assert frame.query("point == 'curve'")["z"].max() == 0.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kappas": ()}, "kappas must be finite"),
        ({"kappas": (np.inf,)}, "kappas must be finite"),
        ({"kappas": (-100.0,)}, "kappas: at -100 the branches meet"),
        ({"n": 1}, "n must be >= 2"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lambert_tempering(**given)  # type: ignore[arg-type]
