from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.bounds import bound_options
from analysis.value_from_logs import (
    BOUNDS,
    finding,
    headline,
    overtakes,
    value_from_logs,
)
from tests.analysis.values import DELTA, MU, N, R, policies
from tests.helpers import numbers

LOGS = 60  # more than one piece of work


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return value_from_logs(rounds=(30, N), logs=LOGS)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    """Actions and rewards of the logs of N rounds, drawn again."""
    found = []
    for number in range(LOGS):
        rng = np.random.default_rng((0, N, number))
        action = rng.choice(MU.size, size=N, p=MU)
        found.append((action, (rng.random(N) < R[action]).astype(float)))
    return found


def rows(frame: pd.DataFrame, estimator: str, constants: str, n: int = N) -> pd.DataFrame:
    mine = frame[(frame["estimator"] == estimator) & (frame["constants"] == constants) & (frame["n"] == n)]
    return mine.set_index("objective")


def written_out(name: str, constants: str, w: np.ndarray, mu: np.ndarray, r: np.ndarray, ratio: np.ndarray) -> float:
    """The bounds of the papers, for one log with ratios w, propensities mu and rewards r."""
    n, paid, known = len(w), np.log(1 / DELTA), constants == "ratios"
    if name == "ls":
        lam = np.sqrt(2 * paid / (n * (MU @ ratio**2))) if known else n**-0.5
        return float(max(0, (np.prod((1 + lam * w * r) ** (1 / n)) * DELTA ** (1 / n) - 1) / lam))
    if name == "ix":
        lam = np.sqrt(2 * paid / (n * ratio.sum())) if known else n**-0.5
        return float(max(0, np.sum(w * mu * r / (mu + lam / 2)) / n - paid / (lam * n)))
    cap, both = (min(ratio.max(), n**0.5) if known else n**0.5), np.log(2 / DELTA)
    kept = np.minimum(w, cap) * r
    spread = np.sqrt(2 * kept.var(ddof=1) * both / n)
    return float(max(0, kept.mean() - spread - 7 * cap * both / (3 * (n - 1))))


