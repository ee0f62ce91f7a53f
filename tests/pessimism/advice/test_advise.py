"""What is given to advise, and what it says where something is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.pessimism.diagnosis.logs import TRL, log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 7)))
FAST: dict[str, Any] = {"candidates": ["nominal"], "kl_per_step": 1e-2}


def test_settings_of_a_trainer_say_objective_group_size_and_lag(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("loss_type: dr_grpo\nbeta: 0.0\nnum_generations: 4\nsteps_per_generation: 4\nnum_iterations: 2\n")
    settings = ps.from_config(file)
    found = ps.advise(LOG, trainer=file, **FAST)
    assert found.objective == settings.spec
    assert (found.group_size, found.drop_equal) == (4, False)
    assert found.trainer == str(settings)
    assert found.not_modelled == settings.not_modelled
    assert settings.lag == 7
    assert found.lag["age"].tolist() == [0, 7, 14]
    assert found.lag["refresh_every"].tolist() == [1, 8, 8]
    assert "up to 7 steps old (refreshed every 8, 0 behind); 14 is twice that" in found.lag_note
    assert ps.advise(LOG, trainer=settings, **FAST) == found
    other = ps.advise(LOG, trainer=settings, objective="kimi:beta=1", **FAST)
    assert (other.objective, other.group_size) == ("kimi:beta=1", 4)


def test_data_of_an_asynchronous_trainer_lag_behind() -> None:
    settings = dataclasses.replace(ps.from_config({"loss_type": "dr_grpo"}), lag=9, reuse=4)
    found = ps.advise(LOG, trainer=settings, objective="kimi:beta=1", **FAST)
    assert found.lag[["refresh_every", "lag", "age"]].to_numpy()[1:].tolist() == [[4, 6, 9], [4, 15, 18]]


def test_without_settings_the_log_says_the_group_size() -> None:
    found = ps.advise(LOG, objective="kimi:beta=1", **FAST)
    assert (found.group_size, found.trainer) == (8, None)
    assert found.lag["age"].tolist() == [0, 4, 16]
    assert found.lag_note.startswith("No settings say how old the data are")
    sizes = log_of([1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0])
    assert ps.advise(sizes, objective="kimi", **FAST).group_size == 3


def test_the_curve_is_shown_where_the_kl_per_step_is_not_known() -> None:
    curve = ps.advise(LOG, objective="kimi:beta=1", candidates=["nominal"])
    assert curve.lag["kl_per_step"].unique().tolist() == [1e-5, 1e-4, 1e-3, 1e-2]
    assert curve.kl_from.startswith("The log does not fix the point on this curve")
    point = ps.advise(LOG, objective="kimi:beta=1", **FAST)
    assert point.kl_from == "The KL per step, 0.01, is as given."
    last = curve.lag[curve.lag["kl_per_step"] == 1e-2].reset_index(drop=True)
    assert last.equals(point.lag)


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        ("reinforce", "samples from the current policy at each step"),
        ("reinforce_pp", "the advantage depends on the other groups"),
        ("gspo", "the objective knows something of each completion"),
        ("cql", "the weight needs the probability of each completion"),
    ],
)
def test_no_dynamics_where_they_would_mean_nothing(objective: str, why: str) -> None:
    found = ps.advise(LOG, objective=objective, **FAST)
    assert found.lag.empty
    assert why in found.lag_note


def test_an_objective_of_a_bernoulli_reward_is_advised() -> None:
    found = ps.advise(LOG, objective="log_smoothing", **FAST)
    assert found.candidates["role"].tolist() == ["present", "candidate"]
    assert found.least["change"].iloc[0] == "none"


@pytest.mark.slow
def test_every_objective_is_advised() -> None:
    told = {}
    for name in ps.objectives():
        found = ps.advise(LOG, objective=name, **FAST)
        told[name] = found.text
        assert found.candidates["role"].tolist() == ["present", "candidate"]
    assert len(set(told.values())) == len(told)  # each names itself


def test_a_log_without_a_signal_is_told_as_such() -> None:
    silent = log_of([1.0, 1.0], [0.0, 0.0])
    message = "log has nothing to advise on: no group has a signal: within each one all rewards are equal."
    with pytest.raises(ValueError, match=f"^{message}$"):
        ps.advise(silent, objective="kimi", **FAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give objective, or trainer"),
        ({"objective": "kimi", "kl_per_step": 0.0}, "kl_per_step must be a finite number > 0, got 0.0"),
        ({"objective": "kimi", "share": 2}, r"share must be in \(0, 1\], got 2"),
        (
            {"objective": "kimi", "candidates": "oapl"},
            r"candidates must be a list .* got the text 'oapl': write \['oapl'\]",
        ),
        ({"objective": "kimii"}, "unknown objective 'kimii'.*"),
        ({"objective": "kimi", "reward_column": "nothing"}, ".*nothing.*"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ps.advise(LOG, **options)


def test_a_trainer_without_an_objective_needs_one() -> None:
    settings = dataclasses.replace(ps.from_config({"loss_type": "grpo"}), objective=None)
    with pytest.raises(ValueError, match="^trainer has a loss that is no objective of this package: give objective$"):
        ps.advise(LOG, trainer=settings)


def test_the_shipped_log() -> None:
    found = ps.advise(TRL, objective="oapl:beta1=0.1,beta2=0.2", **FAST)
    none = found.least[found.least["change"] == "none"]
    assert none["negative"].tolist() == [1.0, 1.0]
    shift = found.least[found.least["change"] == "shift"].set_index("drop_equal")["setting"]
    report = ps.diagnose(TRL, "oapl", beta1=0.1, beta2=0.2)
    population = np.sort(report["population_shift"][~report["all_equal"]])
    assert shift[False] == pytest.approx(population[int(np.ceil(0.9 * len(population))) - 1], rel=6e-3)


def test_advantages_of_the_log_are_those_of_the_present_objective_alone() -> None:
    own = LOG.assign(advantage=2.0 * (LOG["reward"] - LOG.groupby("prompt")["reward"].transform("mean")))
    found = ps.advise(own, objective="kimi:beta=1", advantage_column="advantage", **FAST)
    report = ps.diagnose(LOG, "kimi", beta=0.5)  # twice the advantage is half the temperature
    signal = ~report["all_equal"]
    assert found.matched["value"] == pytest.approx(report["kl"][signal].mean(), rel=1e-9)
    assert found.candidates["kl"][0] == pytest.approx(report["kl"][signal].median(), rel=1e-9)
    nominal = ps.diagnose(LOG, found.candidates["objective"][1])
    assert nominal["kl"][signal].mean() == pytest.approx(found.matched["value"], rel=1e-3)
    why = "the advantages are those of the log, and other data have none"
    assert found.least["note"].tolist() == [why, why]
    assert why in found.lag_note


def test_groups_are_those_that_the_trainer_keeps() -> None:
    log = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 4, 7, 0, 8)), [1.0])
    settings = ps.from_config(["algorithm.adv_estimator=grpo", "algorithm.filter_groups.enable=true"])
    assert (settings.drop_equal, settings.singleton) == (True, "reward")
    logged = ps.advise(log, trainer=settings, **FAST).report.logged
    assert logged is not None
    assert (logged.dropped, logged.singleton, logged.sizes.tolist()) == (2, "reward", [8, 8, 8, 1])
    kept = ps.advise(log, objective="grpo", **FAST).report.logged
    assert kept is not None
    assert (kept.dropped, kept.singleton, len(kept.sizes)) == (0, None, 6)
    said = ps.advise(log, trainer=settings, singleton="zero", **FAST).report.logged
    assert said is not None
    assert (said.dropped, said.singleton) == (2, "zero")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match=r"advise\(\) has no option 'beta'"):
        ps.advise(LOG, objective="kimi", beta=0.1)
