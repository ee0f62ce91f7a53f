"""TRL: its own settings for the losses that it implements, and the objective that settings of TRL stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pessimism.core.objective import Objective
from pessimism.losses.cispo import CISPO
from pessimism.losses.clipped import DAPO, GSPO, PPO, DrGRPO, RLOOClipped
from pessimism.losses.gates import SAPO, VESPO
from pessimism.losses.grpo import GRPO
from pessimism.losses.regression import AStarPO
from pessimism.losses.sequence_ratio import GMPO, LUSPO
from pessimism.losses.standardized import Scale
from pessimism.trainers.clip import clipped, corrected
from pessimism.trainers.settings import Settings, TrainerSettings

_EPS = 1e-4  # beside the standard deviation of the rewards
_BATCH = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_generations": 8,
    "num_iterations": 1,
    "steps_per_generation": None,
    "generation_batch_size": None,
}
_SAMPLING = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
_SHARED = {
    **{"epsilon": 0.2, "epsilon_high": None, "mask_truncated_completions": False, "sync_ref_model": False},
    **{"reward_weights": None, "use_vllm": False},
}
GRPO_DEFAULTS: dict[str, Any] = {
    **_BATCH,
    **_SAMPLING,
    **_SHARED,
    **{"loss_type": "dapo", "beta": 0.0, "delta": None, "importance_sampling_level": "token"},
    **{"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize", "use_bias_correction_kl": True},
    **{"sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05},
    **{"vespo_k_pos": 2.0, "vespo_lambda_pos": 3.0, "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0},
    **{"top_entropy_quantile": 1.0, "entropy_coef": 0.0, "use_adaptive_entropy": False},
    **{"off_policy_mask_threshold": None, "vllm_importance_sampling_correction": True},
    **{"vllm_importance_sampling_mode": "sequence_mask", "vllm_importance_sampling_clip_max": 3.0},
    **{"vllm_importance_sampling_clip_min": None, "vllm_importance_sampling_cap": None},
}
GMPO_DEFAULTS = {**GRPO_DEFAULTS, "epsilon": 0.4}
RLOO_DEFAULTS: dict[str, Any] = {
    **{**_BATCH, "num_generations": 2},
    **_SAMPLING,
    **_SHARED,
    **{"beta": 0.05, "normalize_advantages": False, "reward_clip_range": None},
}
A2PO_DEFAULTS: dict[str, Any] = {
    **{"num_value_samples": 8, "beta1": 0.5, "beta2": 1e-3, "filter_all_incorrect": True, "reward_weights": None},
    **{"top_p": 1.0, "top_k": None},
}
ASYNC_DEFAULTS: dict[str, Any] = {
    **_SAMPLING,
    **{"epsilon": 0.2, "epsilon_high": None, "num_generations": 8, "max_staleness": 4, "weight_sync_steps": 1},
}
_HARMLESS = ("num_generations_eval", "vllm_importance_sampling_level")
_TOKENS = "mean over the tokens of a completion, then over completions"
_ALL_TOKENS = "mean over all tokens of the batch"
AGGREGATIONS = {
    "grpo": _TOKENS,
    "sapo": _TOKENS,
    "bnpo": "mean over all tokens of a micro-batch",
    "dr_grpo": "sum over tokens, divided by completions times max_completion_length",
    "dapo": _ALL_TOKENS,
    "cispo": _ALL_TOKENS,
    "vespo": _ALL_TOKENS,
    "luspo": "sum over the tokens of a completion, mean over completions",
}
_REWARDS = {
    "reward_weights": "the reward is this sum of several; the rewards of the log must be summed in the same way.",
}
_OF_COMPLETIONS = {
    "mask_truncated_completions": "completions that were cut off count in their group's mean and have no gradient; "
    "here all have one.",
}
_OF_TOKENS = {
    **_OF_COMPLETIONS,
    "top_entropy_quantile": "only the tokens of highest entropy have a gradient; here all have one.",
    "entropy_coef": "the entropy bonus is not in the objective.",
    "use_adaptive_entropy": "the entropy bonus is not in the objective.",
    "off_policy_mask_threshold": "the mask of completions with A < 0 that have fallen far is not in the objective "
    "(for completions of one token it is a clip at eps_low = 1 - exp(-threshold)).",
}


def trl_loss(objective: Objective) -> dict[str, Any] | None:
    """Translate a published loss that TRL implements into TRL's own fields; `from_config` reads them back.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    dict or None
        Fields of `trl.GRPOConfig`; None for objectives that TRL does not have.

    Examples
    --------
    >>> import pessimism as ps
    >>> trl_loss(ps.CISPO())
    {'loss_type': 'cispo', 'epsilon_high': 5.0, 'scale_rewards': 'group'}
    >>> trl_loss(ps.Kimi()) is None
    True
    """
    scale = {"scale_rewards": objective.settings.get("scale", "group")}
    if scale["scale_rewards"] == "leave_one_out":
        return None
    match objective:
        case PPO() | GRPO() | DrGRPO() | DAPO() | GSPO() if not _dual_clip_is_trls(objective):
            return None
        case GRPO():
            # As published False, not as TRL by default.
            penalty = {"beta": objective.beta, "use_bias_correction_kl": objective.unbiased_kl}
            return {**_clip("grpo", objective), **penalty, **scale}
        case DrGRPO():
            return {**_clip("dr_grpo", objective), "scale_rewards": "none"}
        case DAPO():
            return {**_clip("dapo", objective), **scale}
        case GSPO():  # LUSPO, too
            kind = "luspo" if isinstance(objective, LUSPO) else "grpo"
            return {**_clip(kind, objective), "importance_sampling_level": "sequence", **scale}
        case SAPO():
            return {"loss_type": "sapo", **_named("sapo_temperature", objective, "tau"), **scale}
        case VESPO():
            powers = _named("vespo_k", objective, "k") | _named("vespo_lambda", objective, "lambda")
            return {"loss_type": "vespo", **powers, **scale}
        case CISPO(floor=0.0):
            return {"loss_type": "cispo", "epsilon_high": objective.cap, **scale}
        case _:
            return None


def _named(field: str, objective: Objective, own: str) -> dict[str, float]:
    return {f"{field}_{sign}": objective.settings[f"{own}_{sign}"] for sign in ("pos", "neg")}


def _clip(loss_type: str, objective: GRPO | DrGRPO | DAPO | GSPO) -> dict[str, Any]:
    clip = {"loss_type": loss_type, "epsilon": objective.eps_low, "epsilon_high": objective.eps_high}
    return clip if objective.dual_clip is None else clip | {"delta": objective.dual_clip}


def _dual_clip_is_trls(objective: Any) -> bool:
    """Whether there is no dual clip, or one above the clip: TRL clips better actions at a lower ``delta``, too."""
    return objective.dual_clip is None or objective.dual_clip > 1.0 + objective.eps_high


def read_grpo(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of `GRPOTrainer`."""
    settings = Settings(given, GRPO_DEFAULTS, place, _HARMLESS)
    loss = settings.choice("loss_type", AGGREGATIONS)
    settings.note_where_it_differs(_REWARDS | _OF_TOKENS)
    settings.note_cuts(*_SAMPLING)
    objective = _corrected(settings, _of_loss(settings, loss), loss)
    sequence = loss == "vespo" or settings.raw("importance_sampling_level") == "sequence"
    found = _found(settings, "trl", loss, objective, "sequence" if sequence else "token", AGGREGATIONS[loss])
    return settings.finish(found)


