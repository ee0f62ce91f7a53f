"""Programs of regressions and penalties, each with the multiplier that the target of its objective predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.convex.log_ratio import u_program
from pessimism.convex.penalties import Penalties, penalized_program
from pessimism.convex.problem import Check, Row
from pessimism.convex.utilities import truncated_program

Array = Any


def squared(row: Row) -> Check | str:
    """The regression itself; lam = 2 beta^2 kappa where the loss is (beta u - A)^2."""
    if row.status == "local_minimum":
        return "negative regime with all mass on these actions: not convex"
    found = u_program(row.q, row.advantage, row.beta, row.nu, solvers=row.solvers)
    return Check(found, row.multiplier)


def regression_over_beta(row: Row) -> Check | str:
    """As before, for the loss (u - A/beta)^2."""
    found = squared(row)
    return found if isinstance(found, str) else found._replace(multiplier=row.multiplier * row.beta**2)


def penalized(row: Row, penalties: Penalties, slope: Array | None = None, **options: Any) -> Check:
    """Multiplier lam of the score weight, or the mean of the ``slope`` where the weight is not the program's slope."""
    found = penalized_program(
        row.q, row.advantage, penalties, reference=row.nu, name="+".join(penalties), solvers=row.solvers, **options
    )
    return Check(found, row.multiplier if slope is None else row.mean(slope))


def kl(row: Row) -> Check:
    """The problem that the objective claims, in its own advantage: E_pi[A] - beta KL(pi || nu)."""
    slope = row.advantage - row.beta * np.where(row.policy > 0, row.log_ratio, 0.0)
    return penalized(row, {"kl": row.beta}, slope)


def own_kl(row: Row) -> Check:
    """The same, being the loss itself."""
    return penalized(row, {"kl": row.beta})


def mixed(row: Row) -> Check:
    """KL and chi^2 together."""
    return penalized(row, {"kl": row.beta, "chi_square": row.beta * row.objective.gamma})


def chi_square(row: Row) -> Check:
    """Chi^2 alone."""
    return penalized(row, {"chi_square": row.beta})


def weight_clipping(row: Row) -> Check:
    """A KL, and no reward beyond the cap."""
    return penalized(row, {"kl": row.beta}, max_ratio=float(row.objective.cap))


def divergence(row: Row) -> Check:
    """The potential of which the augmented reward is the slope."""
    kind = row.objective.divergence
    if kind == "entropy":
        return penalized(row, {"kl": (row.beta, np.ones_like(row.q))})
    return penalized(row, {{"rkl": "forward_kl"}.get(kind, kind): row.beta})


def trained_on_policy(row: Row) -> Check | str:
    """The regression's nominal target on-policy, else the regression."""
    return kl(row) if row.objective.on_policy else squared(row)


def softmax_of_q(row: Row) -> Check:
    """CQL: E_pi[r] + H(pi) - alpha/2 chi^2(pi || q)."""
    return conservative(row, 1.0, np.ones_like(row.q))


def tilted_by_q(row: Row) -> Check:
    """CQL(rho): the entropy relative to rho at temperature beta."""
    return conservative(row, row.beta, row.nu)


def conservative(row: Row, beta: float, base: Array, reach: float = float("inf")) -> Check:
    """E_pi[r] - beta KL(pi || base) - alpha/2 chi^2(pi || q), ratios within ``reach`` of one."""
    alpha = float(row.objective.alpha)
    slope = row.advantage - beta * np.log(row.policy / base) - alpha * (row.ratio - 1.0)
    bounds = (max(1.0 - reach, 0.0), 1.0 + reach)
    inside = np.abs(row.ratio - 1.0) < reach * (1.0 - 1e-9)
    found = penalized(row, {"kl": (beta, base), "chi_square": (alpha, row.q)}, slope, ratio_bounds=bounds)
    agreed = float(np.mean(slope[inside])) if inside.any() else float("nan")
    return found._replace(multiplier=agreed)


def huber_of_q(row: Row) -> Check:
    """CQL with Huber's loss: the same in a box of ratios."""
    return conservative(row, 1.0, np.ones_like(row.q), 1.0 / float(row.objective.alpha))


def preference_link(row: Row) -> Check | str:
    """Chi^2-PO: the mixed penalty with gamma = 1, unless its clip binds."""
    if row.status == "set_valued":
        return "a gap between rewards beyond the clip of the logits: the loss is not convex"
    slope = row.advantage - row.beta * (row.log_ratio + np.expm1(row.log_ratio))
    return penalized(row, {"kl": row.beta, "chi_square": row.beta}, slope)


def truncated(row: Row) -> Check:
    """The penalty with the target's own kappa, whose multiplier must then be what normalizes it: zero."""
    kappa, cap = row.kappa, float(row.objective.cap)
    slope = row.advantage - row.beta * (row.log_ratio + kappa * np.maximum(row.ratio, cap))
    found = truncated_program(row.q, row.advantage, row.beta, kappa, cap, solvers=row.solvers)
    return Check(found, row.mean(slope) if kappa == 0 else 0.0)
