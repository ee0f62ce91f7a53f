from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.pass_rate import LOGS, curves, default_settings, groups, pass_rate

P = np.array([1e-9, 1e-3, 0.1, 0.25, 0.5, 0.75, 0.9, 1 - 1e-3])


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pass_rate(n=19)


def ratios(p: np.ndarray, temperature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios w+ and w- from p w+ + (1 - p) w- = 1 and log(w+/w-) = 1/temperature."""
    failing = 1 / (p * np.exp(1 / temperature) + 1 - p)
    return failing * np.exp(1 / temperature), failing


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.1), ps.ShiftedMean(beta=0.1), ps.OAPL(beta1=1.0, beta2=0.05)])
def test_two_action_identity(objective: ps.Objective) -> None:
    curve = curves(P, {"x": objective})
    up, down = ratios(P, curve["effective_temperature"].to_numpy())
    # log(w+/w-) + kappa (w+ - w-) = 1/beta
    left = 1 / curve["effective_temperature"] + curve["kappa"] * (up - down)
    np.testing.assert_allclose(left, 1 / objective.temperature, rtol=1e-9)


def test_never_colder_than_stated_in_the_positive_regime() -> None:
    frame = curves(P, {"kimi": ps.Kimi(beta=0.1), "shifted_mean": ps.ShiftedMean(beta=0.1)})
    assert (frame["pessimism_factor"] >= 1 - 1e-9).all()
    factor = frame.pivot(index="pass_rate", columns="objective", values="pessimism_factor")
    assert (factor["shifted_mean"] > factor["kimi"]).all()


def test_the_nominal_curve_is_flat() -> None:
    frame = curves(P, {"nominal": ps.Nominal(beta=0.1), "optimal_value": ps.OptimalValue(beta=0.1)})
    np.testing.assert_allclose(frame["pessimism_factor"], 1.0, rtol=1e-6)


def test_limits_of_the_group_mean() -> None:
    small = curves(np.array([0.1, 0.5, 0.9]), {"kimi": ps.Kimi(beta=1e-4)})
    np.testing.assert_allclose(small["pessimism_factor"], 1 / small["pass_rate"], rtol=0.005)  # beta -> 0: beta/p
    rare = curves(np.array([1e-12]), {"kimi": ps.Kimi(beta=0.1)})
    np.testing.assert_allclose(rare["pessimism_factor"], 1.0, rtol=1e-4)  # p -> 0: nothing to be cautious about


def test_logged_groups_lie_on_the_curves(frame: pd.DataFrame) -> None:
    points = frame[(frame["kind"] == "group") & (frame["pass_rate"] > 0)]
    settings = default_settings()
    for name, point in points.groupby("objective"):
        curve = curves(point["pass_rate"].to_numpy(), {str(name): settings[str(name)]})
        np.testing.assert_allclose(point["effective_temperature"], curve["effective_temperature"], rtol=1e-7)


def test_every_logged_group_is_counted(frame: pd.DataFrame) -> None:
    counted = frame[frame["kind"] == "group"].groupby("objective")["groups"].sum()
    assert counted.to_dict() == {"kimi": 192, "oapl": 192, "shifted_mean": 192}
    assert (frame.loc[frame["kind"] == "curve", "groups"] == 0).all()


def test_groups_of_equal_pass_rate_are_one_point() -> None:
    log = pd.DataFrame({"prompt": list("aabbcc"), "reward": [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]})
    points = groups(log, {"kimi": ps.Kimi(beta=0.1)})
    assert points["pass_rate"].tolist() == [0.0, 0.5]
    assert points["groups"].tolist() == [1, 2]


def test_shipped_logs_are_the_default() -> None:
    assert LOGS.is_dir()
