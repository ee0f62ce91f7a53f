"""A sample of what `make verify` measures in full, and its bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis import verification, work
from analysis.atlas import atlas, seeded_bandit
from analysis.routes import compare_routes
from pessimism.losses import index


@pytest.mark.parametrize("name", list(ps.objectives()))
def test_routes_agree_on_a_sample(name: str) -> None:
    frame = atlas([name], bandits=3, betas=(0.3,), most=6)
    assert len(frame) == 9
    wrong = verification.disagreements(frame)
    assert wrong.empty, wrong.to_string()
    assert frame["certificate"].max() <= 1e-9
    assert frame["error"].notna().any(), "no route applies"


def test_seeded_bandits_range_from_two_to_64_actions() -> None:
    widths = [len(seeded_bandit(seed)[0]) for seed in range(50)]
    assert widths[0] == 2
    assert widths[-1] == 64
    assert widths == sorted(widths)
    np.testing.assert_array_equal(seeded_bandit(7)[1], seeded_bandit(7)[1])


@dataclass(frozen=True)
class WrongClosedForm(ps.Kimi):
    """Kimi's loss with a closed form at a temperature off by a twentieth."""

    def closed_form(self, bandit: Any, advantage: Any, *, unseen: bool) -> Any:
        return replace(ps.Kimi(beta=self.beta * 1.05)).closed_form(bandit, advantage, unseen=unseen)


def test_a_wrong_closed_form_is_a_disagreement() -> None:
    _, found = compare_routes(*seeded_bandit(20), WrongClosedForm(beta=0.1))
    frame = pd.DataFrame([c._asdict() for c in found]).assign(certificate=0.0)
    assert verification.disagreements(frame)["route"].tolist() == ["fixed_point", "flow"]
    assert verification.disagreements(frame.assign(error=0.0, certificate=1e-6)).shape == (3, 4)
    assert frame["why"].tolist() == ["", "no convex program is known for WrongClosedForm", ""]


class NoTargetAtAll(ps.AsymRE):
    """A loss without bound below, with the closed form of a regression."""

    def closed_form(self, bandit: Any, advantage: Any, *, unseen: bool) -> Any:
        return ps.Kimi(beta=0.3).closed_form(bandit, advantage, unseen=unseen)


def test_a_target_that_does_not_exist_is_a_disagreement() -> None:
    _, found = compare_routes(*seeded_bandit(20), NoTargetAtAll(shift=0.2))
    frame = pd.DataFrame([c._asdict() for c in found]).assign(certificate=0.0)
    assert verification.disagreements(frame)["route"].tolist() == ["flow"]


def test_no_target_is_checked_by_the_flow() -> None:
    target, found = compare_routes(*seeded_bandit(20), ps.AsymRE(shift=0.2))
    assert target.status == "no_target"
    assert [(c.route, c.error) for c in found if not np.isnan(c.error)] == [("flow", 0.0)]


def test_digest_counts_and_takes_the_worst() -> None:
    frame = atlas(["kimi", "ppo"], bandits=2, betas=(0.1, 0.3), most=3)
    found = verification.digest(frame)
    assert list(found) == ["kimi", "ppo"]
    assert found["kimi"]["problems"] == 4
    assert found["ppo"]["problems"] == 2  # no temperature: once per bandit
    assert found["kimi"]["regimes"] == {"positive": 4}
    worst = frame.query("objective == 'kimi' and route == 'flow'")["error"].max()
    assert found["kimi"]["routes"]["flow"] == {"compared": 4, "worst": worst, "why": ""}
    assert found["ppo"]["routes"]["fixed_point"]["why"] == "many fixed points"


def test_every_measured_route_is_within_its_tolerance() -> None:
    assert set(index.measured()) == set(ps.objectives())
    for name, entry in index.measured().items():
        for route, one in entry["routes"].items():
            assert one["compared"] <= entry["problems"]
            assert one["compared"] or one["why"], f"{name}: nothing is said of {route}"
            assert not one["compared"] or one["worst"] <= index.TOLERANCES[route], f"{name}: {route}"
        assert sum(one["compared"] for one in entry["routes"].values()), f"{name}: no route at all"


def test_finished_objectives_are_not_measured_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification.ps, "objectives", lambda: {"kimi": ps.Kimi})
    first = verification.measure(tmp_path, 1, 1)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(verification, "atlas", fail)
    pd.testing.assert_frame_equal(verification.measure(tmp_path, 1, 1), first)
    monkeypatch.setattr(work, "source_hash", lambda _: "other code")
    with pytest.raises(AssertionError, match="measured again"):
        verification.measure(tmp_path, 1, 1)
