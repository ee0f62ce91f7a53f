"""Part b of the validation: its standard error by simulation, and a run of it on the small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.work import kept_in
from llm.validation.parts import sampled as study
from llm.validation.parts.sampled import averaged, finding, headline, pooled, sampled, within
from llm.validation.training import trained


def simulated(rng: np.random.Generator, training: float, seeds: int = 2, prompts: int = 32) -> pd.DataFrame:
    """Gaps of runs on the same samples: what these do, and what training does, around a prediction that is right."""
    known = np.broadcast_to(0.01 * np.exp(0.4 * rng.normal(size=prompts)), (seeds, prompts))
    gap = known * rng.normal(size=prompts) + training * rng.normal(size=known.shape)
    seed, prompt = (axis.ravel() for axis in np.indices(gap.shape))
    frame = pd.DataFrame({"seed": seed, "prompt": prompt.astype(str), "gap": gap.ravel(), "gap_error": known.ravel()})
    same = {"kind": "prompt", "note": "", "predicted_regime": "positive", "predicted_kappa": 0.2, "kappa_fit": 0.2}
    return frame.assign(**same, ess=1.0, missing=0.0)


@pytest.mark.parametrize("training", [0.0, 0.01, 0.04])
@pytest.mark.slow
def test_errors_hold_with_what_training_adds(training: float) -> None:
    rng = np.random.default_rng(0)
    frames = [averaged(simulated(rng, training)) for _ in range(100)]
    assert np.mean([within(frame) for frame in frames]) == pytest.approx(0.95, abs=0.02)
    alone = np.mean([within(frame.assign(error=frame["gap_error"])) for frame in frames])
    assert (alone > 0.93) if training == 0.0 else (alone < 0.89)
    found = [frame["training_error"].iloc[0] for frame in frames]  # of the mean of two runs
    assert np.mean(found) == pytest.approx(training / np.sqrt(2), abs=0.001)
    last = pd.concat([frame.tail(1) for frame in frames])
    assert np.mean(last["error"]) == pytest.approx(np.std(last["gap"]), rel=0.15)


def test_a_prediction_that_is_wrong_is_not_covered_by_the_spread() -> None:
    frame = simulated(np.random.default_rng(0), 0.01)
    frame["gap"] += 0.06
    assert within(averaged(frame)) < 0.2


def test_prompts_weigh_in_the_mean_as_in_one_fit() -> None:
    frame = simulated(np.random.default_rng(0), 0.01, prompts=2)
    frame["ess"] = np.where(frame["prompt"] == "0", 0.25, 1.0)
    first, second, both = averaged(frame)["gap"]
    assert both == pytest.approx(0.8 * first + 0.2 * second)


@pytest.mark.usefixtures("seeded")
@pytest.mark.slow
def test_a_run_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "model_path", lambda _: str(folder))
    told: list[dict[str, Any]] = []

    def watched(*given: Any, **settings: Any) -> None:
        told.append(settings)
        trained(*given, **settings)

    monkeypatch.setattr(study, "trained", watched)
    with kept_in(None, jobs=1):
        frame = sampled(
            objectives=("kimi",), prompts=4, group=8, batch=4, steps=50, rate=3e-3, samples=256, reward="exact"
        )
    # Frozen behavior, and gradients as they are: a clipped one has another mean.
    assert [(one["seed"], one["lag"], one["max_grad_norm"]) for one in told] == [(1, 50, 0.0), (2, 50, 0.0)]
    assert frame["kind"].tolist() == ["prompt"] * 4 + ["pooled"]
    prompts = frame[frame["kind"] == "prompt"]
    assert prompts.notna().all(axis=None)
    assert (prompts["error"] > prompts["gap_error"]).all()
    # 8 a group: kappa is that of beta / (1 - 1/8), not that of beta.
    for row in prompts.itertuples():
        group, alone = (ps.finite_group("kimi", size, pass_rate=row.reward_mean, beta=0.5).kappa for size in (8, 2**17))
        assert row.kappa_enumerated == pytest.approx(group, rel=1e-4)
        assert row.kappa_population == pytest.approx(alone, rel=1e-3)
    assert pooled(frame).loc["kimi", "measured"] == pytest.approx(pooled(frame).loc["kimi", "kappa"], rel=0.3)
    assert headline(frame).startswith(f"{within(frame):.0%} of 4 ")
    assert f"Kimi {pooled(frame).loc['kimi', 'measured']:.4f} " in finding(frame)


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="seeds must be at least 2, for the error of the training, got 1"):
        sampled(seeds=1)
