"""Metrics of the steps against numpy, over micro-batches, logs and breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pessimism as ps
from tests.llm.marks import slow_but
from tests.llm.runs import (
    G,
    Watched,
    at,
    logged,
    per_token,
    rows_of,
    trained,
)

pytestmark = pytest.mark.usefixtures("seeded")


def pairs_of(run: Watched, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, and log-ratios of the policy and of the initial one to the behavior, of a step, ``(groups, G)``."""
    rows, reward, _ = rows_of(run, t)
    mask = rows["completion_mask"].double()
    with torch.no_grad():
        logs, initial = (per_token(at(run, s), rows) for s in (t, 0))
    behavior = rows.get("old_per_token_logps", logs)
    u, share = (((x - behavior).double() * mask).sum(1).numpy().reshape(reward.shape) for x in (logs, initial))
    return reward, u, share


def by_hand(run: Watched, t: int, objective: Any) -> dict[str, float]:
    """Of the data of a step, in numpy, from texts, tokens and snapshots."""
    reward, u, share = pairs_of(run, t)
    w, centered = np.exp(u), reward - reward.mean(1, keepdims=True)
    found = {
        "log_ratio/mean": u.mean(),
        "log_ratio/max": u.max(),
        "kl/policy_behavior": np.mean(w * u - w + 1),
        "kl/behavior_policy": np.mean(w - 1 - u),
        "pass_rate": reward.mean(),
    }
    if np.abs(centered * u).max() > 1e-3:  # else there is rounding to divide by
        found["effective_temperature"] = np.sum(centered**2) / np.sum(centered * u)
    if (beta := objective.temperature) is None:
        return found
    under = np.exp(share) if getattr(objective, "baseline_under_reference", False) else np.ones_like(u)
    under = under / under.sum(axis=1, keepdims=True)
    scaled = objective.advantage(reward, under) / beta
    x = scaled - u + (share if objective.reference_policy == "initial" else 0.0)
    z = np.sum(under * np.exp(scaled), axis=1)
    if not isinstance(objective, ps.TBA):  # whose target is log w = A/beta less a constant
        found |= {"kappa_fit": np.sum(w * x) / np.sum(w * w), "kappa_identity": x.mean()}
        found["kappa_untrained"] = np.mean(x + u)
    return found | {
        "regime/positive": np.mean(z > 1 + 1e-6),
        "regime/boundary": np.mean(np.abs(z - 1) <= 1e-6),
        "regime/negative": np.mean(z < 1 - 1e-6),
        "leak": np.mean(np.maximum(1 - z, 0)),
    }


@pytest.mark.parametrize(
    "objective",
    slow_but(
        [0, 2],
        [
            ps.ConstantBaseline(beta=0.5, value=0.3),
            ps.OptimalValue(beta=0.5),
            ps.AStarPO(beta2=0.5, sampling="off_policy"),
            ps.TBA(beta=0.5),
            ps.PPO(),
        ],
    ),
    ids=str,
)
def test_metrics_of_each_step(objective: Any, folder: Path, tmp_path: Path) -> None:
    given = {"lag": 2, "lag_mode": "constant", "gradient_accumulation_steps": 2, "learning_rate": 3e-3}
    run = trained(folder, tmp_path, Watched, objective_=objective, **given)
    rows = logged(run)
    assert len(rows) == 5
    for t, row in enumerate(rows):
        expected = by_hand(run, t, objective)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (t, name)
        assert ("kappa_fit" in row) == ("kappa_fit" in expected)
        assert 0 < row["entropy"] < np.log(16)
    assert "effective_temperature" in by_hand(run, 4, objective)


def test_metrics_of_a_log_are_of_all_its_pairs(folder: Path, tmp_path: Path) -> None:
    """And not means of the steps' ratios, of which one may have almost nothing below."""
    given = {"lag": 2, "lag_mode": "constant", "learning_rate": 3e-3, "max_steps": 6, "logging_steps": 3}
    run = trained(folder, tmp_path, Watched, objective="kimi", hyper={"beta": 0.5}, **given)
    rows = logged(run)
    assert len(rows) == 2
    for start, row in zip((0, 3), rows, strict=True):
        reward, u, _ = (
            np.concatenate(part) for part in zip(*(pairs_of(run, start + t) for t in range(3)), strict=True)
        )
        w, centered = np.exp(u), reward - reward.mean(axis=1, keepdims=True)
        x = centered / 0.5 - u
        assert row["log_ratio/max"] == pytest.approx(u.max(), abs=1e-5)
        assert row["kappa_fit"] == pytest.approx(np.sum(w * x) / np.sum(w * w), rel=1e-3)
        if start:
            assert row["effective_temperature"] == pytest.approx(np.sum(centered**2) / np.sum(centered * u), rel=1e-3)


@pytest.mark.slow
def test_what_is_logged_does_not_depend_on_a_break(folder: Path, tmp_path: Path) -> None:
    """In the middle of a log's steps; nor do the completions written, when a run that has ended is begun once more."""
    given: dict[str, Any] = {"objective": "kimi", "lag": 2, "logging_steps": 4, "learning_rate": 3e-3, "max_steps": 8}
    given |= {"save_strategy": "steps", "save_steps": 3, "log_completions": True, "num_completions_to_print": 1}
    whole = trained(folder, tmp_path, **given)
    files = {path.name: len(pd.read_parquet(path)) for path in (tmp_path / "completions").iterdir()}
    assert files == dict.fromkeys(("completions_00004.parquet", "completions_00008.parquet"), 2 * 4 * G)
    resumed = trained(folder, tmp_path, resume=tmp_path / "checkpoint-6", **given)
    (_, ours), (_, theirs) = (logged(run) for run in (whole, resumed))
    timed = ("step_time", "loss", "grad_norm", "epoch")  # loss: transformers' own mean since the break
    names = {name for name in ours if name not in timed}
    assert len(names) > 25
    for name in names:
        expected = ours[name] if ours[name] is None else pytest.approx(ours[name], rel=1e-6)
        assert theirs[name] == expected, name
    trained(folder, tmp_path, resume=tmp_path / "checkpoint-8", **given)
    assert {path.name: len(pd.read_parquet(path)) for path in (tmp_path / "completions").iterdir()} == files


def test_every_step_of_a_generation_batch_has_metrics(folder: Path, tmp_path: Path) -> None:
    """TRL shuffles a generation batch: its groups are in several steps, whose metrics have its mean."""
    objective = ps.ConstantBaseline(beta=0.5, value=0.3)
    run = trained(folder, tmp_path, Watched, objective_=objective, lag=3, max_steps=6)
    rows = logged(run)
    names = [name for name in by_hand(trained(folder, tmp_path, Watched, max_steps=1), 0, objective) if name in rows[0]]
    assert len(names) == 12
    assert all(name in row for name in names for row in rows)
    for start in (0, 3):
        micro = [m for t in range(start, start + 3) for m in run.seen[t]]
        run.seen[start] = micro
        whole = by_hand(run, start, objective)
        for name in ("pass_rate", "regime/positive", "regime/boundary", "regime/negative", "leak"):
            mean = np.mean([row[name] for row in rows[start : start + 3]])
            assert mean == pytest.approx(whole[name], rel=1e-6), name


def test_a_kappa_of_tokens_is_none(folder: Path, tmp_path: Path) -> None:
    """The prediction is for log-ratios of whole completions."""
    (row,) = logged(trained(folder, tmp_path, objective="kimi", log_ratio="token", max_steps=1))
    assert "kappa_fit" not in row
    assert "kappa_identity" not in row
    assert "regime/positive" in row
