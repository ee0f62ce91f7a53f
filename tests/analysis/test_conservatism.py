from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr

import pessimism as ps
from analysis.conservatism import BEHAVIOR, REWARD, conservatism, finding, headline, limit, settings
from tests.helpers import numbers

MU, R = np.array(BEHAVIOR), np.array(REWARD)
MEAN = ["kimi", "shifted_mean"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return conservatism(n=25)


def test_the_mean_ends_at_the_positive_part_linearly_in_beta() -> None:
    # Without the function under test: w = A_+ / E[A_+], and a tenth of beta is a tenth of the distance.
    advantage = np.maximum(R - MU @ R, 0.0)
    end = MU * advantage / (MU @ advantage)
    for name in MEAN:
        apart = [
            np.abs(ps.induced_target(MU, R, settings(beta)[name]).policy - end).max()
            for beta in (1e-3, 1e-4, 1e-5, 1e-6)
        ]
        np.testing.assert_allclose(np.array(apart[1:]) / apart[:-1], 0.1, rtol=0.02)
        np.testing.assert_allclose(limit(name, MU, R), end, rtol=1e-12)


def test_the_distance_falls_linearly_in_the_frame(frame: pd.DataFrame) -> None:
    for name in MEAN:
        cold = frame[(frame["objective"] == name) & (frame["beta"] < 2e-3)].drop_duplicates("beta")
        slope = np.diff(np.log(cold["distance"])) / np.diff(np.log(cold["beta"]))
        np.testing.assert_allclose(slope, 1.0, atol=0.03)


@pytest.mark.parametrize("name", ["nominal", "optimal_value", "oapl"])
def test_the_others_end_greedy_faster_than_any_power(frame: pd.DataFrame, name: str) -> None:
    cold = frame[(frame["objective"] == name) & (frame["beta"] < 5e-3)]
    np.testing.assert_allclose(cold["policy"], cold["reward"] == R.max(), atol=1e-12)
    np.testing.assert_allclose(limit(name, MU, R), [0, 0, 0, 0, 1])


def test_equally_good_actions_share_the_greedy_limit_as_the_behavior_does() -> None:
    tied = np.array([0.0, 1.0, 0.5, 1.0, 0.0])
    greedy = ps.induced_target(MU, tied, ps.Nominal(beta=1e-4)).policy
    np.testing.assert_allclose(limit("nominal", MU, tied), greedy, atol=1e-12)


def test_measures_are_those_of_the_policy(frame: pd.DataFrame) -> None:
    pi = frame["policy"].to_numpy().reshape(-1, MU.size)
    np.testing.assert_array_equal(frame[["behavior", "reward"]], np.tile([MU, R], len(pi)).T)
    np.testing.assert_array_equal(frame["action"], np.tile(np.arange(MU.size), len(pi)))
    one = frame.drop_duplicates(["objective", "beta"])
    np.testing.assert_allclose(one["kl"], rel_entr(pi, MU).sum(axis=1), rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(one["entropy"], -rel_entr(pi, 1.0).sum(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one["value"], pi @ R, rtol=1e-12)
    np.testing.assert_allclose(one["max_ratio"], (pi / MU).max(axis=1), rtol=1e-12)


def test_temperatures_and_curvatures_are_those_of_the_policy(frame: pd.DataFrame) -> None:
    """The effective temperature is where the nominal target is as far; kappa is E[A]/beta + KL(mu || pi)."""
    one = frame.drop_duplicates(["objective", "beta"])
    moved = one[(one["kl"] > 1e-6) & (one["kl"] < 2.0)]
    assert set(moved["objective"]) == set(frame["objective"])
    for row in moved.itertuples():
        nominal = MU * np.exp(R / row.effective_temperature)
        assert rel_entr(nominal / nominal.sum(), MU).sum() == pytest.approx(row.kl, rel=1e-6)
    for name, shift in (("nominal", None), ("kimi", 0.0), ("shifted_mean", 1.0)):
        rows = frame[(frame["objective"] == name) & (frame["beta"] > 0.1)]
        pi = rows["policy"].to_numpy().reshape(-1, MU.size)
        expected = 0.0 if shift is None else shift + rel_entr(MU, pi).sum(axis=1)
        np.testing.assert_allclose(rows["kappa"][:: MU.size], expected, rtol=1e-9, atol=1e-12)


def test_distances_are_those_from_the_limit(frame: pd.DataFrame) -> None:
    for name, rows in frame.groupby("objective"):
        end = np.tile(limit(str(name), MU, R), len(rows) // MU.size)
        np.testing.assert_array_equal(rows["limit"], end)
        apart = np.abs(rows["policy"] - end).to_numpy().reshape(-1, MU.size).max(axis=1)
        np.testing.assert_allclose(rows["distance"][:: MU.size], apart, rtol=1e-12)


def test_order_at_every_temperature(frame: pd.DataFrame) -> None:
    # V* of beta > V* of 10 beta > E[r] > E[r] - beta: the lower the baseline, the closer to the behavior.
    one = frame.drop_duplicates(["objective", "beta"])
    for column in ("kl", "value", "max_ratio"):
        table = one.pivot(index="beta", columns="objective", values=column)
        order = table[["nominal", "oapl", "kimi", "shifted_mean"]].to_numpy()
        assert (np.diff(order, axis=1) <= 1e-9 * order[:, 1:]).all(), column
        np.testing.assert_allclose(table["optimal_value"], table["nominal"], rtol=1e-7, atol=1e-12)


def test_units_are_those_of_the_reward() -> None:
    one, ten = conservatism(n=4), conservatism(reward=tuple(10 * R), least=1e-3, most=1e3, n=4)
    np.testing.assert_allclose(ten["policy"], one["policy"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ten["value"], 10 * one["value"], rtol=1e-9)


def test_a_fixed_beta1_does_not_collapse() -> None:
    # What the finding says of decoupling holds for beta1 that falls with beta2: A tends to r - V*_beta1 otherwise.
    value = np.log(MU @ np.exp(R))
    gain = MU * np.maximum(R - value, 0.0)
    target = ps.induced_target(MU, R, ps.OAPL(beta1=1.0, beta2=1e-6))
    np.testing.assert_allclose(target.policy, gain / gain.sum(), atol=1e-4)


def test_the_finding_reads_the_frame(frame: pd.DataFrame) -> None:
    cold = frame[frame["beta"] == frame["beta"].min()].drop_duplicates("objective").set_index("objective")
    assert numbers(headline(frame)) == [1e-4, round(cold.loc["kimi", "entropy"], 2), 10]
    warm = ps.induced_target(MU, R, ps.OAPL(beta1=1.0, beta2=0.1)).conservatism()["entropy"].iloc[0]
    assert numbers(headline(conservatism(least=0.1, n=2)))[-1] == float(f"{warm:.2g}")
    assert numbers(finding(frame))[-2:] == [round(cold.loc["kimi", "max_ratio"], 2), round(1 / MU[-1], 2)]


def test_oapl_is_told_apart_where_its_temperatures_are_far() -> None:
    far = conservatism(n=3, ratio=1e4)
    cold = far[far["beta"] == far["beta"].min()].drop_duplicates("objective").set_index("objective")["entropy"]
    assert cold["oapl"] > 0.9 * cold["kimi"]
    assert numbers(headline(far))[-2:] == [10_000, float(f"{cold['oapl']:.2g}")]
    assert {10_000, float(f"{cold['oapl']:.2g}")} <= set(numbers(finding(far)))


@pytest.mark.parametrize(("reward", "kept"), [((0, 0, 1, 1, 1), [1.0]), ((0, 0, 1, 0, 0), [])])
def test_no_contrast_is_claimed_where_only_the_best_have_a_positive_advantage(
    reward: tuple[float, ...], kept: list[float]
) -> None:
    same = conservatism(reward=reward, n=3)
    cold = same[same["beta"] == same["beta"].min()]
    assert np.ptp(cold["entropy"]) < 1e-3
    assert numbers(headline(same)) == [1e-4, *kept]
    assert numbers(finding(same))[: 1 + len(kept)] == [1e-4, *kept]


@pytest.mark.parametrize("bad", [{"least": 0.0}, {"least": 2.0, "most": 1.0}, {"n": 1}])
def test_bad_temperatures_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="temperatures must be 0 < least < most and n >= 2"):
        conservatism(**bad)  # type: ignore[arg-type]


def test_equal_rewards_are_refused() -> None:
    with pytest.raises(ValueError, match="reward must differ between actions"):
        conservatism(reward=(1.0,) * 5)
