"""A habit is named where the settings have it and the log speaks against it, and nowhere else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.advice.habits import _lag, divides_by_spread
from pessimism.trainers.settings import TrainerSettings
from tests.pessimism.diagnosis.logs import log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 7)))
SETTINGS = ps.from_config({"loss_type": "grpo", "num_generations": 8})


def named(
    settings: TrainerSettings | None = None, objective: str = "kimi:beta=1", **options: Any
) -> dict[str, ps.Habit]:
    """Habits by name, of a trainer with another objective."""
    found = ps.advise(
        LOG, trainer=settings, objective=objective, kl_per_step=1e-2, **{"candidates": ["nominal"], **options}
    )
    return {habit.name: habit for habit in found.habits}


def settings(**changed: Any) -> TrainerSettings:
    return dataclasses.replace(SETTINGS, **changed)


def test_dropping_is_named_where_groups_are_dropped_and_it_harms() -> None:
    cold, warm = "kimi:beta=0.05", "kimi:beta=5"
    assert "dropping equal groups" not in named(settings(drop_equal=False), warm)
    assert "dropping equal groups" not in named(settings(drop_equal=True), cold)
    assert "dropping equal groups" not in named(None, warm)
    habit = named(settings(drop_equal=True), warm)["dropping equal groups"]
    group = ps.finite_group("kimi", 8, pass_rate=[k / 8 for k in (1, 2, 3, 4, 5, 6, 7)], beta=5, drop_equal=True)
    times = (3, 1, 1, 2, 1, 1, 3)
    share = sum(n for n, regime in zip(times, group.regime, strict=True) if regime == "negative") / 12
    assert share > 0
    assert f"{share:.0%} in place of 0%" in habit.claim
    assert habit.source == "population at n = 8"


def test_lag_is_named_where_the_trainer_lags() -> None:
    assert "counting the lag as a factor" not in named(settings(lag=0, reuse=1))
    assert "counting the lag as a factor" not in named(None)
    habit = named(settings(lag=7, reuse=4))["counting the lag as a factor"]
    table = ps.advise(LOG, trainer=settings(lag=7, reuse=4), objective="kimi:beta=1", kl_per_step=1e-2).lag
    assert table["age"].tolist() == [0, 7, 14]
    assert (table["slower"] < table["age"] + 1)[1:].all()
    assert f"{table['slower'][1:].min():.2f} to {table['slower'].max():.2f} times the steps" in habit.claim


def ends(objective: str) -> dict[str, float]:
    """Median KL of hard and easy prompts over that of middle ones, from the report on an objective."""
    frame = ps.diagnose(LOG, objective).frame
    middle = frame["kl"][frame["pass_rate"].between(0.25, 0.75)].median()
    of = {"hard": frame["pass_rate"] < 0.25, "easy": frame["pass_rate"] > 0.75}
    return {band: frame["kl"][some].median() / middle for band, some in of.items()}


@pytest.mark.parametrize("candidates", [["nominal"], ["kimi", "std_normalized"]], ids=str)
@pytest.mark.parametrize(
    ("objective", "without"),
    [
        ("std_normalized:beta=1", None),
        ("grpo:beta=20,unbiased_kl=True", "grpo:beta=20,unbiased_kl=True,scale=none"),
    ],
)
def test_the_spread_is_named_of_the_loss_that_divides(
    objective: str, without: str | None, candidates: list[str]
) -> None:
    habit = named(objective=objective, candidates=candidates)["dividing by the spread"]
    kl = ps.diagnose(LOG, objective).frame["kl"].mean()
    if without is None:
        without = f"kimi:beta={ps.match(log=LOG, objective='kimi', kl=kl).beta}"
        assert "at the same mean KL" in habit.claim
    divided, plain = ends(objective), ends(without)
    for band in ("hard", "easy"):
        assert divided[band] > 1.1 * plain[band]
        assert f"{band} ones {plain[band]:.2g} -> {divided[band]:.2g}" in habit.claim
    assert habit.claim.startswith(objective.partition(":")[0])


def test_the_spread_is_not_named_where_it_changes_nothing() -> None:
    both = ["kimi", "std_normalized"]
    assert "dividing by the spread" not in named(candidates=both)  # kimi does not divide
    for clipped in ("dapo", "ppo_corrected", "grpo:beta=0"):  # the clip ends where it ends, whatever the unit
        assert "dividing by the spread" not in named(objective=clipped, candidates=both)
        assert ends(clipped) == pytest.approx(ends(f"{clipped}{',' if ':' in clipped else ':'}scale=none"))
    assert "dividing by the spread" not in named(objective="tpo", candidates=both)  # nothing to compare it with


def test_a_temperature_that_is_not_the_stated_one_is_named() -> None:
    habit = named(objective="kimi:beta=0.2")["the stated temperature"]
    report = ps.diagnose(LOG, "kimi", beta=0.2).frame
    hard = report["pessimism_factor"][report["pass_rate"] < 0.25].median()
    assert hard > 1.5
    assert f"acts {hard:.2g} times as warm" in habit.claim
    assert "the stated temperature" not in named(objective="nominal:beta=0.2")


def test_an_optimal_value_is_named_where_it_is_negative_in_the_population() -> None:
    habit = named(objective="optimal_value:beta=0.2")["the optimal value as baseline"]
    report = ps.diagnose(LOG, "optimal_value", beta=0.2).frame
    share = ((report["regime"] != "negative") & (report["population_regime"] == "negative")).mean()
    assert share > 0.5
    assert f"{share:.0%} of the groups" in habit.claim
    assert "the optimal value as baseline" not in named(objective="kimi:beta=0.2")


@pytest.mark.parametrize(
    ("name", "divides"), [("grpo", True), ("std_normalized", True), ("tpo", True), ("kimi", False), ("dr_grpo", False)]
)
def test_who_divides_by_the_spread(name: str, divides: bool) -> None:
    assert divides_by_spread(ps.objectives()[name]()) == divides


def test_data_on_which_half_of_the_gain_is_never_taken_leave_the_lag_a_factor() -> None:
    trainer = {"loss_type": "grpo", "num_generations": 8, "steps_per_generation": 4}
    found = ps.advise(LOG, trainer=trainer, objective="kimi:beta=1", candidates=["nominal"], kl_per_step=1e-3)
    assert any(habit.name == "counting the lag as a factor" for habit in found.habits)
    assert _lag(found.lag) is not None
    oldest = found.lag["age"] == found.lag["age"].max()
    assert _lag(found.lag.assign(slower=found.lag["slower"].mask(oldest))) is None
    # Where the policy's own data do not get there either, nothing is compared.
    assert _lag(found.lag.assign(slower=np.nan, half_gain_steps=np.nan)) is None
