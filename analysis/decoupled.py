"""Two temperatures, beta1 of the optimal value and beta2 of the regression: how conservative each pair is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import pessimism as ps

SMOKE = {"n": 17}
PUBLISHED: tuple[ps.OAPL | ps.AStarPO, ...] = (ps.OAPL(), ps.AStarPO())


def _line(ratio: float, beta2: np.ndarray, behavior: np.ndarray, reward: np.ndarray) -> pd.DataFrame:
    """Pairs (ratio beta2, beta2): all at once, as only (r, beta1, beta2) up to a common factor matters."""
    scaled = reward / beta2[:, None]
    off = ps.induced_target(behavior, scaled, ps.OAPL(beta1=ratio, beta2=1.0), unseen=True)
    on = ps.induced_target(behavior, scaled, ps.AStarPO(beta1=ratio, beta2=1.0), unseen=True)
    lagged = off.conservatism()
    return pd.DataFrame(
        {
            "beta1": ratio * beta2,
            "beta2": beta2,
            "kappa": off.kappa,
            "log_z": lagged["log_z"],
            "leak": off.leak,
            "regime": off.regime,
            "behavior_value": float(behavior @ reward),
            "binary": bool(np.isin(reward, (0.0, 1.0)).all()),
            "pessimism_factor": lagged["pessimism_factor"],
            "on_policy_factor": on.conservatism()["pessimism_factor"],
        }
    )


def decoupled(
    behavior: Sequence[float] = (0.7, 0.3),
    reward: Sequence[float] = (0.0, 1.0),
    least: float = 1e-4,
    most: float = 1e1,
    n: int = 61,
) -> pd.DataFrame:
    """Curvature and pessimism factor of (beta2 u - (r - V*_beta1))^2 over both temperatures, on one bandit.

    Off-policy data are OAPL's, and A*-PO's once they lag; on-policy data are A*-PO's as published. Mass may leave the
    actions (``unseen=True``): for beta1 < beta2 the baseline is too high, the mass 1 - Z leaks, and what stays is the
    nominal target at beta2.

    Parameters
    ----------
    behavior, reward : sequence of float
        Behavior probabilities and rewards; by default a verifiable reward at a pass rate of 0.3.
    least, most, n : float, float, int
        Both temperatures, n of them evenly spaced in the logarithm, in units of the reward.

    Returns
    -------
    pandas.DataFrame
        `kind` ("grid", or "published" for the pairs of `PUBLISHED`), `objective` (of the published ones), `beta1`,
        `beta2`, `kappa`, `log_z`, `leak`, `regime`, `behavior_value` (the pass rate, if `binary`: all
        rewards are 0 or 1), `binary`, `pessimism_factor` (effective temperature over beta2, off-policy; nan where mass
        leaks), `on_policy_factor`.

    Raises
    ------
    ValueError
        If not 0 < least < most and n >= 2, or the rewards are all equal.

    Examples
    --------
    >>> frame = decoupled(n=2).query("kind == 'published'")
    >>> frame.set_index("objective")["pessimism_factor"].round(2).to_dict()
    {'oapl': 2.4, 'a_star_po': 1.86}
    """
    if not (0 < least < most and n >= 2):
        raise ValueError(f"temperatures must be 0 < least < most and n >= 2, got {least:g}, {most:g}, {n}")
    q, r = np.asarray(behavior, dtype=float), np.asarray(reward, dtype=float)
    if not np.ptp(r) > 0:
        raise ValueError("reward must differ between actions")
    beta = np.geomspace(least, most, n)
    step = float(np.log(most / least)) / (n - 1)
    lines = [_line(float(np.exp(k * step)), beta[max(0, -k) : n - max(0, k)], q, r) for k in range(1 - n, n)]
    grid = pd.concat(lines, ignore_index=True)
    # Both axes are the same numbers, not products that agree up to rounding.
    grid["beta1"] = beta[np.rint(np.log(grid["beta1"].to_numpy() / least) / step).astype(int)]
    grid = grid.sort_values(["beta2", "beta1"]).assign(kind="grid", objective="")
    published = [
        _line(one.beta1 / one.beta2, np.array([one.beta2]), q, r).assign(kind="published", objective=one.name)
        for one in PUBLISHED
    ]
    frame = pd.concat([grid, *published], ignore_index=True)
    return frame[["kind", "objective", *frame.columns.drop(["kind", "objective"])]]


def _published(frame: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Pessimism factors of the published pairs by objective: off-policy and on-policy."""
    rows = frame[frame["kind"] == "published"]
    names = rows["objective"].astype(str)
    off, on = (
        dict(zip(names, rows[column].astype(float), strict=True)) for column in ("pessimism_factor", "on_policy_factor")
    )
    return off, on


def _where(frame: pd.DataFrame) -> str:
    """The bandit that all numbers are of."""
    return f"{'pass rate' if frame['binary'].iloc[0] else 'mean reward'} {frame['behavior_value'].iloc[0]:.4g}"


def headline(frame: pd.DataFrame) -> str:
    """How warm the published pairs are."""
    off, on = _published(frame)
    return (
        f"At {_where(frame)} OAPL's temperatures act as {off['oapl']:.1f} β₂, A*-PO's as {on['a_star_po']:.1f} β₂ "
        f"or, once data lag, {off['a_star_po']:.1f} β₂"
    )


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, with the regimes of the grid."""
    off, on = _published(frame)
    grid = frame[frame["kind"] == "grid"]
    apart, negative = grid[grid["beta1"] != grid["beta2"]], grid[grid["beta1"] < grid["beta2"]]
    signs = int((apart["regime"] == np.where(apart["beta1"] > apart["beta2"], "positive", "negative")).sum())
    flat = f"{grid['on_policy_factor'].min():.6f} to {grid['on_policy_factor'].max():.6f}"
    return (
        f"At {_where(frame)} and off-policy, the published pair of OAPL acts "
        f"{off['oapl']:.2f} times as warm as its beta2 and that of A*-PO {off['a_star_po']:.2f} times, on-policy "
        f"{on['a_star_po']:.2f}: there beta1 does not matter ({flat} on the grid). In {signs} of {len(apart)} pairs "
        f"the regime is the sign of beta1 - beta2; the factor reaches {grid['pessimism_factor'].max():.2f} where beta1 "
        f"is large, and up to {negative['leak'].max():.0%} of the mass leaks where it is small."
    )
