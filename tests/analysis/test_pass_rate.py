from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.pass_rate import LOGS, curves, default_settings, finding, groups, headline, pass_rate
from tests.helpers import numbers

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


def test_nominal_family_moves_by_the_inverse_temperature(frame: pd.DataFrame) -> None:
    family = frame[frame["objective"].isin(["nominal", "optimal_value", "a_star_po", "tba", "rloo", "rebel"])]
    assert family["objective"].nunique() == 6
    np.testing.assert_allclose(family["logit_change"], 10.0, rtol=1e-9)


def test_change_is_that_of_the_logit(frame: pd.DataFrame) -> None:
    for name in ("kimi", "oapl", "tpo", "qrpo", "dapo"):
        curve = frame[(frame["kind"] == "curve") & (frame["objective"] == name) & np.isfinite(frame["logit_change"])]
        p = curve["pass_rate"].to_numpy()
        target = ps.induced_target(np.stack([1 - p, p], axis=-1), [0.0, 1.0], default_settings()[name])
        moved = target.log_policy[:, 1] - target.log_policy[:, 0] - np.log(p / (1 - p))
        np.testing.assert_allclose(curve["logit_change"], moved, rtol=1e-9)


def test_clips_move_to_their_nearer_edge(frame: pd.DataFrame) -> None:
    p = np.unique(frame.loc[frame["kind"] == "curve", "pass_rate"])
    table = frame[frame["kind"] == "curve"].pivot(index="pass_rate", columns="objective", values="logit_change")
    for name, high in (("ppo", 1.2), ("dr_grpo", 1.2), ("dapo", 1.28)):
        # Both sides must be out of the clip: the smaller of what w+ = 1 + eps and w- = 1 - eps leave is not enough.
        up = np.maximum(high, (1 - (1 - p) * 0.8) / p)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where(p * up < 1, np.log(up) - np.log((1 - p * up) / (1 - p)), np.inf)
        np.testing.assert_allclose(table[name], change, rtol=1e-9)


def test_standard_deviation_turns_the_round_around(frame: pd.DataFrame) -> None:
    """Standardized advantages at beta are Kimi's at beta std: bolder on easy prompts than on hard ones."""
    p = np.array([0.05, 0.5, 0.95])
    std = np.sqrt(p * (1 - p)) + 1e-4
    whole = curves(p, {"x": ps.StdNormalized(beta=0.1)})["logit_change"]
    parts = [curves(p[i : i + 1], {"x": ps.Kimi(beta=0.1 * std[i])})["logit_change"].iloc[0] for i in range(3)]
    np.testing.assert_allclose(whole, parts, rtol=1e-9)


def test_first_step_is_a_difference_of_the_flow() -> None:
    """By finite differences of the mean loss in the two logits, stop-gradients being exact at u = 0."""
    p, h = np.array([0.1, 0.4, 0.8]), 1e-5
    reward = np.tile([0.0, 1.0], (3, 1))
    behavior = np.stack([1 - p, p], axis=-1)
    for objective in (ps.Kimi(beta=0.1), ps.objectives()["dr_grpo"](), ps.objectives()["grpo"]()):

        def loss(shift: float, objective: ps.Objective = objective) -> np.ndarray:
            # Both logits move along the gradient, apart: u is what that does to log pi.
            logits = np.log(behavior) + np.array([-shift, shift])
            log_pi = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            advantage = objective.advantage(reward, weights=behavior)
            return (behavior * objective.loss(log_pi - np.log(behavior), advantage)).sum(axis=-1)

        # d loss / d shift = F- - F+: the first step of theta+ - theta-.
        np.testing.assert_allclose(
            curves(p, {"x": objective})["first_step"], -(loss(h) - loss(-h)) / (2 * h), rtol=1e-6, atol=1e-9
        )


def test_first_steps_of_clips_are_those_of_the_standard_deviation(frame: pd.DataFrame) -> None:
    curve = frame[frame["kind"] == "curve"].pivot(index="pass_rate", columns="objective", values="first_step")
    spread = curve.index * (1 - curve.index)
    np.testing.assert_allclose(curve["dr_grpo"], 2 * spread, rtol=1e-12)
    np.testing.assert_allclose(curve["grpo"], 2 * np.sqrt(spread), rtol=1e-4)
    np.testing.assert_allclose(curve["kimi"] / curve["dr_grpo"], 0.2, rtol=1e-9)


def test_greedy_objectives_leave_nothing_failing(frame: pd.DataFrame) -> None:
    greedy = frame[frame["objective"].isin(["cispo", "reinforce", "topr", "roirl"])]
    assert np.isinf(greedy["logit_change"]).all()
    assert (greedy["status"] == "vanishing_support").all()


def test_grpo_without_penalty_is_its_clip() -> None:
    frame = pass_rate(logs=None, n=9, kl=0.0).pivot(index="pass_rate", columns="objective", values="logit_change")
    np.testing.assert_allclose(frame["grpo"], frame["ppo"], rtol=1e-9)


def test_the_finding_reads_the_frame(frame: pd.DataFrame) -> None:
    curve = frame[frame["kind"] == "curve"]
    hard, easy = (curve[np.isclose(curve["pass_rate"], p)].set_index("objective") for p in (0.1, 0.9))
    factor = hard.loc[["kimi", "oapl", "shifted_mean"], "pessimism_factor"]
    lost = int(np.isinf(easy["logit_change"]).sum())
    assert {round(factor.min(), 1), round(factor.max(), 1), lost, len(easy)} <= set(numbers(finding(frame)))
    curves_alone = pass_rate(logs=None, n=9)
    assert numbers(headline(curves_alone))[0] == 0.1
    assert "warmer" in headline(curves_alone)
    assert headline(curves_alone.assign(pessimism_factor=0.5)).endswith("act 0.5 to 0.5 times as warm as stated")
