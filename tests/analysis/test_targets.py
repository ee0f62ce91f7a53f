from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.settings import CORE, at_temperature, besides_temperature
from analysis.targets import BEHAVIOR, REWARD, targets

NOMINAL = ["a_star_po", "nominal", "optimal_value", "rebel", "tba"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return targets(beta=0.1)


@pytest.mark.parametrize("names", [CORE, tuple(ps.objectives())])
def test_every_objective_is_there_once_per_action(names: tuple[str, ...]) -> None:
    frame = targets(beta=0.1, objectives=names)
    assert set(frame["objective"]) == set(names)
    assert (frame.groupby("objective")["action"].apply(list).map(tuple) == (0, 1, 2, 3)).all()


def test_policies_sum_to_one(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame.groupby("objective")["policy"].sum(), 1.0, rtol=1e-12)


def test_sorted_by_effective_temperature(frame: pd.DataFrame) -> None:
    temperature = frame.drop_duplicates("objective")["effective_temperature"].to_numpy()
    assert (np.diff(temperature) <= 1e-9 * temperature[1:]).all()


def test_nominal_family_agrees_with_its_closed_form(frame: pd.DataFrame) -> None:
    weight = np.array(BEHAVIOR) * np.exp(np.array(REWARD) / 0.1)
    table = frame.pivot(index="objective", columns="action", values="policy")
    np.testing.assert_allclose(table.loc[NOMINAL], np.tile(weight / weight.sum(), (5, 1)), rtol=1e-9)
    temperature = frame.set_index("objective")["effective_temperature"]
    np.testing.assert_allclose(temperature[NOMINAL], 0.1, rtol=1e-9)


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl", "constant_baseline", "mixed_chi2_kl"])
def test_lambert_targets_obey_their_equation(frame: pd.DataFrame, name: str) -> None:
    rows = frame[frame["objective"] == name]
    left = rows["log_ratio"] + rows["kappa"] * np.exp(rows["log_ratio"])
    # log w + kappa w = (r - V)/beta: the left side minus r/beta is the same for all actions.
    np.testing.assert_allclose((left - rows["reward"] / 0.1).diff().dropna(), 0.0, atol=1e-11)


def test_a_high_temperature_leaves_the_behavior() -> None:
    frame = targets(beta=1e5, objectives=["nominal", "kimi", "shifted_mean", "oapl"])
    np.testing.assert_allclose(frame["policy"], frame["behavior"], rtol=1e-4)


def test_a_low_temperature_collapses_the_nominal_target_alone() -> None:
    top = targets(beta=1e-4, objectives=["nominal", "kimi"]).query("action == 3").set_index("objective")["policy"]
    assert top["nominal"] == pytest.approx(1.0)
    gain = np.maximum(np.array(REWARD) - np.dot(BEHAVIOR, REWARD), 0.0) * np.array(BEHAVIOR)
    assert top["kimi"] == pytest.approx(gain[3] / gain.sum(), abs=1e-3)


def test_settings_take_the_temperature_and_keep_the_rest() -> None:
    settings = at_temperature(0.2)
    for name, objective in settings.items():
        has_none = ps.objectives()[name]().temperature is None
        assert objective.temperature == (None if has_none else pytest.approx(0.2)), name
    assert settings["asym_re"].temperature is None
    assert besides_temperature(settings["a_star_po"]) == "beta1=0.5, on_policy"
    assert besides_temperature(settings["rebel"]) == ""


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown objective 'kimmi'"):
        targets(objectives=["kimmi"])
    with pytest.raises(ValueError, match="beta must be > 0"):
        targets(beta=0.0)
