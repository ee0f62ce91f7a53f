"""Candidates stand at the conservatism that is claimed: diagnosing the log with each of them says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.pessimism.diagnosis.logs import log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 7, 0, 8)))


def advice(**options: Any) -> ps.Advice:
    return ps.advise(LOG, **{"objective": "kimi:beta=0.5", "kl_per_step": 1e-2, **options})


def test_candidates_are_at_the_mean_kl_of_the_present_objective() -> None:
    found = advice(candidates=["nominal", "oapl", "kimi", "reinforce"])
    report = ps.diagnose(LOG, "kimi", beta=0.5)
    signal = ~report["all_equal"]
    assert found.matched == {
        "name": "kl",
        "value": pytest.approx(report["kl"][signal].mean(), rel=1e-12),
        "why": "that of the present objective",
    }
    table = found.candidates.set_index("objective")
    # The present objective itself is no candidate to itself; what has no temperature says so.
    assert [spec.split(":")[0] for spec in table.index] == ["kimi", "nominal", "oapl", "reinforce"]
    assert table.loc["reinforce", "note"].startswith("not matched: reinforce has no temperature to move")
    assert np.isnan(table.loc["reinforce", "kl"])
    for spec in table.index[:3]:
        again = ps.diagnose(LOG, spec)
        assert again["kl"][signal].mean() == pytest.approx(found.matched["value"], rel=1e-3)  # four digits are written
        for column in ("kl", "value", "gain_share", "max_ratio"):
            assert table.loc[spec, column] == pytest.approx(again[column][signal].median(), rel=1e-3)
        assert table.loc[spec, "verdict"] == again.summary["verdict"]["word"]


def test_bands_are_those_of_the_pass_rate() -> None:
    found = advice(candidates=["nominal"])
    rules = ps.VerdictRules()
    for spec in found.candidates["objective"]:
        again = ps.diagnose(LOG, spec).frame
        again = again[~again["all_equal"]]
        rate = again["pass_rate"]
        parts = {
            "hard": again[rate < rules.hard],
            "middle": again[(rate >= rules.hard) & (rate <= rules.easy)],
            "easy": again[rate > rules.easy],
        }
        rows = found.bands[found.bands["objective"] == spec].set_index("band")
        assert (
            rows["groups"].to_dict()
            == {band: len(part) for band, part in parts.items()}
            == {
                "hard": 3,
                "middle": 6,
                "easy": 3,
            }
        )
        for band, part in parts.items():
            for column in ("kl", "gain_share"):
                assert rows.loc[band, column] == pytest.approx(part[column].median(), rel=2e-3)


def test_a_wanted_number_is_taken_as_it_is() -> None:
    assert advice(matched={"kl": 0.05}, candidates=["nominal"]).matched == {
        "name": "kl",
        "value": 0.05,
        "why": "as asked for",
    }
    like = advice(matched={"like": "nominal:beta=0.3"}, candidates=["nominal"])
    assert like.candidates["objective"].tolist() == ["kimi:beta=0.5", "nominal:beta=0.3"]
    value = advice(matched={"value": 0.8}, candidates=["nominal"])
    spec = value.candidates["objective"].iloc[1]
    again = ps.diagnose(LOG, spec)
    assert again["value"][~again["all_equal"]].mean() == pytest.approx(0.8, rel=1e-3)
    for wrong in ({"kl": 0.1, "value": 0.5}, {"tv": 0.1}, "kl=0.1"):
        with pytest.raises(ValueError, match="matched must be a dict with one of kl, value, max_ratio, like"):
            advice(matched=wrong)


@pytest.mark.parametrize(("spec", "word"), [("kimi:beta=1e-4", "greedy"), ("oapl:beta1=0.1,beta2=0.2", "leaking")])
def test_a_target_that_is_no_choice_is_not_matched(spec: str, word: str) -> None:
    found = advice(objective=spec, candidates=["nominal"])
    assert (found.matched["name"], found.matched["value"]) == ("kl", 0.1)
    assert f"the present target is {word}" in found.matched["why"]


def test_a_band_without_groups_says_so() -> None:
    log = log_of(*([1.0] * 4 + [0.0] * 4 for _ in range(12)))
    bands = ps.advise(log, objective="kimi:beta=1", candidates=["nominal"], kl_per_step=1e-2).bands
    of = bands.groupby("band")["verdict"].unique()
    assert (list(of["hard"]), list(of["easy"])) == (["no groups"], ["no groups"])
    assert "no groups" not in of["middle"]
