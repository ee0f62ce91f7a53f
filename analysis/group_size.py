"""Groups of G completions: what estimating the baseline from the group does to regimes, log Z and conservatism."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import pessimism as ps

SMOKE = {"sizes": (2, 4, 16, 128)}
SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
BASELINES = ("V*", "mean", "leave-one-out mean", "shifted mean")


def settings(beta: float, shift: float) -> dict[str, tuple[ps.Objective, bool]]:
    """Objective and leave-one-out of each baseline compared.

    Parameters
    ----------
    beta : float
        Temperature, in units of reward.
    shift : float
        Shift of the shifted mean, in temperatures.

    Returns
    -------
    dict of str to tuple
        Objective and whether a completion is left out of its own baseline, by baseline.

    Examples
    --------
    >>> settings(0.1, 1.0)["leave-one-out mean"]
    (Kimi(beta=0.1), True)
    """
    mean = ps.Kimi(beta=beta)
    chosen = ((ps.OptimalValue(beta=beta), False), (mean, False), (mean, True))
    return dict(zip(BASELINES, (*chosen, (ps.ShiftedMean(beta=beta, shift=shift), False)), strict=True))


def _rows(objective: ps.Objective, leave_one_out: bool, size: int, rates: np.ndarray) -> pd.DataFrame:
    group = ps.finite_group(objective, size, pass_rate=rates, leave_one_out=leave_one_out)
    metrics = group.target.conservatism()
    every = ps.induced_target(group.behavior, group.reward, objective).conservatism()
    shares = group.regime_shares
    return pd.DataFrame(
        {
            "pass_rate": rates,
            "group_size": size,
            **{name: shares[name] for name in ("positive", "boundary", "negative", "standard_error")},
            "regime": group.regime,
            "log_z": group.log_z,
            "log_z_limit": every["log_z"],
            "kappa": group.kappa,
            "pessimism_factor": metrics["pessimism_factor"],
            "factor_limit": every["pessimism_factor"],
            "status": group.target.status,
        }
    )


def group_size(
    beta: float = 0.1,
    pass_rates: Sequence[float] = (0.1, 0.5, 0.9),
    sizes: Sequence[int] = SIZES,
    shift: float = 1.0,
) -> pd.DataFrame:
    """Regimes of groups and of the population, log Z and pessimism factor against the group size, 0/1 rewards.

    Parameters
    ----------
    beta : float
        Temperature of all regressions.
    pass_rates : sequence of float
        Chances of reward 1, in (0, 1): where all rewards are equal there is no factor.
    sizes : sequence of int
        Group sizes G >= 2.
    shift : float
        Of the shifted mean, in temperatures.

    Returns
    -------
    pandas.DataFrame
        A row per baseline, size and pass rate. `positive`, `boundary`, `negative`: shares of the groups by the regime
        of each one taken by itself, with `standard_error` (0: counted). `regime`, `log_z`, `kappa`, `pessimism_factor`,
        `status`: of the population's target at this G; `log_z_limit`, `factor_limit`: as G -> infinity.

    Raises
    ------
    ValueError
        If a pass rate is not in (0, 1) or there is none; as :func:`pessimism.finite_group`.

    Examples
    --------
    >>> frame = group_size(pass_rates=(0.5,), sizes=(8,))
    >>> frame.set_index("baseline")["log_z"].round(3).to_dict()
    {'V*': -0.068, 'mean': 3.682, 'leave-one-out mean': 4.307, 'shifted mean': 4.682}
    """
    if len(pass_rates) == 0:
        raise ValueError("pass_rates must hold at least one number, got none")
    for i, p in enumerate(pass_rates):
        if not 0 < p < 1:
            raise ValueError(f"pass_rates[{i}] must be in (0, 1), got {p!r}")
    rates = np.array(pass_rates, dtype=float)
    blocks = [
        _rows(objective, leave_one_out, size, rates).assign(baseline=name)
        for name, (objective, leave_one_out) in settings(beta, shift).items()
        for size in sizes
    ]
    frame = pd.concat(blocks, ignore_index=True)
    return frame[["baseline", *frame.columns.drop("baseline")]]


def _smallest(frame: pd.DataFrame) -> dict[str, Any]:
    """The row of V* at the smallest group with the largest factor."""
    rows = frame[(frame["baseline"] == "V*") & (frame["group_size"] == frame["group_size"].min())]
    return dict(rows.loc[rows["pessimism_factor"].idxmax()])


def _share(least: float) -> str:
    return "all" if least == 1 else f"at least {np.floor(1000 * least) / 10:g}% of the"


def headline(frame: pd.DataFrame) -> str:
    """On which side V* is at a finite G, and how conservative it is there."""
    top, optimal = _smallest(frame), frame[frame["baseline"] == "V*"]
    side = "negative" if (optimal["regime"] == "negative").all() else "not always negative"
    most = "yet up to" if top["pessimism_factor"] > 1 else "and at most"
    return (
        f"V* of the group is {side} in the population, {most} {top['pessimism_factor']:.1f}× as conservative as "
        f"stated at G = {top['group_size']}"
    )


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, with the other baselines."""
    top, optimal = _smallest(frame), frame[frame["baseline"] == "V*"]
    least, most = frame["group_size"].min(), frame["group_size"].max()
    last = optimal.loc[optimal["group_size"] == most, "log_z"].min()
    smallest = frame[frame["group_size"] == least]
    moved = (smallest["pessimism_factor"] / smallest["factor_limit"]).groupby(smallest["baseline"]).max()
    return (
        f"V* of the group puts {_share(optimal['boundary'].min())} groups at the boundary in-sample, but "
        f"log Z of the population is {optimal['log_z'].min():.2f} at its lowest and still {last:.3f} at G = {most}; "
        "as each completion is in its own baseline its advantage shrinks, so that the pessimism factor at "
        f"G = {least} is up to {top['pessimism_factor']:.2f} (p = {top['pass_rate']:g}). Relative to G -> infinity a "
        f"group of {least} multiplies the factor by up to {moved['mean']:.2f} (mean), {moved['shifted mean']:.2f} "
        f"(shifted mean) and {moved['leave-one-out mean']:.2f} (leave-one-out)."
    )
