"""Part c of the validation: what it says of made-up runs, and runs of it on the small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.lag import settings
from analysis.work import kept_in
from llm.validation.parts import lag as study
from llm.validation.parts.lag import TABLE_RATES, agreement, best_rates, finding, headline, kept_rates, lag
from llm.validation.parts.lag_runs import COMPARED


def made_up(model: dict[str, float], table: dict[str, float], spread: float = 0.001) -> pd.DataFrame:
    """Two seeds of each objective at lag 4, whose values after a start of 0.2 differ by twice the spread."""
    rows: list[dict[str, Any]] = []
    for source, values in (("model", model), ("table", table)):
        for name, value in values.items():
            for seed, side in ((1, -spread), (2, spread)):
                for step, height in ((0, 0.2), (5, value + side), (10, value + side)):
                    row = {"source": source, "objective": name, "seed": seed, "step": step, "value": height}
                    rows.append(row | {"stage": "run", "lag": 4, "rate": 0.1, "entropy": 0.5, "kl": 0.3})
    return pd.DataFrame(rows)


def test_agreement_counts_pairs_that_tables_tell_apart() -> None:
    table = {"kimi": 0.8, "grpo": 0.5, "oapl": 0.81}  # kimi and oapl are as good as equal
    row = agreement(made_up({"kimi": 0.7, "grpo": 0.6, "oapl": 0.55}, table)).iloc[0]
    assert (row["lag"], row["pairs"], row["alike"]) == (4, 2, 1)
    assert row["tau"] == pytest.approx(-1 / 3)
    assert row["spread"] == pytest.approx(0.31)
    noisy = agreement(made_up({"kimi": 0.7, "grpo": 0.6, "oapl": 0.55}, table, spread=0.5)).iloc[0]
    assert noisy["pairs"] == 0


def test_the_best_rate_is_that_of_the_last_step_over_the_lags() -> None:
    rows = [
        {"objective": "kimi", "lag": lag, "rate": rate, "step": step, "value": value}
        for lag, rate, step, value in [
            *((1, 0.1, 0, 0.9), (1, 0.1, 9, 0.4), (8, 0.1, 9, 0.4)),
            *((1, 0.3, 0, 0.1), (1, 0.3, 9, 0.5), (8, 0.3, 9, 0.3)),
            *((1, 1.0, 0, 0.1), (1, 1.0, 9, 0.9), (8, 1.0, 9, -0.1)),
        ]
    ]
    assert best_rates(pd.DataFrame(rows)) == {"kimi": 0.1}  # of two as good, the smaller


def test_rates_of_the_run_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(kept_rates(COMPARED)) == set(COMPARED)
    with pytest.raises(ValueError, match="the kept run has none for tba"):
        kept_rates(("kimi", "tba"))
    monkeypatch.setattr(study, "KEPT", tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"rates must be given: there is no kept run none.csv"):
        kept_rates(("kimi",))


def test_hyper_of_all_that_are_compared() -> None:
    temperatures = {name: getattr(settings(0.3)[name], "temperature", None) for name in COMPARED}
    with_one = ("nominal", "kimi", "optimal_value", "oapl", "shifted_mean")
    assert {name: temperatures[name] for name in with_one} == dict.fromkeys(with_one, 0.3)


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.validation.parts.lag_runs.model_path", lambda _: str(folder))


@pytest.mark.usefixtures("seeded", "small")
@pytest.mark.slow
def test_the_whole_study() -> None:
    with kept_in(None, jobs=1):
        frame = lag("tiny", ("kimi", "grpo"), lags=(1, 4), rates=(1e-3, 1e-2), tuned_at=(1,), steps=6, records=3)
    assert list(frame.columns) == study._COLUMNS
    assert frame.notna().all(axis=None)
    runs = frame[frame["stage"] == "run"]
    by = ["source", "objective", "lag", "seed"]
    assert {tuple(part["step"]) for _, part in runs.groupby(by)} == {(0, 2, 4, 6)}
    begun = runs[runs["step"] == 0].groupby(["seed", "source"])[["value", "entropy"]].mean()
    model, table = (begun.xs(source, level="source") for source in ("model", "table"))
    np.testing.assert_allclose(model["value"], table["value"], atol=1e-6)
    assert (model["entropy"] >= table["entropy"]).all()  # rare completions are one on the table
    assert (runs[runs["step"] == 0]["kl"].abs() < 1e-9).all()
    assert (runs[runs["step"] == 6]["kl"] > 0).all()
    for source, tried in (("model", {1e-3, 1e-2}), ("table", set(TABLE_RATES))):
        mine = frame[frame["source"] == source]
        assert set(mine[mine["stage"] == "tuning"]["rate"]) == tried
        best = best_rates(mine[mine["stage"] == "tuning"])
        assert mine[mine["stage"] == "run"].groupby("objective")["rate"].unique().map(list).to_dict() == {
            name: [rate] for name, rate in best.items()
        }
    assert f" {agreement(frame)['pairs'].sum()} " in headline(frame)
    assert "Kimi" in finding(frame)