@pytest.mark.parametrize(("name", "constants"), [bound for bound in BOUNDS if bound[0] != "el"])
def test_bounds_are_those_of_the_papers(
    name: str, constants: str, frame: pd.DataFrame, drawn: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    for objective, policy in policies().items():
        ratio, row = policy / MU, rows(frame, name, constants).loc[objective]
        lower = np.array([written_out(name, constants, ratio[a], MU[a], r, ratio) for a, r in drawn])
        assert row["mean"] == pytest.approx(lower.mean(), rel=1e-9)
        assert row["gap"] == pytest.approx(policy @ R - lower.mean(), rel=1e-9)
        assert row["std_error"] == pytest.approx(lower.std(ddof=1) / np.sqrt(LOGS), rel=1e-8)
        quantiles = np.quantile(lower, [0.05, 0.5, 0.95])
        np.testing.assert_allclose(row[["q05", "median", "q95"]].to_numpy(float), quantiles, rtol=1e-8, atol=1e-12)
        rate = np.mean(lower > policy @ R)
        assert row["violations"] == rate
        assert row["violations_error"] == pytest.approx(np.sqrt(rate * (1 - rate) / LOGS))


def test_el_is_near_the_bound_of_a_regression_on_the_ratio(
    frame: pd.DataFrame, drawn: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Its large-n limit at the one-sided level: E[w] = 1 known, w is a control variate."""
    for objective, policy in policies().items():
        if objective == "nominal":
            continue  # ratios of 20: far from the limit at this n
        lower = []
        for action, r in drawn:
            w = (policy / MU)[action]
            slope = np.cov(w, w * r)[0, 1] / w.var(ddof=1)
            rest = w * r - slope * (w - 1)
            lower.append(rest.mean() - 1.6448536 * rest.std(ddof=2) / np.sqrt(N))
        row = rows(frame, "el", "ratios").loc[objective]
        assert abs(row["mean"] - np.mean(lower)) < 0.05 * row["gap"]


@pytest.mark.parametrize("constants", ["ratios", "default"])
def test_mean_bounds_have_their_exact_expectations(constants: str, frame: pd.DataFrame) -> None:
    """Rounds are independent: E prod (1 + lam t)^(1/n) is a power, and the bound of ix is a mean."""
    for objective, policy in policies().items():
        ratio = policy / MU
        lam = {name: bound_options(name, "ratios", ratio, MU, N, DELTA)["lam"] for name in ("ls", "ix")}
        lam = lam if constants == "ratios" else dict.fromkeys(lam, N**-0.5)
        power = 1 + MU * R @ ((1 + lam["ls"] * ratio) ** (1 / N) - 1)
        expected = {
            "ls": (DELTA ** (1 / N) * power**N - 1) / lam["ls"],
            "ix": policy * R @ (MU / (MU + lam["ix"] / 2)) + np.log(DELTA) / (lam["ix"] * N),
        }
        for name, value in expected.items():
            row = rows(frame, name, constants).loc[objective]
            assert row["q05"] > 0  # the floor of 0 does not matter
            assert abs(row["mean"] - value) < 4 * row["std_error"]


def test_guarantees_are_those_of_the_estimators(frame: pd.DataFrame) -> None:
    log = {"action": [0, 1, 15], "reward": [0.0, 1.0, 1.0], "pscore": MU[[0, 1, 15]]}
    target = ps.induced_target(MU, R, "kimi", beta=0.1)
    for (name, how), guarantee in frame.groupby(["estimator", "constants"])["guarantee"].unique().items():
        given = bound_options(name, how, target.policy / MU, MU, 3, DELTA)
        assert guarantee.tolist() == [ps.evaluate(target, log, name, **given).guarantee]


def test_values_and_moments_are_those_of_the_targets(frame: pd.DataFrame) -> None:
    for name, policy in policies().items():
        row = frame[frame["objective"] == name].iloc[0]
        expected = (policy @ R, MU @ R, (policy / MU).max(), policy @ (policy / MU))
        columns = ["value", "behavior_value", "max_ratio", "second_moment"]
        np.testing.assert_allclose(row[columns].to_numpy(float), expected, rtol=1e-9)


def test_every_log_chooses_one_target(frame: pd.DataFrame) -> None:
    by = frame.groupby(["n", "estimator", "constants"])
    np.testing.assert_allclose(by["chosen"].sum(), 1.0)
    assert (frame["chosen_violations"] <= frame[["chosen", "violations"]].min(axis=1) + 1e-12).all()
    at_zero = rows(frame, "clipped", "default", 30)
    np.testing.assert_allclose(at_zero[["mean", "q95"]], 0.0)
    np.testing.assert_allclose(at_zero["chosen"], 1 / 3)  # ties divided


def test_choices_are_the_largest_bounds(frame: pd.DataFrame, drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    targets = policies()
    lower = np.array(
        [[written_out("ls", "ratios", (p / MU)[a], MU[a], r, p / MU) for p in targets.values()] for a, r in drawn]
    )
    share = np.bincount(lower.argmax(axis=1), minlength=3) / LOGS
    np.testing.assert_allclose(rows(frame, "ls", "ratios").loc[list(targets), "chosen"], share)


def test_bounds_that_hold_at_every_n_do() -> None:
    many = value_from_logs(
        behavior=(0.7, 0.3), reward=(0.3, 0.8), objectives=("kimi",), rounds=(20, 200), logs=300, delta=0.2
    )
    finite = many[many["guarantee"] == "finite-sample"]
    assert (finite["violations"] <= 0.2 + 4 * np.sqrt(0.2 * 0.8 / 300)).all()
    assert finite["violations"].max() > 0
    late = many[(many["estimator"] == "el") & (many["n"] == 200)]
    np.testing.assert_allclose(late["violations"], 0.2, atol=4 * np.sqrt(0.2 * 0.8 / 300))  # at its level, not half


def test_logs_do_not_depend_on_what_is_evaluated(frame: pd.DataFrame) -> None:
    alone = value_from_logs(objectives=("kimi",), rounds=(N,), logs=LOGS)
    same = frame[(frame["objective"] == "kimi") & (frame["n"] == N)].reset_index(drop=True)
    own = ["chosen", "chosen_violations"]
    pd.testing.assert_frame_equal(alone.drop(columns=own), same.drop(columns=own))
    assert (alone["chosen"] == 1).all()
    other = value_from_logs(objectives=("kimi",), rounds=(N,), logs=LOGS, seed=1)
    assert (other["mean"] != alone["mean"]).all()


def table(chosen: list[float], value: float = 0.9) -> pd.DataFrame:
    n = [10, 100, 1000]
    bold = pd.DataFrame({"objective": "b", "value": value, "n": n, "chosen": chosen})
    rest = pd.DataFrame({"objective": "a", "value": 0.5, "n": n, "chosen": 1 - np.array(chosen)})
    return pd.concat([rest, bold]).assign(estimator="ls", constants="ratios")


def test_to_overtake_is_to_stay_ahead() -> None:
    assert overtakes(table([0.2, 0.7, 0.9]), "ls") == 100
    assert overtakes(table([0.7, 0.3, 0.9]), "ls") == 1000
    assert overtakes(table([0.7, 0.9, 0.5]), "ls") is None
    assert overtakes(table([0.2, 0.4, 0.3], value=0.1), "ls") == 10  # the other is the boldest


def test_what_is_found_is_what_the_frame_says(frame: pd.DataFrame) -> None:
    assert numbers(headline(frame)) == [1000]
    assert all(name in headline(frame) for name in ("el, ls, ix", "clipped"))
    gap = [rows(frame, name, "ratios").loc["kimi", "gap"] for name in ("el", "ls")]
    most = frame.loc[frame["estimator"] == "el", "violations"].max()
    assert {round(gap[0], 3), round(gap[1], 3), round(100 * most, 1)} <= set(numbers(finding(frame)))
    early = frame[frame["n"] == 30]
    assert numbers(headline(early)) == []
    alone = frame[frame["objective"] == "kimi"]
    assert numbers(headline(alone)) == []
    assert headline(alone) != headline(early)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reward": (0.5, 1.5), "behavior": (0.5, 0.5)}, r"reward must be in \[0, 1\]"),
        ({"rounds": (1, 10)}, "rounds must be at least 2 and rise"),
        ({"rounds": (100, 10)}, "rounds must be at least 2 and rise"),
        ({"rounds": ()}, "rounds must be at least 2 and rise"),
        ({"logs": 1}, "logs must be >= 2"),
        ({"delta": 0.5}, "delta must be between 0 and 0.5"),
        ({"beta": 0.0}, "beta must be > 0"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        value_from_logs(**given)  # type: ignore[arg-type]