def _of_loss(settings: Settings, loss: str) -> Objective:
    """Objective that a ``loss_type`` stands for, before what vLLM's correction makes of it."""
    level = settings.choice("importance_sampling_level", ("token", "sequence"))
    scale = _scale(settings)
    beta, unbiased = settings.number("beta"), settings.flag("use_bias_correction_kl")
    if beta:
        _note_reference(settings)
    made: Objective
    if loss == "cispo":
        made = CISPO(cap=_high(settings), eps=_EPS, scale=scale)
    elif loss == "sapo":
        tau_pos, tau_neg = (settings.number(f"sapo_temperature_{sign}") for sign in ("pos", "neg"))
        made = SAPO(tau_pos=tau_pos, tau_neg=tau_neg, eps=_EPS, scale=scale)
    elif loss == "vespo":
        k_pos, k_neg = (settings.number(f"vespo_k_{sign}") for sign in ("pos", "neg"))
        lambda_pos, lambda_neg = (settings.number(f"vespo_lambda_{sign}") for sign in ("pos", "neg"))
        made = VESPO(k_pos=k_pos, lambda_pos=lambda_pos, k_neg=k_neg, lambda_neg=lambda_neg, eps=_EPS, scale=scale)
    else:
        low, (high, dual_clip) = settings.number("epsilon"), _two_sided(settings)
        if level == "sequence":
            # A sum over tokens, or a mean over those of the batch, counts a completion once for each of its tokens.
            kind = GSPO if loss == "grpo" else LUSPO
            made = kind(eps_low=low, eps_high=high, dual_clip=dual_clip, eps=_EPS, scale=scale)
        elif loss == "dr_grpo" or beta:
            return clipped(low, high, dual_clip=dual_clip, beta=beta, unbiased_kl=unbiased, scale=scale, eps=_EPS)
        elif loss == "grpo":
            return GRPO(beta=0.0, eps_low=low, eps_high=high, dual_clip=dual_clip, eps=_EPS, scale=scale)
        else:  # bnpo and luspo, too: they differ from dapo in the mean over tokens
            return DAPO(eps_low=low, eps_high=high, dual_clip=dual_clip, eps=_EPS, scale=scale)
    if level == "sequence" and loss in ("cispo", "sapo"):
        settings.note(
            "importance_sampling_level = sequence: the ratio is the geometric mean over the tokens; that of the "
            "objective is one for all of them, as for completions of one token."
        )
    if beta:
        settings.note(f"beta = {beta:g}: the KL penalty to the initial policy is not in the objective.")
    return made


