r"""Lag on a transformer: the dynamics of `analysis.lag_steps`, once through the trainer and once on tables.

Every step trains on groups that the policy of exactly L steps ago drew for the same few prompts. All completions of a
prompt can be enumerated, so that value, entropy and KL to the start are exact. Beside each run stands its table: one
free logit for each of those completions, from the same start, with the same rewards, lag, groups and steps. The two
differ in what moves: AdamW on shared weights against a gradient step on separate logits. Learning rates therefore have
no common scale; each dynamics has a grid of its own, the same for all objectives, from which every objective gets the
rate of most value at the end, over the tuning lags, on prompts that are not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from analysis.work import each
from figures.validate_lag import ends
from llm.validation.lag_runs import COMPARED, on_model, on_table
from llm.validation.problem import TRAINING

KEPT = Path(__file__).resolve().parents[1] / "results" / "validate_lag.csv"  # of the full run
_OURS = ("settings.py", "lag_steps.py", *TRAINING, "llm/validation/lag_runs.py")
SMOKE: dict[str, Any] = {
    "model": "tiny:digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=200,batch=64",
    "objectives": ("grpo", "kimi", "reinforce"),
    "lags": (1, 8),
    "tuned_at": (1,),
    "rates": (3e-4, 1e-3),
    "seeds": 2,
    "steps": 24,
    "prompts": 4,
    "records": 3,
}
FULL: dict[str, Any] = {"lags": (1, 16, 64, 256), "rates": (1e-4, 3e-4, 1e-3, 3e-3), "seeds": 5}
_COLUMNS = ["source", "stage", "objective", "lag", "seed", "rate", "step", "value", "entropy", "kl", "ended"]


def lag(
    model: str = "tiny",
    objectives: tuple[str, ...] = COMPARED,
    beta: float = 0.5,
    lags: tuple[int, ...] = (1, 64),
    seeds: int = 2,
    rates: tuple[float, ...] = (),
    table_rates: tuple[float, ...] = (0.2, 0.8, 3.2, 12.8, 51.2),
    tuned_at: tuple[int, ...] = (1, 64),
    steps: int = 400,
    prompts: int = 8,
    group: int = 8,
    records: int = 8,
) -> pd.DataFrame:
    """Value, entropy and KL to the start over training, by objective and lag, of the model and of its table.

    Parameters
    ----------
    model : str
        A small model that `llm.models` makes, whose completions can be enumerated.
    objectives : tuple of str
        Names; hyper-parameters are those of `hyper`.
    beta : float
        Temperature of all objectives that have one but GRPO.
    lags : tuple of int
        How many steps the data are behind, increasing.
    seeds : int
        Runs of each, with prompts of their own. Seed 0 is that of the tuning runs and not among them.
    rates : tuple of float
        Learning rates of AdamW tried for each objective; empty: those found by the full run, kept in `KEPT`.
    table_rates : tuple of float
        Learning rates of the table tried for each objective, in units of a policy gradient.
    tuned_at : tuple of int
        Lags of the tuning runs; the rate of most value after the last step, on average, is taken.
    steps, prompts, group, records : int
        Steps of a run, prompts, completions of each drawn a step, times measured.

    Returns
    -------
    pandas.DataFrame
        `source` ("model" or "table"), `stage` ("tuning" or "run"), `objective`, `lag`, `seed`, `rate`, `step`, means
        over the prompts of `value`, `entropy` (nats) and `kl` (policy to start, nats), and `ended` (the loss or the
        logits stopped being finite; the last policy stands).

    Raises
    ------
    ValueError
        If there are no rates and no kept run, or one without an objective asked for.
    """
    setting = {"steps": steps, "prompts": prompts, "group": group, "records": records}

    def runs(run: Any, stage: str, behind: tuple[int, ...], numbers: range, tried: Mapping[str, Any]) -> pd.DataFrame:
        work = [
            (model, name, beta, one, seed, rate, setting)
            for name in objectives
            for one in behind
            for seed in numbers
            for rate in tried[name]
        ]
        found: list[pd.DataFrame] = each(run, work, desc=f"lag, {run.__name__} {stage}", ours=_OURS)
        return pd.concat(found, ignore_index=True).assign(stage=stage)

    frames, own, again = [], range(1), range(1, seeds + 1)
    if rates:
        frames.append(runs(on_model, "tuning", tuned_at, own, dict.fromkeys(objectives, rates)))
    best = best_rates(frames[0]) if rates else kept_rates(objectives)
    frames.append(runs(on_model, "run", lags, again, {name: (rate,) for name, rate in best.items()}))
    frames.append(runs(on_table, "tuning", tuned_at, own, dict.fromkeys(objectives, (table_rates,))))
    best = best_rates(frames[-1])
    frames.append(runs(on_table, "run", lags, again, {name: ((rate,),) for name, rate in best.items()}))
    return pd.concat(frames, ignore_index=True)[_COLUMNS]


def best_rates(tuning: pd.DataFrame) -> dict[str, float]:
    """Rate of most value after the last step for each objective, on average over the lags; the smaller one in a tie."""
    last = tuning[tuning["step"] == tuning["step"].max()]
    mean = last.groupby(["objective", "rate"])["value"].mean().round(9).unstack()
    return {str(name): float(rate) for name, rate in mean.idxmax(axis=1).items()}


def kept_rates(objectives: tuple[str, ...]) -> dict[str, float]:
    """Rates that the full run found, from its frame."""
    if not KEPT.exists():
        raise ValueError(f"rates must be given: there is no kept run {KEPT.name}")
    frame = pd.read_csv(KEPT)
    found = best_rates(frame[(frame["source"] == "model") & (frame["stage"] == "tuning")])
    if missing := [name for name in objectives if name not in found]:
        raise ValueError(f"rates must be given: the kept run has none for {', '.join(missing)}")
    return found


def agreement(frame: pd.DataFrame, column: str = "gain") -> pd.DataFrame:
    """Kendall's tau between model and table over the objectives, for each lag, and its p-value."""
    table = ends(frame).pivot(index=["lag", "objective"], columns="source", values=column)
    found = {behind: kendalltau(part["model"], part["table"]) for behind, part in table.groupby(level="lag")}
    rows = [{"lag": behind, "tau": float(t.statistic), "p": float(t.pvalue)} for behind, t in found.items()]
    return pd.DataFrame(rows)


