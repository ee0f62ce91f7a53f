r"""One prompt, measured and predicted: log-ratios of its completions against the target that their rewards induce.

The prediction is that of `pessimism.finite_group` for the group size of the training: with an effective advantage
:math:`E[A_i \mid a_i]`, the trained policy obeys :math:`u + \kappa e^u = E[A_i \mid a_i] / \beta` (docs/theory.md;
arXiv 2605.28150). A measured pair may take the advantage in its own group, whose expectation that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import pessimism as ps
from pessimism.arrays import Floats
from pessimism.core.objective import Objective, ObjectiveLike, as_objective
from pessimism.diagnosis.readings import READINGS, TERMS, effective_temperature, is_lambert, moments, readings
from pessimism.groups.target import is_affine, why_undefined

PREDICTED = ("regime", "kappa", "effective_temperature", "kl", "kl_reverse", "max_ratio", "value", "leak")
COLUMNS = (
    *("kind", "prompt", "n", *(f"{name}{end}" for name in READINGS for end in ("", "_error")), "ess", "max_ratio"),
    *("effective_temperature", *(f"predicted_{name}" for name in PREDICTED), "gap", "gap_error", "note"),
)
_SQUARE = TERMS.index("w^2")
_RARE, _SHARE = 1e-4, 0.05
_RARE_NOTE = (
    "kappa_fit is nearer 0 than it should be: part of its weight is on completions that the behavior draws less than "
    "once in 10,000 times, where the policy has drifted"
)


class Compared(NamedTuple):
    """A row of the frame without its prompt, and the `moments` of the prompt as one cluster."""

    row: dict[str, Any]
    products: Floats


def compare(
    log_ratio: Floats,
    reward: Floats,
    objective: ObjectiveLike,
    *,
    group_size: int | None = None,
    weights: Floats | None = None,
    twin: Floats | None = None,
) -> Compared:
    r"""Read one prompt, and put the prediction beside it.

    Parameters
    ----------
    log_ratio : ndarray, shape (C, G) or (1, N)
        Log-ratios u of groups of sampled completions, or of all completions there are.
    reward : ndarray, of the same shape
        Reward of each completion.
    objective : Objective
        Objective that the policy was trained with.
    group_size : int, optional
        Number of completions in a group in training; None for the population, with enumerated completions.
    weights : ndarray, shape (1, N), optional
        Probabilities of enumerated completions under the behavior; None for samples.
    twin : ndarray, of the same shape, optional
        Log-ratios u' on the same completions of a run that differs by its seed alone, see Notes.

    Returns
    -------
    Compared
        Readings with their standard errors, and what is predicted for the completions enumerated or, for samples, for
        their distinct rewards at the frequencies sampled. Mass that cannot stay on those leaks, as for
        `pessimism.diagnose`. Kappa is nan where the prediction is not of the form log w + kappa w = A/beta in the
        objective's own advantage. ``gap`` is the measured kappa less the predicted one, ``gap_error`` its standard
        error.

    Raises
    ------
    ValueError
        If samples come without a group size, or in groups of another size; if the twin is of another shape.

    Notes
    -----
    The measured kappa is ``kappa_fit``. A run on finite data misses its target by noise of some variance v in u, which
    is on both sides of that least-squares fit and takes :math:`v(\kappa + 1/(2 E[w^2]))` off it. A twin has noise of
    its own: with its ratios as the instrument, and :math:`(u - u')^2 / 4` for v/2, the measured kappa is :math:`\sum w'
    (A/\beta - u - (u - u')^2/4) / \sum w' w`, without that bias.

    For samples, the part of the gap that both kappas owe to a mean of w other than 1 is taken off, by regression over
    jackknife values of the groups; that leaves about a quarter of the error at 16 completions a group. ``gap_error``
    (HC3) contains the error of the frequencies, and is good from 16 groups on.

    Errors of enumerated completions are 0. Their fit may hang on a completion that nobody would ever sample, of
    probability 1e-16 and ratio 1e10; ``note`` says so then. ``kappa_identity`` does not hang on it.

    Examples
    --------
    >>> target = ps.finite_group("kimi", 8, [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], beta=0.5).target
    >>> pairs = target.log_ratio[None], target.reward[None]
    >>> found = compare(*pairs, ps.Kimi(beta=0.5), group_size=8, weights=target.behavior[None]).row
    >>> round(found["predicted_kappa"], 4), round(found["gap"], 12), found["gap_error"]
    (0.1752, 0.0, 0.0)
    """
    if weights is None and (group_size is None or log_ratio.shape[1] != group_size):
        raise ValueError(f"group_size must be that of the sampled groups, {log_ratio.shape[1]}, got {group_size!r}")
    if twin is not None and twin.shape != log_ratio.shape:
        raise ValueError(f"twin must be of the shape of log_ratio, got {twin.shape} and {log_ratio.shape}")
    objective = as_objective(objective)
    counts, values = _counted(reward) if weights is None else (weights, reward[0])
    theory = _Theory(objective, group_size, values)
    target, unseen = theory.target(counts.sum(axis=0), may_leak=weights is None)
    advantage = np.asarray(objective.advantage(reward) if weights is None else target.advantage[None])
    beta = objective.temperature if is_lambert(target) else None
    scaled = advantage / (np.nan if beta is None else beta)
    row: dict[str, Any] = dict(readings(moments(log_ratio, scaled, reward, weights)))
    facts = target.conservatism().iloc[0].to_dict()
    flat = [None if a is None else a.reshape(1, -1) for a in (log_ratio, scaled, reward, weights)]
    row |= {f"predicted_{name}": facts[name] for name in PREDICTED}
    row |= {
        "n": log_ratio.size,
        "max_ratio": float(np.exp(log_ratio.max())),
        "effective_temperature": float(effective_temperature(flat[0], flat[2], flat[3])[0]),
        "gap_error": np.nan,
        "note": theory.note(target),
    }
    if weights is not None and beta is not None and _drifted(log_ratio, np.asarray(target.log_ratio), weights) > _SHARE:
        row["note"] = "; ".join(filter(None, [row["note"], _RARE_NOTE]))
    above, below = _sums(log_ratio, scaled, weights, twin)
    row["gap"] = float(above.sum() / below.sum()) - facts["kappa"]
    if weights is not None:
        row |= {f"{name}_error": 0.0 for name in (*READINGS, "gap")}
    elif len(counts) > 1 and beta is not None:
        without = (above.sum() - above) / (below.sum() - below)
        without -= np.asarray(theory.solve(counts.sum(axis=0) - counts, unseen).kappa)
        row |= _gap(row["gap"], without, np.exp(log_ratio).mean(axis=1) - 1.0)
    return Compared(row, moments(*flat))


def _counted(reward: Floats) -> tuple[Floats, Floats]:
    """Count how often ``(C, D)`` each of the distinct rewards ``(D,)`` is in each group."""
    values, which = np.unique(reward, return_inverse=True)
    rows = [np.bincount(row, minlength=len(values)) for row in which.reshape(reward.shape)]
    return np.stack(rows).astype(np.float64), values


class _Theory:
    """The prediction for completions of given rewards."""

    def __init__(self, objective: Objective, group_size: int | None, values: Floats) -> None:
        self.objective, self.group_size, self.values = objective, group_size, values
        self.spread = float(np.ptp(values))
        self.why = None if group_size is None else why_undefined(objective)
        if group_size is not None and self.why is None and not is_affine(objective, -self.spread, self.spread):
            self.why = "its weight is not affine in the advantage"

    def solve(self, law: Floats, unseen: bool) -> ps.InducedTarget:
        """Solve for the targets on laws ``(..., D)``, each up to a factor."""
        law = law / law.sum(axis=-1, keepdims=True)
        if self.group_size is None or self.why is not None:
            return ps.induced_target(law, self.values, self.objective, unseen=unseen)
        return ps.finite_group(self.objective, self.group_size, law, self.values, unseen=unseen).target

    def target(self, law: Floats, *, may_leak: bool) -> tuple[ps.InducedTarget, bool]:
        """Solve for the target on one law ``(D,)``, and say whether mass was let go."""
        target = self.solve(law, unseen=False)
        # Sampled completions of a reward stand for many: none of these is the one that could take all surplus mass.
        unseen = may_leak and bool(1.0 + target.kappa * np.exp(target.log_ratio.max()) < 0.0)
        return (self.solve(law, unseen=True) if unseen else target), unseen

    def note(self, target: ps.InducedTarget) -> str:
        """Say what one has to know about a prediction."""
        notes = [] if self.why is None else [f"predicted without groups: {self.why}"]
        if self.spread == 0.0:
            notes.append("all rewards are equal: no signal")
        elif target.status != "converged":
            notes.append(f"the prediction is {target.status}")
        return "; ".join(notes)


def _sums(u: Floats, scaled: Floats, weights: Floats | None, twin: Floats | None) -> tuple[Floats, Floats]:
    """Sum numerator and denominator of a measured kappa over each group, ``(C,)`` each."""
    instrument, x = (u, scaled - u) if twin is None else (twin, scaled - u - (u - twin) ** 2 / 4)
    h = np.exp(instrument) * (1.0 if weights is None else weights)
    return (h * x).sum(axis=1), (h * np.exp(u)).sum(axis=1)


def _drifted(log_ratio: Floats, target: Floats, weights: Floats) -> float:
    """Share of E[w^2] that drift on rare enumerated completions adds; least squares weighs by E[w^2].

    Only what is more than the target has there counts. It adds next to nothing to the numerator of kappa, and so takes
    this share off kappa.
    """
    square, wanted = (weights * np.exp(2.0 * u) for u in (log_ratio, target))
    return float(np.maximum(square - wanted, 0.0)[weights < _RARE].sum() / square.sum())


def _gap(gap: float, without: Floats, excess: Floats) -> dict[str, float]:
    """Take off a gap what it owes to excess mass, and find its error.

    Given are the gaps without each group, and the excess of each group, ``(C,)``.
    """
    groups = len(without)
    pseudo = groups * gap - (groups - 1) * without
    apart = excess - excess.mean()
    square = float(apart @ apart)
    leverage = 1.0 / groups + apart**2 / (square or 1.0)
    if square == 0.0 or groups < 3 or leverage.max() > 1.0 - 1e-9:  # one group alone would decide the slope
        return {"gap": gap, "gap_error": float(np.sqrt(np.var(pseudo) / (groups - 1)))}
    slope = float(pseudo @ apart) / square
    residual = (pseudo - pseudo.mean() - slope * apart) / (1.0 - leverage)
    part = 1.0 / groups - excess.mean() * apart / square  # of each value in the fit at excess 0
    return {"gap": float(pseudo @ part), "gap_error": float(np.sqrt(np.sum((part * residual) ** 2)))}


def pool(each: Sequence[Compared]) -> dict[str, Any]:
    """Make the row of all prompts together.

    Parameters
    ----------
    each : sequence of Compared
        The prompts, as `compare` returns them.

    Returns
    -------
    dict
        The columns of a row. Readings are those of all pairs, with standard errors over prompts, as a sample of many.
        The predicted kappa and ``gap`` are means over the prompts with the weights E[w^2] that their fits have in the
        pooled one. Effective temperatures are medians, ratios are the largest ones, a regime that is not everywhere the
        same is "mixed", and other predictions are means.

    Examples
    --------
    >>> q, reward = np.full((1, 2), 0.5), np.array([[0.0, 1.0]])
    >>> targets = [ps.induced_target(q, reward, "kimi", beta=beta) for beta in (0.5, 1.0)]
    >>> found = pool([compare(t.log_ratio, reward, t.objective, weights=q) for t in targets])
    >>> round(found["kappa_fit"], 4), round(found["predicted_kappa"], 4), round(found["gap"], 12)
    (0.2069, 0.2069, 0.0)
    """
    rows = [one.row for one in each]
    found: dict[str, Any] = dict(readings(np.asarray(sum(one.products for one in each))))
    kappa, weight = (
        np.array([row["predicted_kappa"] for row in rows]),
        np.array([one.products[0, _SQUARE] for one in each]),
    )
    gaps = np.array([row["gap"] for row in rows])
    gap = float(gaps @ weight / weight.sum())
    square = np.sum((gaps - gap) ** 2 * weight**2) * len(rows) / (len(rows) - 1) if len(rows) > 1 else np.nan
    regimes = {row["predicted_regime"] for row in rows}
    found |= {f"predicted_{name}": float(np.mean([row[f"predicted_{name}"] for row in rows])) for name in PREDICTED[2:]}
    for name in ("effective_temperature", "predicted_effective_temperature"):
        known = [row[name] for row in rows if not np.isnan(row[name])]
        found[name] = float(np.median(known)) if known else np.nan
    for name in ("max_ratio", "predicted_max_ratio"):
        found[name] = float(np.max([row[name] for row in rows]))
    return found | {
        "n": sum(row["n"] for row in rows),
        "predicted_kappa": float(np.sum(kappa * weight) / weight.sum()),
        "predicted_regime": regimes.pop() if len(regimes) == 1 else "mixed",
        "gap": gap,
        "gap_error": float(np.sqrt(square) / weight.sum()),
        "note": _RARE_NOTE if any(_RARE_NOTE in row["note"] for row in rows) else "",
    }
