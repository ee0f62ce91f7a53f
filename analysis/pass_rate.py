"""Binary rewards: effective temperature against pass rate, the curriculum over prompts that an objective implies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.names import display_names
from analysis.settings import at_temperature
from pessimism.fixed_point.score import weight_on

LOGS = Path(__file__).resolve().parents[1] / "examples" / "trl_completions"
SMOKE = {"n": 9}
# What is used with verifiable rewards. The first six are nominal for any pass rate.
CURVES = (
    *("nominal", "optimal_value", "a_star_po", "tba", "rloo", "rebel"),
    *("awr", "qrpo", "tpo", "kimi", "shifted_mean", "std_normalized"),
    *("ppo", "dr_grpo", "grpo", "dapo", "gspo", "cispo", "asym_re", "reinforce", "topr", "roirl"),
)

_MEASURED = ("effective_temperature", "pessimism_factor", "kappa", "regime")


def default_settings(beta: float = 0.1, kl: float = 0.04) -> dict[str, ps.Objective]:
    """Objectives compared: those of `CURVES` at `beta`, OAPL with its published pair, GRPO with `kl` on its k3 penalty.

    REINFORCE is off-policy; what has no temperature is as published.

    Parameters
    ----------
    beta : float, default 0.1
        Temperature, in units of reward.
    kl : float, default 0.04
        Coefficient of GRPO's k3 penalty.

    Returns
    -------
    dict of str to pessimism.Objective
        Objective by registry name.

    Examples
    --------
    >>> default_settings()["oapl"]
    OAPL(beta1=1.0, beta2=0.001)
    """
    known = ps.objectives()
    apart = {
        "oapl": ps.OAPL(),
        "grpo": known["grpo"](beta=kl),  # type: ignore[call-arg]
        "reinforce": known["reinforce"](sampling="off_policy"),  # type: ignore[call-arg]
    }
    return at_temperature(beta, CURVES) | apart


def _first_step(target: ps.InducedTarget) -> np.ndarray:
    """Gradient of logit p at the behavior, against the softmax logits: theta_a' = q_a g_a - pi_a sum_b q_b g_b."""
    bandit, rows = target.bandit, target.advantage_rows
    pull = bandit.behavior * weight_on(bandit, target.objective, np.zeros_like(rows), rows)
    field = pull - bandit.behavior * pull.sum(axis=-1, keepdims=True)
    return np.asarray(field[..., 1] - field[..., 0])


def curves(pass_rate: np.ndarray, settings: Mapping[str, ps.Objective]) -> pd.DataFrame:
    """Effective temperature of the two-action bandit mu = (1 - p, p), r = (0, 1) for every p and objective.

    With w the ratio of a passing, v that of a failing completion, it is 1 / log(w / v): one round of training to
    convergence moves logit p by its inverse.

    Parameters
    ----------
    pass_rate : ndarray
        Pass rates inside (0, 1).
    settings : mapping of str to pessimism.Objective
        Objective by the name to show.

    Returns
    -------
    pandas.DataFrame
        One row per objective and pass rate: `objective`, `setting`, `pass_rate`, `effective_temperature`,
        `pessimism_factor` (in units of the objective's own temperature, nan without one), `logit_change` (log w/v, of
        one round; inf where no failing completion is left), `first_step` (gradient of logit p at the behavior),
        `kappa`, `regime`, `status`.

    Examples
    --------
    >>> curves(np.array([0.5]), {"nominal": ps.Nominal(beta=0.1)})["effective_temperature"].round(6).tolist()
    [0.1]
    """
    p = np.asarray(pass_rate, dtype=float)
    blocks = []
    for name, objective in settings.items():
        target = ps.induced_target(np.stack([1 - p, p], axis=-1), np.array([0.0, 1.0]), objective)
        change = target.log_ratio[..., 1] - target.log_ratio[..., 0]
        blocks.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "setting": str(objective),
                    "pass_rate": p,
                    "effective_temperature": 1 / change,
                    "pessimism_factor": 1 / change / (objective.temperature or np.nan),
                    "logit_change": change,
                    "first_step": _first_step(target),
                    "kappa": target.kappa,
                    "regime": target.regime,
                    "status": target.status,
                }
            )
        )
    return pd.concat(blocks, ignore_index=True)


