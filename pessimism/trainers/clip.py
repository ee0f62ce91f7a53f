"""The clipped ratio of PPO and its descendants, as an objective: what most trainers run by default."""

from __future__ import annotations

from typing import Any, Literal

from pessimism.core.objective import Objective
from pessimism.losses.clipped import DAPO, DrGRPO
from pessimism.losses.corrected import CorrectedPPO
from pessimism.losses.grpo import GRPO
from pessimism.losses.standardized import Scale
from pessimism.trainers.settings import Settings


def clipped(
    low: float,
    high: float,
    *,
    dual_clip: float | None = None,
    beta: float = 0.0,
    unbiased_kl: bool = False,
    scale: Scale = "group",
    eps: float = 1e-6,
) -> GRPO | DrGRPO:
    """Make the clipped surrogate with the advantage of GRPO and a KL penalty: Dr. GRPO without both, else GRPO."""
    if scale == "none" and not beta:
        return DrGRPO(eps_low=low, eps_high=high, dual_clip=dual_clip)
    return GRPO(
        beta=beta,
        eps_low=low,
        eps_high=high,
        eps=eps,
        unbiased_kl=unbiased_kl and beta > 0,
        dual_clip=dual_clip,
        scale=scale,
    )


def corrected(
    objective: Objective | None, correction: Literal["truncate", "mask"], low: float, cap: float
) -> CorrectedPPO | None:
    """Give a clipped surrogate the weights of a rollout correction; None if it is another loss or has a penalty."""
    own: dict[str, Any]
    match objective:
        case GRPO(beta=0) | DAPO():
            own = {"eps": objective.eps, "scale": objective.scale}
        case DrGRPO():
            own = {"scale": "none"}
        case _:
            return None
    clip = {"eps_low": objective.eps_low, "eps_high": objective.eps_high, "dual_clip": objective.dual_clip}
    return CorrectedPPO(**clip, correction=correction, cap=cap, low=low, **own)  # type: ignore[arg-type]


def note_cut_estimate(settings: Settings, key: str, made: Objective | None) -> None:
    """Say, of an objective with a penalty by k3, that the trainer cuts each token's estimate at 10."""
    if isinstance(made, GRPO) and made.beta:
        settings.note(
            f"{key}: the trainer cuts a token's estimate of the KL at 10, so that one below 1/14 of its initial "
            "probability is not pulled back; in the objective it is."
        )
