"""Which program belongs to which objective, and for which there is none."""

from __future__ import annotations

from typing import Any

import pandas as pd

import pessimism as ps
from pessimism.convex.table import PROGRAMS
from pessimism.convex.verify import verify
from tests.helpers import cases
from tests.pessimism.convex.conditions import problems

CASES = cases()


WITHOUT = {"constant_baseline-negative", "chi_po-clipped", "grpo"}


def test_few_objectives_have_no_program() -> None:
    assert set(PROGRAMS) <= set(ps.objectives())
    for label in WITHOUT & set(CASES):
        frame = verify(ps.induced_target(*problems(label), CASES[label]))
        assert frame["program"].tolist() == ["none", "none"]
        assert frame["agrees"].isna().all()
        assert frame["reason"].str.contains("not convex").all()


class Own(ps.Kimi):
    """Another loss under a name that is taken."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 2.0 * super().score_weight(log_ratio, advantage, weights)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 2.0 * super().loss(log_ratio, advantage, weights)


def test_objectives_of_ones_own_have_no_program() -> None:
    frame = verify(ps.induced_target([0.5, 0.5], [0.0, 1.0], Own(beta=0.5)))
    assert frame["program"][0] == "none"
    assert frame["reason"][0] == "no convex program is known for Own"
    assert frame["agrees"][0] is pd.NA
