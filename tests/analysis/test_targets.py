from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr

import pessimism as ps
from analysis.names import display_name, display_names
from analysis.settings import at_temperature
from analysis.targets import BEHAVIOR, REWARD, finding, headline, targets
from tests.helpers import numbers

NOMINAL = [
    *("a_star_po", "awac", "brac", "copg", "dpo", "ips", "kl_regularized", "nominal", "optimal_value", "rebel"),
    *("rloo", "tba", "weight_clipping"),  # the cap of 10 does not bind here
]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return targets(beta=0.1)


@pytest.mark.parametrize("names", [("nominal", "kimi", "asym_re"), tuple(ps.objectives())])
def test_every_objective_is_there_once_per_action(names: tuple[str, ...]) -> None:
    frame = targets(beta=0.1, objectives=names)
    assert set(frame["objective"]) == set(names)
    assert (frame.groupby("objective")["action"].apply(list).map(tuple) == (0, 1, 2, 3)).all()


def test_every_registered_objective_is_the_default(frame: pd.DataFrame) -> None:
    assert set(frame["objective"]) == set(ps.objectives())
    assert frame["objective"].nunique() >= 55


def test_policies_sum_to_one(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame.groupby("objective")["policy"].sum(), 1.0, rtol=1e-12)


def test_sorted_by_effective_temperature(frame: pd.DataFrame) -> None:
    temperature = frame.drop_duplicates("objective")["effective_temperature"].to_numpy()
    assert (np.diff(temperature) <= 1e-9 * temperature[1:]).all()


def test_nominal_family_agrees_with_its_closed_form(frame: pd.DataFrame) -> None:
    weight = np.array(BEHAVIOR) * np.exp(np.array(REWARD) / 0.1)
    table = frame.pivot(index="objective", columns="action", values="policy")
    np.testing.assert_allclose(table.loc[NOMINAL], np.tile(weight / weight.sum(), (len(NOMINAL), 1)), rtol=1e-9)
    np.testing.assert_allclose(frame["nominal"], np.tile(weight / weight.sum(), len(frame) // 4), rtol=1e-12)
    temperature = frame.set_index("objective")["effective_temperature"]
    np.testing.assert_allclose(temperature[NOMINAL], 0.1, rtol=1e-9)


def test_measures_are_those_of_the_policy(frame: pd.DataFrame) -> None:
    pi, mu, r = (frame[column].to_numpy().reshape(-1, 4) for column in ("policy", "behavior", "reward"))
    one = frame.drop_duplicates("objective")
    np.testing.assert_allclose(one["value"], (pi * r).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(one["chi_square"], (pi**2 / mu).sum(axis=1) - 1, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one["max_ratio"], (pi / mu).max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(one["kl"], rel_entr(pi, mu).sum(axis=1), rtol=1e-6, atol=1e-12)


def test_effective_temperature_is_where_the_nominal_target_is_as_far(frame: pd.DataFrame) -> None:
    one = frame.drop_duplicates("objective").query("effective_temperature > 0")
    weight = np.array(BEHAVIOR) * np.exp((np.array(REWARD) - 0.8) / one["effective_temperature"].to_numpy()[:, None])
    nominal = weight / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rel_entr(nominal, np.array(BEHAVIOR)).sum(axis=1), one["kl"], rtol=1e-6)


def test_equal_targets_share_a_number_and_no_others(frame: pd.DataFrame) -> None:
    table = frame.pivot(index="objective", columns="action", values="policy")
    number = frame.drop_duplicates("objective").set_index("objective")["target"][table.index].to_numpy()
    apart = np.abs(table.to_numpy()[:, None] - table.to_numpy()[None]).max(axis=2)
    np.testing.assert_array_equal(number[:, None] == number[None], apart < 5e-6)
    assert frame["target"].is_monotonic_increasing
    assert set(frame.loc[frame["objective"].isin(NOMINAL), "target"]) == {number[list(table.index).index("nominal")]}


def test_only_what_states_a_temperature_can_miss_the_nominal_target(frame: pd.DataFrame) -> None:
    stated = {name for name, objective in at_temperature(0.1).items() if objective.temperature is not None}
    table = frame.pivot(index="objective", columns="action", values="policy").loc[sorted(stated)]
    weight = np.array(BEHAVIOR) * np.exp(np.array(REWARD) / 0.1)
    missed = int((np.abs(table - weight / weight.sum()).max(axis=1) > 1e-5).sum())
    assert numbers(headline(frame))[:3] == [0.1, missed, len(stated)]
    assert numbers(finding(frame))[:2] == [missed, len(stated)]
    assert set(frame.loc[frame["beta"].isna(), "objective"]) == set(ps.objectives()) - stated


def test_the_finding_names_who_is_warmest_and_who_is_greedy(frame: pd.DataFrame) -> None:
    one = frame.drop_duplicates("objective").dropna(subset="beta").set_index("objective")
    warmth = one["effective_temperature"] / 0.1
    said = finding(frame)
    assert float(f"{warmth.max():.3g}") in numbers(said)
    assert display_name(str(warmth.idxmax())) in said
    greedy = warmth.index[warmth == 0]
    assert len(greedy) > 0
    assert display_names(greedy) in said
    cold = finding(targets(beta=0.1, objectives=["tpo", "nominal"]))
    assert {0, 0.2} <= set(numbers(cold))
    assert display_name("tpo") in cold


def test_without_temperatures_nothing_is_counted() -> None:
    frame = targets(objectives=["asym_re", "topr"])
    assert numbers(finding(frame)) == [2, 2]
    assert numbers(headline(frame)) == []


def test_objectives_without_a_target_come_last_and_say_so() -> None:
    frame = targets(reward=(-0.8, -0.6, -0.4, -0.2), objectives=["topr", "roirl", "reinforce", "kimi"])
    gone = frame[frame["status"] == "no_target"]
    assert set(gone["objective"]) == {"roirl"}  # every reward is negative: its loss is unbounded
    assert frame.tail(len(gone)).index.equals(gone.index)
    assert "nan" not in headline(frame) + finding(frame)
    assert gone["policy"].isna().all()
    assert frame.loc[frame["status"] != "no_target", "policy"].notna().all()


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


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown objective 'kimmi'"):
        targets(objectives=["kimmi"])
    with pytest.raises(ValueError, match="beta must be > 0"):
        targets(beta=0.0)
