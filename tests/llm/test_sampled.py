"""Part b of the validation: its standard error by simulation, and a run of it on the small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from llm.validation import sampled as study
from llm.validation.sampled import finding, headline, one_run, pooled, sampled, training_error, within


def simulated(rng: np.random.Generator, training: float, seeds: int = 2, prompts: int = 32) -> pd.DataFrame:
    """Gaps of independent runs: what fresh samples and what training do, around a prediction that is right."""
    known = 0.01 * np.exp(0.4 * rng.normal(size=(seeds, prompts)))
    gap = known * rng.normal(size=known.shape) + training * rng.normal(size=known.shape)
    names = np.broadcast_to(np.arange(prompts).astype(str), gap.shape)
    columns = {"prompt": names.ravel(), "gap": gap.ravel(), "gap_error": known.ravel()}
    return pd.DataFrame(columns).assign(kind="prompt")


def with_error(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(error=np.hypot(frame["gap_error"], training_error(frame)))


@pytest.mark.parametrize("training", [0.0, 0.01, 0.04])
def test_errors_hold_with_what_training_adds(training: float) -> None:
    rng = np.random.default_rng(0)
    frames = [simulated(rng, training) for _ in range(100)]
    assert np.mean([within(with_error(frame)) for frame in frames]) == pytest.approx(0.95, abs=0.02)
    alone = np.mean([within(frame.assign(error=frame["gap_error"])) for frame in frames])
    assert (alone > 0.93) if training == 0.0 else (alone < 0.85)
    assert np.mean([training_error(frame) for frame in frames]) == pytest.approx(training, abs=0.003)


def test_a_prediction_that_is_wrong_is_not_covered_by_the_spread() -> None:
    frame = simulated(np.random.default_rng(0), 0.01)
    frame["gap"] += 0.06
    assert within(with_error(frame)) < 0.2


def test_runs_that_scatter_less_than_their_errors_add_nothing() -> None:
    frame = simulated(np.random.default_rng(0), 0.0)
    assert training_error(frame.assign(gap_error=10.0 * frame["gap_error"])) == 0.0


@pytest.mark.usefixtures("seeded")
def test_a_run_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "model_path", lambda _: str(folder))
    setting = {"prompts": 4, "group": 8, "batch": 4, "steps": 50, "samples": 256}
    runs = [one_run("tiny", ps.Kimi(beta=0.5), "kimi", seed, 3e-3, "exact", setting) for seed in (1, 2)]
    assert not runs[0]["gap"].equals(runs[1]["gap"])
    monkeypatch.setattr(study, "each", lambda *_, **__: runs)
    frame = sampled(objectives=("kimi",))
    assert len(frame) == 10
    assert frame.notna().all(axis=None)
    prompts = frame[frame["kind"] == "prompt"]
    assert (prompts["error"] >= prompts["gap_error"]).all()
    # 8 a group: kappa is that of beta / (1 - 1/8), not that of beta.
    for row in prompts.itertuples():
        group, alone = (ps.finite_group("kimi", size, pass_rate=row.reward_mean, beta=0.5).kappa for size in (8, 10**6))
        assert row.kappa_enumerated == pytest.approx(group, rel=1e-4)
        assert row.kappa_population == pytest.approx(alone, rel=1e-3)
    assert pooled(frame).loc["kimi", "measured"] == pytest.approx(pooled(frame).loc["kimi", "kappa"], rel=0.3)
    assert headline(frame).endswith("of 8 measured kappas are within 2 errors of the finite-group prediction")
    assert "pooled: kimi 0." in finding(frame)


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="seeds must be at least 2, for the error of the training, got 1"):
        sampled(seeds=1)
