from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

import pessimism as ps
from analysis.flow_simplex import default_settings, ends, finding, flow_simplex, headline, ring
from tests.helpers import numbers

Q, R = np.array([0.84, 0.06, 0.1]), np.array([0.2, 0.7, 0.8])
POLICY = ["policy_0", "policy_1", "policy_2"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return flow_simplex(starts=6, spacing=0.02)


def last(frame: pd.DataFrame, objective: str) -> pd.DataFrame:
    rows = frame[(frame["objective"] == objective) & (frame["kind"] == "path")]
    return rows.groupby("run").tail(1)


def test_starts_go_around_the_simplex() -> None:
    points = ring(12, 0.03)
    np.testing.assert_allclose(points.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(points.min(axis=1), 0.03, rtol=1e-9)
    steps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_every_row_is_a_policy_with_its_value(frame: pd.DataFrame) -> None:
    np.testing.assert_allclose(frame[POLICY].sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(frame["value"], frame[POLICY] @ R, rtol=1e-12)
    starts = frame[frame["kind"] == "path"].groupby(["objective", "run"]).head(1)
    np.testing.assert_allclose(starts[POLICY], np.tile(ring(6, 0.03), (6, 1)), rtol=1e-9)


def test_times_of_a_path_rise_to_its_limit(frame: pd.DataFrame) -> None:
    paths = frame[frame["kind"] == "path"]
    for _, path in paths.groupby(["objective", "run"]):
        times = path["time"].to_numpy()
        assert times[0] == 0.0
        assert np.isinf(times[-1])
        assert (np.diff(times) > 0).all()
        assert path["status"].nunique() == path["end"].nunique() == 1
    assert set(paths["status"]) <= {"converged", "vanishing_support"}
    assert (frame.loc[frame["kind"].isin(["corner", "behavior", "nominal"]), "reached"] == -1).all()
    settings = frame.drop_duplicates("objective").set_index("objective")["setting"]
    assert settings["oapl"] == "beta1=0.02"
    assert settings["asym_re"] == "shift=-0.1, no temperature"


def test_landmarks_by_their_formulas(frame: pd.DataFrame) -> None:
    nominal = Q * np.exp(R / 0.2) / (Q @ np.exp(R / 0.2))
    shape = (len(default_settings(0.2, 0.02)), 1)
    np.testing.assert_allclose(frame.loc[frame["kind"] == "nominal", POLICY], np.tile(nominal, shape), rtol=1e-12)
    induced = frame[frame["kind"] == "induced"].set_index("objective")[POLICY]
    np.testing.assert_allclose(induced.loc["nominal"], nominal, rtol=1e-9)
    gain = Q * (R - Q @ R + 0.1)
    np.testing.assert_allclose(induced.loc["asym_re"], gain / gain.sum(), rtol=1e-9)
    for name, value in (("kimi", Q @ R), ("shifted_mean", Q @ R - 0.2), ("oapl", 0.02 * np.log(Q @ np.exp(R / 0.02)))):
        policies = np.atleast_2d(induced.loc[name])
        u = np.log(policies / Q)
        kappa = ((R - value) / 0.2 - u) * Q / policies  # log w + kappa w = A/beta: one kappa for all actions
        np.testing.assert_allclose(kappa, np.repeat(kappa[:, :1], 3, axis=1), rtol=1e-7)
        assert (kappa < 0).all() == (name == "oapl")


@pytest.mark.parametrize(
    ("name", "value", "beta"), [("kimi", Q @ R, 0.2), ("oapl", 0.02 * np.log(Q @ np.exp(R / 0.02)), 0.2)]
)
def test_the_flow_by_another_integrator(frame: pd.DataFrame, name: str, value: float, beta: float) -> None:
    """Explicit Runge-Kutta on logits, with the field of the squared loss written out."""

    def field(_: float, logits: np.ndarray) -> np.ndarray:
        pi = np.exp(logits - logits.max())
        pi /= pi.sum()
        pull = Q * 2 * beta * (R - value - beta * np.log(pi / Q))
        return np.asarray(pull - pi * pull.sum())

    for start, end in zip(ring(6, 0.03), last(frame, name)[POLICY].to_numpy(), strict=True):
        found = solve_ivp(field, (0.0, 5e3), np.log(start), rtol=1e-8, atol=1e-10).y[:, -1]
        pi = np.exp(found - found.max())
        np.testing.assert_allclose(pi / pi.sum(), end, atol=1e-5)


def test_who_reaches_what(frame: pd.DataFrame) -> None:
    found = ends(frame)
    assert found.index.tolist() == list(default_settings(0.2, 0.02))
    assert (found["target"] + found["same loss"] == 1.0).all()
    assert found["minima"].to_dict() == dict.fromkeys(found.index, 1) | {"oapl": 2}
    assert set(last(frame, "oapl")["reached"]) == {0, 1}
    assert found.loc["ppo", "same loss"] == 1.0


def test_ppo_stops_inside_its_clip_range_set(frame: pd.DataFrame) -> None:
    """A better action has at least 1.2 times its mass, a worse one at most 0.8 times: any such policy is optimal."""
    ratio = last(frame, "ppo")[POLICY].to_numpy() / Q
    better = R > Q @ R
    assert (ratio[:, better] >= 1.2 - 1e-6).all()
    assert (ratio[:, ~better] <= 0.8 + 1e-6).all()
    target = ps.induced_target(Q, R, "ppo").policy
    drift = np.abs(last(frame, "ppo")[POLICY].to_numpy() - target).max(axis=1)
    assert (drift > 1e-3).all()


def test_flows_descend_the_loss(frame: pd.DataFrame) -> None:
    value = float(Q @ R)
    paths = frame[(frame["objective"] == "kimi") & (frame["kind"] == "path")]
    for _, path in paths.groupby("run"):
        losses = (R - value - 0.2 * np.log(path[POLICY].to_numpy() / Q)) ** 2 @ Q
        assert (np.diff(losses) <= 1e-12).all()


def test_what_is_found(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame))[:3] == [4, 6, 2]
    assert numbers(finding(frame))[:3] == [36, 30, 6]
    lost = frame.replace({"end": {"same loss": "elsewhere"}})
    assert numbers(finding(lost))[:3] == [36, 30, 6]
    assert finding(lost) != finding(frame)


@pytest.mark.parametrize(
    ("reached", "drawn"),
    [((0, 0, 0, 1, 1, 0), [4, 2]), ((1,) * 6, [0, 6]), ((0,) * 6, [6, 0]), ((-1, 1, -1, -1, 1, 0), [1, 2])],
)
def test_starts_are_counted_at_the_minimum_that_draws_them(
    reached: tuple[int, ...], drawn: list[int], frame: pd.DataFrame
) -> None:
    """Also a minimum that draws none, and beside starts that end in no minimum."""
    altered = frame.copy()
    mine = (altered["objective"] == "oapl") & (altered["kind"] == "path")
    altered.loc[mine, "reached"] = altered.loc[mine, "run"].map(dict(enumerate(reached)))
    altered.loc[mine, "end"] = np.where(altered.loc[mine, "reached"] < 0, "elsewhere", "target")
    assert numbers(finding(altered))[-2:] == drawn
    assert reached.count(-1) in numbers(finding(altered))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"behavior": (0.5, 0.5)}, "behavior and reward must have three entries"),
        ({"starts": 0}, "starts must be >= 1"),
        ({"margin": 0.4}, "margin must be in"),
        ({"spacing": 0.0}, "spacing must be > 0"),
        ({"beta": 0.0}, "beta must be > 0"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        flow_simplex(**given)  # type: ignore[arg-type]
