"""What the frames of `llm.validation` say, for its reports and its figures: summaries, bounds and names."""

from __future__ import annotations

import pandas as pd

from analysis.names import display_name

LIMIT = 1e-3  # total variation within which a policy is at its target
SETTLED = 1e-2  # total variation within which a policy is in a minimum; between two minima it is farther from both


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarize the runs of the lag experiment by source, objective and lag.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.lag.lag` returns it.

    Returns
    -------
    pandas.DataFrame
        Means over the seeds of `value`, `entropy` and `kl` after the last step, and of `gain`, the value over training
        (its mean over the steps measured after the start); the standard error of each in a column with `_error`.
    """
    runs = frame[frame["stage"] == "run"]
    by = ["source", "objective", "lag", "seed"]
    gain = runs[runs["step"] > 0].groupby(by, sort=False)["value"].mean().rename("gain")
    last = runs[runs["step"] == runs["step"].max()].set_index(by)[["value", "entropy", "kl"]]
    grouped = last.join(gain).groupby(level=by[:3], sort=False)
    found: pd.DataFrame = pd.concat([grouped.mean(), grouped.sem().add_suffix("_error")], axis=1).reset_index()
    return found


def labels(frame: pd.DataFrame) -> pd.Series:
    """Name the objective of each row, with what it has beside its temperature.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.population.population` returns it. Columns `objective`, `shift`, `beta1` and `beta2`
        are read; hyper-parameters that an objective does not have are nan.

    Returns
    -------
    pandas.Series
        Text, on the index of the frame.

    Examples
    --------
    >>> rows = {"objective": ["kimi", "shifted_mean", "oapl"], "shift": [None, 0.3, None]}
    >>> labels(pd.DataFrame(rows | {"beta1": [None, None, 0.2], "beta2": [None, None, 0.1]})).tolist()
    ['Kimi', 'shifted mean, 0.3', 'OAPL, β₁ = 2β₂']
    """
    rows = frame[["objective", "shift", "beta1", "beta2"]].itertuples(index=False)
    return pd.Series([_label(*row) for row in rows], index=frame.index, dtype=str)


def _label(objective: str, shift: float, beta1: float, beta2: float) -> str:
    if not pd.isna(shift):
        return f"{display_name(objective)}, {shift:g}"
    name = display_name(objective)
    return name if pd.isna(beta1) else f"{name}, β₁ = {beta1 / beta2:g}β₂"