def _scale(settings: Settings) -> Scale:
    """What divides the centered rewards."""
    value = settings.raw("scale_rewards")
    text = str(value).strip().lower()
    scale: dict[str, Scale] = {"true": "group", "false": "none", "group": "group", "batch": "batch", "none": "none"}
    if value is None:
        text = "none"  # as text it says nothing
    if text not in scale:
        raise settings.error("scale_rewards", "must be one of group, batch, none, true, false")
    if settings.choice("multi_objective_aggregation", ("sum_then_normalize", "normalize_then_sum")) != (
        "sum_then_normalize"
    ):
        settings.note(
            "multi_objective_aggregation = normalize_then_sum: each reward is standardized in its group, and their sum "
            "over the batch; the objective standardizes the sum of the rewards over the batch."
        )
        return "batch"
    return scale[text]


def _high(settings: Settings) -> float:
    """Upper clip; TRL takes the lower one where there is none, for CISPO's cap as well."""
    high = settings.maybe_number("epsilon_high")
    return settings.number("epsilon") if high is None else high


def _two_sided(settings: Settings) -> tuple[float, float | None]:
    """Upper clip and dual clip: ``delta`` stops better actions, too, where it is below the clip."""
    high, delta = _high(settings), settings.maybe_number("delta")
    if delta is None or delta > 1.0 + high:
        return high, delta
    if delta <= 1.0:
        raise settings.error("delta", "must be > 1")
    return delta - 1.0, 1.0 + high


def _corrected(settings: Settings, objective: Objective, loss: str) -> Objective:
    """Objective with the weights that correct for vLLM, where it has them."""
    if not settings.flag("use_vllm") or not settings.flag("vllm_importance_sampling_correction"):
        return objective
    modes = [f"{level}_{kind}" for level in ("token", "sequence") for kind in ("mask", "truncate")]
    mode = settings.choice("vllm_importance_sampling_mode", modes)
    least = settings.maybe_number("vllm_importance_sampling_clip_min")
    old, most = (settings.maybe_number(f"vllm_importance_sampling_{name}") for name in ("cap", "clip_max"))
    most = old if old is not None else math.inf if most is None else most
    masks = mode.endswith("mask")
    made = corrected(objective, "mask" if masks else "truncate", least or 0.0 if masks else 0.0, most)
    if made is None:
        settings.note(
            f"vllm_importance_sampling_mode = {mode}: completions are weighted by the ratio of the trainer's policy to "
            "vLLM's; the objective takes both for one."
        )
        return objective
    if least and not masks:
        settings.note(
            f"vllm_importance_sampling_clip_min = {least:g}: ratios are raised to it; the objective's are not."
        )
    return made


