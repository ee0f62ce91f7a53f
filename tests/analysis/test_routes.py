"""Routes compared: a wrong closed form and a target that does not exist are disagreements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

import pessimism as ps
from analysis import verification
from analysis.atlas import seeded_bandit
from analysis.routes import compare_routes


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
        return ps.Kimi(beta=0.03).closed_form(bandit, advantage, unseen=unseen)


def test_a_target_that_does_not_exist_is_a_disagreement() -> None:
    _, found = compare_routes(*seeded_bandit(20), NoTargetAtAll(shift=0.2))
    frame = pd.DataFrame([c._asdict() for c in found]).assign(certificate=0.0)
    assert verification.disagreements(frame)["route"].tolist() == ["fixed_point", "flow"]


def test_no_target_is_checked_by_the_flow() -> None:
    target, found = compare_routes(*seeded_bandit(20), ps.AsymRE(shift=0.2))
    assert target.status == "no_target"
    assert [(c.route, c.error) for c in found if not np.isnan(c.error)] == [("flow", 0.0)]
