r"""Lag on a transformer: the dynamics of `analysis.lag_steps`, once through the trainer and once on tables.

Every step trains on groups that the policy of exactly L steps ago drew for the same few prompts. All completions of a
prompt can be enumerated, so that value, entropy and KL to the start are exact. Beside each run stands its table: one
free logit for each of those completions, from the same start, with the same rewards, lag, groups, steps and optimizer,
AdamW. (A plain gradient step, as in `analysis`, orders objectives otherwise: it goes by how large a gradient is, which
clipped ratios and tempered advantages change and AdamW divides out.) The two differ in what moves: shared weights, and
separate logits. Learning rates therefore have no common scale; each dynamics has a grid of its own, the same for all
objectives, from which every objective gets the rate of most value at the end, over the tuning lags, on prompts that are
not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from analysis.names import display_name
from analysis.validation import ends
from analysis.work import each
from llm.validation.parts.lag_runs import COMPARED, on_model, on_table
from llm.validation.problem import SMOKE_MODEL

KEPT = Path(__file__).resolve().parents[2] / "results" / "validate_lag.csv"  # of the full run
SMOKE: dict[str, Any] = {
    "model": SMOKE_MODEL,
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
TABLE_RATES = tuple(0.02 * 2.0**power for power in range(9))
APART = 0.02  # of value over training, which is in [0, 1]: less is no difference worth an order
_COLUMNS = ["source", "stage", "objective", "lag", "seed", "rate", "step", "value", "entropy", "kl", "ended"]


def lag(
    model: str = "tiny",
    objectives: tuple[str, ...] = COMPARED,
    beta: float = 0.5,
    lags: tuple[int, ...] = (1, 64),
    seeds: int = 2,
    rates: tuple[float, ...] = (),
    table_rates: tuple[float, ...] = TABLE_RATES,
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
        A small model that `llm.models.load` makes, whose completions can be enumerated.
    objectives : tuple of str
        Names; hyper-parameters are those of `analysis.lag.settings`.
    beta : float
        Temperature of all objectives that have one but GRPO.
    lags : tuple of int
        How many steps the data are behind, increasing.
    seeds : int
        Runs of each, with prompts of their own. Seed 0 is that of the tuning runs and not among them.
    rates : tuple of float
        Learning rates of AdamW tried for each objective; empty: those found by the full run, kept in `KEPT`.
    table_rates : tuple of float
        Learning rates of AdamW on the table tried for each objective: what a logit moves in a step, at first.
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
        found: list[pd.DataFrame] = each(run, work, desc=f"lag, {run.__name__} {stage}")
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
    """Find the rate of most value after the last step for each objective, over all lags; the smaller in a tie."""
    last = tuning[tuning["step"] == tuning["step"].max()]
    mean = last.groupby(["objective", "rate"])["value"].mean().round(9).unstack()
    return {str(name): float(rate) for name, rate in mean.idxmax(axis=1).items()}


def kept_rates(objectives: tuple[str, ...]) -> dict[str, float]:
    """Read the rates that the full run found, from its frame."""
    if not KEPT.exists():
        raise ValueError(f"rates must be given: there is no kept run {KEPT.name}")
    frame = pd.read_csv(KEPT)
    found = best_rates(frame[(frame["source"] == "model") & (frame["stage"] == "tuning")])
    if missing := [name for name in objectives if name not in found]:
        raise ValueError(f"rates must be given: the kept run has none for {', '.join(missing)}")
    return found


def agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the orders of the objectives, by value over training, on the model and on its table.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `lag` returns it.

    Returns
    -------
    pandas.DataFrame
        A row for each `lag`:

        - `tau`, Kendall's, over all objectives;
        - `pairs`, how many pairs of objectives the tables tell apart, by more than `APART` and two standard errors of
          the difference, and `alike`, how many of them the model has in the same order;
        - `spread` of the values on the tables, the largest less the smallest.
    """
    rows = []
    for behind, part in ends(frame).groupby("lag"):
        model, table = (part[part["source"] == source].set_index("objective") for source in ("model", "table"))
        gain, error = table["gain"], table["gain_error"].fillna(0.0)
        pairs = [
            (low, high)
            for low in gain.index
            for high in gain.index
            if gain[high] - gain[low] > max(APART, 2.0 * float(np.hypot(error[high], error[low])))
        ]
        alike = sum(model.loc[high, "gain"] > model.loc[low, "gain"] for low, high in pairs)
        tau = float(kendalltau(gain, model["gain"].reindex(gain.index)).statistic)
        spread = float(gain.max() - gain.min())
        rows.append({"lag": behind, "tau": tau, "pairs": len(pairs), "alike": int(alike), "spread": spread})
    return pd.DataFrame(rows)


def headline(frame: pd.DataFrame) -> str:
    """Say in how many pairs of objectives that tables tell apart the transformer has the same order."""
    found = agreement(frame)
    return (
        f"Of {found['pairs'].sum()} pairs of objectives that tables tell apart (by {APART:g} of value), transformers "
        f"order {found['alike'].sum()} alike"
    )


def finding(frame: pd.DataFrame) -> str:
    """Say the orders at the largest lag, how many pairs are in the same order at each lag, and the rates taken."""
    rows, found = ends(frame), agreement(frame)
    largest, rates, orders = rows["lag"].max(), {}, {}
    for source, part in frame[frame["stage"] == "run"].groupby("source"):
        taken = part.groupby("objective", sort=False)["rate"].first()
        rates[source] = ", ".join(f"{display_name(name)} {rate:g}" for name, rate in taken.items())
        last = rows[(rows["source"] == source) & (rows["lag"] == largest)].set_index("objective")["gain"]
        orders[source] = ", ".join(
            f"{display_name(name)} {gain:.3f}" for name, gain in last.sort_values(ascending=False).items()
        )
    pairs = ", ".join(
        f"{row.alike} of {row.pairs} at lag {row.lag} (tau {row.tau:.2f}; tables at most {row.spread:.3f} apart)"
        for row in found.itertuples()
    )
    return (
        f"Value over training at lag {largest}: on the transformer {orders['model']}; on its table {orders['table']}. "
        f"Pairs of objectives that tables tell apart by more than {APART:g}, in the same order on the transformer: "
        f"{pairs}. Learning rates: {rates['model']} (AdamW); {rates['table']} (table)."
    )
