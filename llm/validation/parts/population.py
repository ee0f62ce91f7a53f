r"""Where a transformer ends that is trained on the exact expectation: at the induced target, or in one of many minima.

The behavior is the pretrained model and stays frozen, the expectation runs over every completion of one prompt, and
all weights are trained by L-BFGS. Where theory has one target (kappa >= 0) the trained policy is compared with it as a
whole. In the negative regime there are thousands of minima, all enumerated; training from several starts says which is
reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.validation import LIMIT, SETTLED
from analysis.work import each
from llm.models.load import model_path
from llm.validation.exact_training import measured_kappa
from llm.validation.minima import Minimum, nearest
from llm.validation.parts.fits import Descent, Landscape, descended, fitted, landscape
from llm.validation.problem import SMOKE_MODEL, Asked, by_pass_rate
from pessimism import divergences

OBJECTIVES = (
    *("tba", "kimi", "optimal_value", "shifted_mean", "oapl"),
    *("awr", "mixed_chi2_kl", "truncated_is", "std_normalized"),
)
SMOKE = {
    "model": SMOKE_MODEL,
    "objectives": ("kimi", "optimal_value", "shifted_mean", "oapl"),
    "betas": (0.3,),
    "quantiles": (0.0, 1.0),
    "starts": ("behavior", "empty"),
    "steps": 240,
}
_RARE = 1e-4  # probability below which a completion is one that samples hardly show


def settings(names: Sequence[str], beta: float) -> list[ps.Objective]:
    """Make the objectives of some names at a temperature.

    Parameters
    ----------
    names : sequence of str
        Names, each one of `OBJECTIVES`.
    beta : float
        The temperature.

    Returns
    -------
    list of Objective
        The objectives: `shifted_mean` twice, by 0.3 and by 1, and OAPL with beta1 = 2 beta.

    Raises
    ------
    ValueError
        If a name is not one of `OBJECTIVES`.

    Examples
    --------
    >>> settings(["shifted_mean", "oapl"], 0.1)
    [ShiftedMean(beta=0.1, shift=0.3), ShiftedMean(beta=0.1, shift=1.0), OAPL(beta1=0.2, beta2=0.1)]
    """
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown:
        raise ValueError(f"objectives: {unknown[0]!r} is not one of {', '.join(OBJECTIVES)}")
    found: list[ps.Objective] = []
    for name in names:
        if name == "shifted_mean":
            found += [ps.ShiftedMean(beta=beta, shift=shift) for shift in (0.3, 1.0)]
        elif name == "oapl":
            found.append(ps.OAPL(beta1=2 * beta, beta2=beta))
        else:
            found.append(ps.objectives()[name](beta=beta))  # type: ignore[call-arg]
    return found


def population(
    model: str = "tiny",
    objectives: tuple[str, ...] = OBJECTIVES,
    betas: tuple[float, ...] = (0.1, 0.5),
    quantiles: tuple[float, ...] = (0.0, 0.5, 1.0),
    starts: tuple[str, ...] = ("behavior", "right", "wrong", "empty"),
    steps: int = 900,
    stages: int = 4,
    shown: int = 60,
) -> pd.DataFrame:
    """Trained policies against their targets, and descents in the negative regime among the enumerated minima.

    Parameters
    ----------
    model : str
        A small model that `llm.models.load` makes, or its folder.
    objectives : tuple of str
        Names, of `OBJECTIVES`.
    betas : tuple of float
        Temperatures.
    quantiles : tuple of float
        Which prompts: quantiles of the exact pass rates of all sums.
    starts : tuple of str
        From where to train in the negative regime, see `llm.validation.parts.fits.descended`; OAPL with beta1 = beta /
        2.
    steps, stages : int
        Most iterations of L-BFGS, which end where the policy stands still, and stages in which the reward grows to its
        size, see `llm.validation.exact_training.train`.
    shown : int
        About how many of the enumerated minima of a loss are kept, evenly by their rank, beside those reached.

    Returns
    -------
    pandas.DataFrame
        `kind`; `objective`, `setting`, `shift`, `beta1` and `beta2` (nan where the objective has no such parameter),
        `beta`, `prompt`, `pass_rate`; then

        - "target", a row per objective, temperature and prompt: what `llm.validation.exact_training.compared` says
          (`regime`, `kappa` and `kappa_fit` with `kappa_fit_error`, `kappa_identity`, `tv`, `kl`, `tv_behavior`,
          `tv_nominal`, `value`, `value_target`, `value_behavior`) and `evaluations`;
        - "descent", a row per start in the negative regime: `start`, `minima` (how many), and of the one nearest to the
          policy reached `rank` (1 for the lowest loss), `kappa`, `loss`, `branch` ("W_0", all completions on it, or
          "W_-1" with the one `completion` there, its `completion_behavior` and `completion_reward`); `tv` from it;
          `tv_start`, how far the policy went; `policy_loss`, `completion_policy`, `kappa_fit` with its error; `leak`
          (the surplus 1 - Z, which leaves if it may), `rare` (the mass on completions of probability below 1e-4),
          `value`, `value_behavior`, `evaluations`;
        - "minimum", a row per minimum kept: `rank`, `kappa`, `loss`, `branch` and its completion.

    Raises
    ------
    ValueError
        As `settings`, `llm.validation.problem.by_pass_rate` and `llm.validation.parts.fits.descended`.
    """
    folder = model_path(model)
    prompts = by_pass_rate(folder, quantiles)
    wanted = [(objective, asked) for beta in betas for objective in settings(objectives, beta) for asked in prompts]
    work = [(folder, asked.pair, objective, steps, stages) for objective, asked in wanted]
    fits: list[dict[str, Any]] = each(fitted, work, desc="targets")
    rows = [{"kind": "target", **_named(*of), **fit} for of, fit in zip(wanted, fits, strict=True)]
    rows += _negative(folder, prompts, betas, starts, steps, shown)
    return pd.DataFrame(rows).astype(dict.fromkeys(("rank", "minima", "evaluations"), "Int64"))


def _named(objective: ps.Objective, asked: Asked) -> dict[str, Any]:
    return {
        "objective": objective.name,
        "setting": str(objective),
        **{name: objective.settings.get(name, np.nan) for name in ("shift", "beta1", "beta2")},
        "beta": objective.temperature,
        "prompt": asked.text,
        "pass_rate": asked.pass_rate,
    }


def _negative(
    folder: str, prompts: Sequence[Asked], betas: Sequence[float], starts: Sequence[str], steps: int, shown: int
) -> list[dict[str, Any]]:
    """Rows of the negative regime, descents and minima."""
    losses = [(ps.OAPL(beta1=beta / 2, beta2=beta), asked) for beta in betas for asked in prompts]
    begun = [(folder, asked.pair, loss, start, steps) for loss, asked in losses for start in starts]
    of = [(folder, asked.pair, loss) for loss, asked in losses]
    descents = iter(each(descended, begun, desc="descents", types=[Descent]))
    grounds = each(landscape, of, desc="minima", types=[Landscape, Minimum])
    rows = []
    for (loss, asked), ground in zip(losses, grounds, strict=True):
        leaky = ps.induced_target(np.exp(ground.log_behavior), ground.reward, loss, unseen=True)
        here = [{"start": start, **_reached(leaky, ground, next(descents))} for start in starts]
        count = len(ground.minima)
        kept = {round(rank) for rank in np.linspace(1, count, min(shown, count))} | {row["rank"] for row in here}
        rows += [{"kind": "descent", **_named(loss, asked), "minima": count, **row} for row in here]
        rows += [{"kind": "minimum", **_named(loss, asked), **_minimum(ground, rank)} for rank in sorted(kept)]
    return rows


def _minimum(ground: Landscape, rank: int) -> dict[str, Any]:
    """One of the minima, 1 being the lowest, and the completion that takes its surplus."""
    found = ground.minima[rank - 1]
    row = {"rank": rank, "kappa": found.kappa, "loss": found.loss, "branch": "W_0"}
    if found.action is None:
        return row
    return row | {
        "branch": "W_-1",
        "completion": ground.said[found.action],
        "completion_behavior": float(np.exp(ground.log_behavior[found.action])),
        "completion_reward": float(ground.reward[found.action]),
    }


def _reached(leaky: ps.InducedTarget, ground: Landscape, descent: Descent) -> dict[str, Any]:
    """The minimum that a descent ended nearest to, and how far from it."""
    q, policy, start = (np.exp(logs) for logs in (ground.log_behavior, descent.log_policy, descent.log_start))
    place, apart = nearest(ground.minima, q, ground.reward, policy)
    u, action = descent.log_policy - ground.log_behavior, ground.minima[place].action
    fitted_kappa = measured_kappa(u, leaky)
    return {
        **_minimum(ground, place + 1),
        "regime": str(leaky.regime),
        "kappa_fit": fitted_kappa["kappa_fit"],
        "kappa_fit_error": fitted_kappa["kappa_fit_error"],
        "tv": apart,
        "tv_start": float(divergences.total_variation(start, policy)),
        "policy_loss": float(q @ (np.asarray(leaky.advantage) - float(leaky.beta or np.nan) * u) ** 2),
        "completion_policy": np.nan if action is None else float(policy[action]),
        "leak": float(leaky.leak),
        "rare": float(policy[q < _RARE].sum()),
        "value": float(policy @ ground.reward),
        "value_behavior": float(q @ ground.reward),
        "evaluations": descent.evaluations,
    }


def _targets(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"] == "target"]


def _descents(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"] == "descent"]


def _parted(descents: pd.DataFrame) -> tuple[int, int]:
    """Losses for which another start ends nearest to another minimum than the behavior does, and how many losses."""
    ranks = descents.groupby(["setting", "prompt"])["rank"].nunique()
    return int((ranks > 1).sum()), len(ranks)


def headline(frame: pd.DataFrame) -> str:
    """Say how many trainings end at their target, and for how many losses in the negative regime the start decides."""
    targets, (parted, losses) = _targets(frame), _parted(_descents(frame))
    close = int((targets["tv"] <= LIMIT).sum())
    return (
        f"{close} of {len(targets)} policies end within {LIMIT:g} of the induced target; in the negative regime "
        f"{_decided(parted, losses)}"
    )


def _decided(parted: int, losses: int) -> str:
    """Say for how many losses the start decides, in the words that go with the number."""
    if parted == 0:
        return f"no start leads to another minimum than the behavior does ({losses} losses)"
    return f"the start decides between minima for {parted} of {losses} losses"


def finding(frame: pd.DataFrame) -> str:
    """Say the same with numbers: the largest distance, how far the targets are, kappa, and where surplus mass goes."""
    targets, descents = _targets(frame), _descents(frame)
    worst = targets.sort_values("tv").iloc[-1]
    gap = (targets["kappa_fit"] - targets["kappa"]).abs()
    close, (parted, losses) = int((targets["tv"] <= LIMIT).sum()), _parted(descents)
    settled, fewest, most = descents[descents["tv"] <= SETTLED], descents["minima"].min(), descents["minima"].max()
    alone = settled[settled["branch"] == "W_-1"]["completion_behavior"]
    ends = f", {len(alone)} of them with the surplus on one completion"
    if len(alone):
        ends += f" (of probability {alone.min():.0e} to {alone.max():.0e})"
    return (
        f"Trained on the exact expectation, {close} of {len(targets)} policies are within {LIMIT:g} (total variation) "
        f"of the induced target, the farthest at {worst['tv']:.1e} ({worst['setting']}, prompt {worst['prompt']}), the "
        f"targets being {targets['tv_behavior'].min():.2f} to {targets['tv_behavior'].max():.2f} from the behavior; "
        f"kappa is measured within {gap.max():.1e} of the prediction. With beta1 = beta2 / 2 there are "
        f"{fewest:.0f} to {most:.0f} minima; {len(settled)} of {len(descents)} descents "
        f"end within {SETTLED:g} of one{ends}; {_decided(parted, losses)}."
    )
