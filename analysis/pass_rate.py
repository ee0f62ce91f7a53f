"""Binary rewards: effective temperature against pass rate, the curriculum over prompts that an objective implies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.settings import at_temperature

LOGS = Path(__file__).resolve().parents[1] / "examples" / "trl_completions"
SMOKE = {"n": 19}
CURVES = ("nominal", "kimi", "shifted_mean", "std_normalized")

_MEASURED = ("effective_temperature", "pessimism_factor", "kappa", "regime")


def default_settings(beta: float = 0.1) -> dict[str, ps.Objective]:
    """Objectives compared: those of `CURVES` at `beta`, and OAPL with its published pair.

    Examples
    --------
    >>> default_settings()["oapl"]
    OAPL(beta1=1.0, beta2=0.001)
    """
    return {**at_temperature(beta, CURVES), "oapl": ps.OAPL()}


def curves(pass_rate: np.ndarray, settings: Mapping[str, ps.Objective]) -> pd.DataFrame:
    """Effective temperature of the two-action bandit mu = (1 - p, p), r = (0, 1) for every p and objective.

    With w the ratio of a passing, v that of a failing completion, it is 1 / log(w / v): one round of training to
    convergence moves logit p by its inverse.

    Returns
    -------
    pandas.DataFrame
        One row per objective and pass rate: `objective`, `setting`, `pass_rate`, `effective_temperature`,
        `pessimism_factor` (in units of the objective's own temperature), `kappa`, `regime`.

    Examples
    --------
    >>> curves(np.array([0.5]), {"nominal": ps.Nominal(beta=0.1)})["effective_temperature"].round(6).tolist()
    [0.1]
    """
    p = np.asarray(pass_rate, dtype=float)
    blocks = []
    for name, objective in settings.items():
        target = ps.induced_target(np.stack([1 - p, p], axis=-1), np.array([0.0, 1.0]), objective)
        temperature = 1 / (target.log_ratio[..., 1] - target.log_ratio[..., 0])
        blocks.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "setting": str(objective),
                    "pass_rate": p,
                    "effective_temperature": temperature,
                    "pessimism_factor": temperature / objective.temperature,
                    "kappa": target.kappa,
                    "regime": target.regime,
                }
            )
        )
    return pd.concat(blocks, ignore_index=True)


def groups(logs: str | Path | pd.DataFrame, settings: Mapping[str, ps.Objective]) -> pd.DataFrame:
    """The same columns for the prompt groups of logs with 0/1 rewards; those of equal pass rate counted in `groups`.

    Their temperature is what `pessimism.diagnose` reports, measured by a distance; for two rewards that is the one of
    `curves`, so a point off its curve is a fault.

    Raises
    ------
    ValueError
        If the logs cannot be read, or have other rewards than 0 and 1.

    Examples
    --------
    >>> log = pd.DataFrame({"prompt": ["1+1="] * 4, "reward": [1.0, 0.0, 0.0, 0.0]})
    >>> groups(log, {"oapl": ps.OAPL()})["pessimism_factor"].round(3).tolist()
    [2.787]
    """
    blocks = []
    for name, objective in settings.items():
        report: pd.DataFrame = ps.diagnose(logs, objective).rename(columns={"reward_mean": "pass_rate"})
        passes = report["pass_rate"] * report["n"]
        if not np.allclose(passes, passes.round()):
            raise ValueError("rewards must be 0 or 1: a group's mean times its size is not a number of passes")
        counted = report.groupby("pass_rate", as_index=False)[list(_MEASURED)].first()
        counted["groups"] = report.groupby("pass_rate").size().to_numpy()
        blocks.append(counted.assign(objective=name, setting=str(objective)))
    return pd.concat(blocks, ignore_index=True)


def pass_rate(
    beta: float = 0.1,
    logs: str | Path | None = LOGS,
    logged: tuple[str, ...] = ("kimi", "oapl", "shifted_mean"),
    n: int = 199,
) -> pd.DataFrame:
    """Curves over n pass rates in (0, 1), and the prompt groups of `logs` under the objectives `logged`.

    Parameters
    ----------
    beta : float
        Temperature of the curves; OAPL keeps its published pair.
    logs : path, optional
        Rollout logs with 0/1 rewards, in any format `pessimism.diagnose` reads; None for curves only.
    logged : tuple of str
        Objectives whose reading of the logs is included.
    n : int
        Number of pass rates, evenly spaced inside (0, 1).

    Returns
    -------
    pandas.DataFrame
        `kind` ("curve" or "group"), `objective`, `setting`, `pass_rate`, `effective_temperature`,
        `pessimism_factor`, `kappa`, `regime`, `groups` (number of logged groups at this pass rate, 0 on a curve).

    Examples
    --------
    >>> pass_rate(logs=None, n=3).query("objective == 'kimi'")["pessimism_factor"].round(2).tolist()
    [2.53, 1.75, 1.28]
    """
    settings = default_settings(beta)
    p = np.arange(1, n + 1) / (n + 1)
    frame = curves(p, settings).assign(kind="curve", groups=0)
    if logs is not None:
        points = groups(logs, {name: settings[name] for name in logged}).assign(kind="group")
        frame = pd.concat([frame, points], ignore_index=True)
    return frame[[*("kind", "objective", "setting", "pass_rate", *_MEASURED), "groups"]]


_HARD = 0.1


def _factors(frame: pd.DataFrame) -> tuple[str, float, float]:
    """The logged objectives, and the least and largest of their pessimism factors at one pass in ten."""
    logged = frame.loc[frame["kind"] == "group", "objective"].unique()
    curve = frame[(frame["kind"] == "curve") & np.isclose(frame["pass_rate"], _HARD)]
    factor = curve.loc[curve["objective"].isin(logged), "pessimism_factor"]
    return ", ".join(sorted(logged)), float(factor.min()), float(factor.max())


def headline(frame: pd.DataFrame) -> str:
    """How much warmer than stated the logged objectives act on hard prompts."""
    names, least, most = _factors(frame)
    if not names:
        return "Effective temperature against pass rate"
    return f"On hard prompts (p = {_HARD:g}) {names} act {least:.0f} to {most:.0f} times warmer than stated"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    names, least, most = _factors(frame)
    return (
        f"At a pass rate of {_HARD:g} the effective temperatures of {names} are {least:.1f} to {most:.1f} times the "
        "stated ones: on hard prompts the implicit pessimism slows learning down most."
    )