def headline(frame: pd.DataFrame) -> str:
    """How well the order of the objectives on tables predicts that on the model, at the least and the largest lag."""
    found = agreement(frame).set_index("lag")["tau"]
    low, high = found.index.min(), found.index.max()
    return (
        f"Ordered by value over training, transformers agree with their tables: Kendall's tau {found[low]:.2f} at lag "
        f"{low}, {found[high]:.2f} at lag {high}"
    )


def finding(frame: pd.DataFrame) -> str:
    """The orders at the largest lag, what lag costs each objective on both, and the rates taken."""
    rows = ends(frame)
    high = rows[rows["lag"] == rows["lag"].max()]
    orders = {source: part.sort_values("gain", ascending=False) for source, part in high.groupby("source")}
    said = {
        source: ", ".join(f"{name} {gain:.3f}" for name, gain in zip(part["objective"], part["gain"], strict=True))
        for source, part in orders.items()
    }
    wide = rows.pivot(index=["source", "objective"], columns="lag", values="gain")
    change = (wide[wide.columns.max()] - wide[wide.columns.min()]).unstack("source")
    alike = int((np.sign(change["model"]) == np.sign(change["table"])).sum())
    taken = frame[frame["stage"] == "run"].groupby(["source", "objective"], sort=False)["rate"].first()
    rates = {
        source: ", ".join(f"{name} {rate:g}" for name, rate in part.droplevel(0).items())
        for source, part in taken.groupby(level="source")
    }
    taus = ", ".join(f"{row.tau:.2f} at lag {row.lag} (p = {row.p:.2g})" for row in agreement(frame).itertuples())
    return (
        f"Value over training at lag {wide.columns.max()}: on the transformer {said['model']}; on its table "
        f"{said['table']}. Kendall's tau between the two orders: {taus}. Lag changes the value in the same direction "
        f"on both for {alike} of {len(change)} objectives. Learning rates: {rates['model']} (AdamW); {rates['table']} "
        "(table)."
    )