def read_gmpo(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of TRL's experimental `GMPOTrainer`, whose clips are those of log-ratios."""
    settings = Settings(given, GMPO_DEFAULTS, place, _HARMLESS)
    settings.note_where_it_differs(_REWARDS | _OF_COMPLETIONS)
    settings.note_cuts(*_SAMPLING)
    if beta := settings.number("beta"):
        _note_reference(settings)
        settings.note(f"beta = {beta:g}: the KL penalty to the initial policy is not in the objective.")
    objective = GMPO(clip_low=settings.number("epsilon"), clip_high=_high(settings), eps=_EPS, scale=_scale(settings))
    settings.note("The clip is one of every token inside one ratio; the objective is that of completions of one token.")
    return settings.finish(_found(settings, "trl-gmpo", "gmpo", objective, "sequence", "mean over completions"))


def read_rloo(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of `RLOOTrainer`."""
    settings = Settings(given, RLOO_DEFAULTS, place, _HARMLESS)
    settings.note_where_it_differs(_REWARDS | _OF_COMPLETIONS)
    settings.note_cuts(*_SAMPLING)
    settings.flag("normalize_advantages")  # one factor for all: no target of a loss without a penalty moves
    if beta := settings.number("beta"):
        _note_reference(settings)
        settings.note(
            f"beta = {beta:g}: the reward has -beta log(old/initial), taken when the completion is sampled; the "
            "rewards of the log must contain it."
        )
    if (bounds := settings.numbers("reward_clip_range")) is not None:
        settings.note(f"reward_clip_range = {bounds}: rewards are clipped before; those of the log must be.")
    objective = RLOOClipped(eps_low=settings.number("epsilon"), eps_high=_high(settings))
    return settings.finish(_found(settings, "trl-rloo", "rloo", objective, "sequence", "mean over completions"))


def read_async(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of TRL's experimental `AsyncGRPOTrainer`."""
    settings = Settings(given, ASYNC_DEFAULTS, place, _HARMLESS)
    settings.note_cuts(*_SAMPLING)
    low, high = settings.number("epsilon"), _high(settings)
    lag = settings.integer("max_staleness", 0) * settings.integer("weight_sync_steps", 1)
    return settings.finish(
        TrainerSettings(
            trainer="trl-async",
            loss="grpo",
            objective=clipped(low, high, eps=1e-8),
            level="token",
            aggregation=_ALL_TOKENS,
            group_size=settings.integer("num_generations", 1),
            reuse=1,
            lag=lag,
            drop_equal=False,
            singleton="zero",
        )
    )


def read_a2po(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of TRL's experimental `A2POTrainer`."""
    settings = Settings(given, A2PO_DEFAULTS, place)
    settings.note_where_it_differs(_REWARDS)
    settings.note_cuts("top_p", "top_k")
    if settings.flag("filter_all_incorrect"):
        settings.note(
            "filter_all_incorrect = True: prompts without one success in the reference's samples are dropped; others "
            "whose rewards are equal are kept."
        )
    return settings.finish(
        TrainerSettings(
            trainer="trl-a2po",
            loss="a2po",
            objective=AStarPO(beta1=settings.number("beta1"), beta2=settings.number("beta2")),
            level="sequence",
            aggregation="mean over completions",
            group_size=settings.integer("num_value_samples", 1),
            reuse=1,
            lag=0,
            drop_equal=False,
            singleton=None,
        )
    )


def _note_reference(settings: Settings) -> None:
    if settings.flag("sync_ref_model"):
        settings.note("sync_ref_model = True: the reference follows the policy; the objective's is fixed.")


def _found(
    settings: Settings, trainer: str, loss: str, objective: Objective, level: Any, aggregation: str
) -> TrainerSettings:
    reuse, lag = _steps(settings)
    return TrainerSettings(
        trainer=trainer,
        loss=loss,
        objective=objective,
        level=level,
        aggregation=aggregation,
        group_size=settings.integer("num_generations", 2),
        reuse=reuse,
        lag=lag,
        drop_equal=False,
        singleton="zero",
    )


def _steps(settings: Settings) -> tuple[int, int]:
    """Optimizer steps that a generation batch touches, and by how many its policy is at most behind.

    A batch is used for ``span`` micro-steps from a multiple of ``span`` on, and the optimizer steps after every
    ``every`` of them, so that a batch may begin inside a step.
    """
    for key in _BATCH:
        settings.raw(key)  # whichever of them decides, none is ignored
    every = settings.integer("gradient_accumulation_steps", 1)
    if settings.given("steps_per_generation"):
        micro = settings.integer("steps_per_generation", 1)
    elif settings.given("generation_batch_size"):
        each = settings.integer("per_device_train_batch_size", 1)
        micro = max(settings.integer("generation_batch_size", 1) // each, 1)
        settings.note("generation_batch_size: the lag is that of one process, since the settings do not say how many.")
    else:
        micro = every
    span = micro * settings.integer("num_iterations", 1)
    lag = (every - math.gcd(span, every) + span - 1) // every
    return lag + 1, lag


READERS: dict[str, Callable[[dict[str, Any], str], TrainerSettings]] = {
    "trl": read_grpo,
    "trl-rloo": read_rloo,
    "trl-a2po": read_a2po,
    "trl-gmpo": read_gmpo,
    "trl-async": read_async,
}
