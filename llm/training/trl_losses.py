"""Published losses that TRL implements, in TRL's own fields."""

from __future__ import annotations

from typing import Any

import pessimism as ps
from pessimism.losses.registry import ObjectiveLike


def trl_loss(objective: ObjectiveLike) -> dict[str, Any] | None:
    """TRL's own fields of a published loss that TRL implements; None for all others.

    Examples
    --------
    >>> trl_loss(ps.CISPO())
    {'loss_type': 'cispo', 'epsilon_high': 5.0, 'scale_rewards': 'group'}
    >>> trl_loss(ps.Kimi()) is None
    True
    """
    match objective:
        case ps.GRPO():
            penalty = {"beta": objective.beta, "use_bias_correction_kl": False}  # as published, not as TRL by default
            return {**_clip("grpo", objective), **penalty, "scale_rewards": "group"}
        case ps.DrGRPO():
            return {**_clip("dr_grpo", objective), "scale_rewards": "none"}
        case ps.DAPO():
            return {**_clip("dapo", objective), "scale_rewards": "group"}
        case ps.GSPO():
            return {**_clip("grpo", objective), "importance_sampling_level": "sequence", "scale_rewards": "group"}
        case ps.CISPO():
            return {"loss_type": "cispo", "epsilon_high": objective.cap, "scale_rewards": "group"}
        case _:
            return None


def _clip(loss_type: str, objective: ps.GRPO | ps.DrGRPO | ps.DAPO | ps.GSPO) -> dict[str, Any]:
    return {"loss_type": loss_type, "epsilon": objective.eps_low, "epsilon_high": objective.eps_high}
