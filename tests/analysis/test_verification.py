"""Bookkeeping of `make verify`: what is counted, the worst, and what is not measured again."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import analysis.atlas
import pessimism as ps
from analysis import verification, work
from analysis.atlas import atlas


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


def test_finished_objectives_are_not_measured_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ps, "objectives", lambda: {"kimi": ps.Kimi})
    first = verification.measure(tmp_path, 1, 1)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(analysis.atlas, "atlas", fail)
    pd.testing.assert_frame_equal(verification.measure(tmp_path, 1, 1), first)
    monkeypatch.setattr(work, "source_hash", lambda _: "other code")
    with pytest.raises(AssertionError, match="measured again"):
        verification.measure(tmp_path, 1, 1)
