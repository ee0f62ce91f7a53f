"""The Lambert-tempered ratio at a given curvature kappa, and the temperature that each action feels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pessimism.arrays import Floats
from pessimism.special import branch_gap, log_wright_omega

SMOKE = {"n": 41}
_DOUBLE = 2.0  # the ratio whose advantage and temperature the finding quotes


def tempered(z: Floats, kappa: float, branch: int = 0) -> tuple[Floats, Floats]:
    """The w of log w + kappa w = z, and its local temperature dz/d(log w) = 1 + kappa w.

    Parameters
    ----------
    z : array
        Advantages over temperature, A/beta.
    kappa : float
        Curvature. A negative one has two solutions for z < -1 - log(-kappa) and none beyond.
    branch : 0 or -1
        Which of the two: W_0, the smaller w, or W_-1.

    Returns
    -------
    tuple of ndarray
        The w, and the local temperatures.

    Raises
    ------
    ValueError
        If branch is neither 0 nor -1.

    Examples
    --------
    >>> [x.round(3).tolist() for x in tempered(np.array([1.0, np.log(2) + 2]), 1.0)]
    [[1.0, 2.0], [2.0, 3.0]]
    """
    if kappa == 0:
        return np.exp(z), np.ones_like(z)
    shifted = z + np.log(abs(kappa))
    if kappa > 0:
        scaled = np.exp(log_wright_omega(shifted))
        return scaled / kappa, 1 + scaled
    gap = branch_gap(-1 - shifted, branch)
    return (1 + gap) / -kappa, -gap


def lambert_tempering(
    kappas: tuple[float, ...] = (-0.1, 0.0, 0.1, 1.0, 10.0), low: float = -4.0, high: float = 6.0, n: int = 201
) -> pd.DataFrame:
    """Ratio and local temperature over A/beta in [low, high] for every kappa, both branches where it is negative.

    Parameters
    ----------
    kappas : tuple of float
        Curvatures, given here; an objective's own is the one for which the ratios have mean one.
    low, high : float
        Range of A/beta.
    n : int
        Points per curve.

    Returns
    -------
    pandas.DataFrame
        `kappa`, `branch` (0 or -1), `point` ("curve"; "branch_point", where 1 + kappa w = 0 and the two branches meet;
        "doubled", where w = 2), `z` (A/beta), `ratio` (w), `local_temperature` (dA/du / beta = 1 + kappa w).

    Raises
    ------
    ValueError
        If there is no kappa or one is not finite, n < 2, low >= high, or a negative kappa has no solution in the range.

    Examples
    --------
    >>> frame = lambert_tempering(n=5)
    >>> frame.query("point == 'branch_point'")[["z", "ratio", "local_temperature"]].round(3).values.tolist()
    [[1.303, 10.0, 0.0]]
    """
    if not kappas or not np.isfinite(kappas).all():
        raise ValueError(f"kappas must be finite numbers, at least one, got {kappas!r}")
    if n < 2:
        raise ValueError(f"n must be >= 2, got {n!r}")
    if not low < high:
        raise ValueError(f"low must be below high, got {low!r} and {high!r}")
    blocks = [block for kappa in kappas for block in (*_curves(kappa, low, high, n), _doubled(kappa))]
    return pd.concat(blocks, ignore_index=True)


def _curves(kappa: float, low: float, high: float, n: int) -> list[pd.DataFrame]:
    if kappa >= 0:
        z = np.linspace(low, high, n)
        return [_block(kappa, 0, "curve", z, *tempered(z, kappa))]
    end = -1 - np.log(-kappa)
    if end <= low:
        raise ValueError(f"kappas: at {kappa:g} the branches meet at A/beta = {end:.3g}, not above low = {low:g}")
    top = min(end, high)
    z = top - (top - low) * np.linspace(1, 0, n)[: n - 1 if top == end else n] ** 2  # dense where the slope is infinite
    found = [_block(kappa, branch, "curve", z, *tempered(z, kappa, branch)) for branch in (0, -1)]
    if top == end:
        found.append(_block(kappa, 0, "branch_point", np.array([end]), np.array([-1 / kappa]), np.zeros(1)))
    return found


def _doubled(kappa: float) -> pd.DataFrame:
    z, branch = np.array([np.log(_DOUBLE) + kappa * _DOUBLE]), 0 if 1 + kappa * _DOUBLE > 0 else -1
    return _block(kappa, branch, "doubled", z, *tempered(z, kappa, branch))


def _block(kappa: float, branch: int, point: str, z: Floats, w: Floats, temperature: Floats) -> pd.DataFrame:
    values = {"z": z, "ratio": w, "local_temperature": temperature}
    return pd.DataFrame({"kappa": kappa, "branch": branch, "point": point, **values})


def _of_doubled(frame: pd.DataFrame) -> pd.Series:
    """The row with w = 2 at the kappa nearest to 1."""
    rows = frame[frame["point"] == "doubled"]
    return rows.iloc[int((rows["kappa"] - 1).abs().to_numpy().argmin())]


def headline(frame: pd.DataFrame) -> str:
    """What it takes to double an action's mass, and how warm the action is then."""
    row = _of_doubled(frame)
    text = f"At curvature κ = {row['kappa']:g} an action doubles its mass at A = {row['z']:.2f}β"
    text += f" (temperature there {row['local_temperature']:.2g}β)"
    return text if row["kappa"] == 0 else f"{text}, not at {np.log(_DOUBLE):.2f}β"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    row = _of_doubled(frame)
    nominal = "as under" if row["kappa"] == 0 else f"not at the {np.log(_DOUBLE):.2f} beta of"
    text = (
        f"At kappa = {row['kappa']:g} an action doubles its mass at A = {row['z']:.2f} beta, {nominal} the nominal "
        f"target, and there feels {row['local_temperature']:.2g} times the stated temperature"
    )
    for kappa, z, w in frame.loc[frame["point"] == "branch_point", ["kappa", "z", "ratio"]].itertuples(index=False):
        text += f"; at kappa = {kappa:g} two ratios solve the equation up to A = {z:.2f} beta (w = {w:g}), none beyond"
    return text + "."