def groups(logs: str | Path | pd.DataFrame, settings: Mapping[str, ps.Objective]) -> pd.DataFrame:
    """The same columns for the prompt groups of logs with 0/1 rewards; those of equal pass rate counted in `groups`.

    Their temperature is what `pessimism.diagnose` reports, measured by a distance; for two rewards that is the one of
    `curves`, so a point off its curve is a fault.

    Parameters
    ----------
    logs : str, pathlib.Path or pandas.DataFrame
        Rollout logs, as `pessimism.diagnose` takes them.
    settings : mapping of str to pessimism.Objective
        Objective by the name to show.

    Returns
    -------
    pandas.DataFrame
        A row per objective and pass rate.

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
        report = ps.diagnose(logs, objective).frame
        report = report.assign(pass_rate=report["reward_mean"])
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
    kl: float = 0.04,
) -> pd.DataFrame:
    """Curves over n pass rates in (0, 1), and the prompt groups of `logs` under the objectives `logged`.

    Parameters
    ----------
    beta : float
        Temperature of the curves; OAPL keeps its published pair, and what has no temperature its defaults.
    logs : path, optional
        Rollout logs with 0/1 rewards, in any format `pessimism.diagnose` reads; None for curves only.
    logged : tuple of str
        Objectives whose reading of the logs is included.
    n : int
        Number of pass rates, evenly spaced inside (0, 1).
    kl : float
        Coefficient of GRPO's k3 penalty; 0 leaves the clip alone.

    Returns
    -------
    pandas.DataFrame
        `kind` ("curve" or "group"), `objective`, `setting`, `pass_rate`, `effective_temperature`,
        `pessimism_factor`, `kappa`, `regime`, `logit_change`, `first_step`, `status` (of curves), `groups` (number of
        logged groups at this pass rate, 0 on a curve).

    Examples
    --------
    >>> pass_rate(logs=None, n=3).query("objective == 'kimi'")["pessimism_factor"].round(2).tolist()
    [2.53, 1.75, 1.28]
    """
    settings = default_settings(beta, kl)
    p = np.arange(1, n + 1) / (n + 1)
    frame = curves(p, settings).assign(kind="curve", groups=0)
    if logs is not None:
        points = groups(logs, {name: settings[name] for name in logged}).assign(kind="group")
        frame = pd.concat([frame, points], ignore_index=True)
    columns = (
        "kind",
        "objective",
        "setting",
        "pass_rate",
        *_MEASURED,
        "logit_change",
        "first_step",
        "status",
        "groups",
    )
    return frame[list(columns)]


_HARD, _EASY = 0.1, 0.9


def _at(frame: pd.DataFrame, p: float, column: str) -> dict[str, float]:
    """A column of the curves at the pass rate nearest to p, by objective."""
    curve = frame[frame["kind"] == "curve"]
    near = curve[curve["pass_rate"] == curve["pass_rate"].iloc[(curve["pass_rate"] - p).abs().to_numpy().argmin()]]
    return dict(zip(near["objective"].astype(str), near[column].astype(float), strict=True))


def _factors(frame: pd.DataFrame) -> tuple[str, float, float]:
    """The logged objectives (without logs, those about the mean), and their least and largest factor at one in ten."""
    logged = sorted(frame.loc[frame["kind"] == "group", "objective"].unique()) or ["kimi", "shifted_mean"]
    factor = [_at(frame, _HARD, "pessimism_factor")[name] for name in logged]
    return display_names(logged), min(factor), max(factor)


def headline(frame: pd.DataFrame) -> str:
    """How much warmer than stated the logged objectives act on hard prompts."""
    names, least, most = _factors(frame)
    if least < 1:
        return f"On hard prompts (p = {_HARD:g}) {names} act {least:.1f} to {most:.1f} times as warm as stated"
    return f"On hard prompts (p = {_HARD:g}) {names} act {least:.0f} to {most:.0f} times warmer than stated"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, with what dividing by the standard deviation does."""
    names, least, most = _factors(frame)
    hard, easy = (_at(frame, p, "logit_change") for p in (_HARD, _EASY))
    greedy = [name for name, change in easy.items() if np.isinf(change)]
    return (
        f"At a pass rate of {_HARD:g} the effective temperatures of {names} are {least:.1f} to {most:.1f} times the "
        "stated ones: on hard prompts the implicit pessimism slows learning down most; dividing by the standard "
        f"deviation turns Kimi's round of {hard['kimi']:.1f} in logit p there into {hard['std_normalized']:.1f}, but "
        f"of {easy['kimi']:.1f} at {_EASY:g} into {easy['std_normalized']:.1f}, where it is bolder than stated; "
        f"there {len(greedy)} of {len(easy)} objectives leave no failing completion after one round."
    )
