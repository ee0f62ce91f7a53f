"""OpenRLHF: the objective that the flags of `train_ppo_ray` stand for, those with dots and those before them."""

from __future__ import annotations

from typing import Any

from pessimism.core.objective import Objective
from pessimism.losses.clipped import GSPO, PPO, RLOOClipped
from pessimism.losses.standardized import Scale
from pessimism.losses.whitened import ReinforcePP
from pessimism.trainers.clip import clipped, corrected, note_cut_estimate
from pessimism.trainers.settings import Settings, TrainerSettings

_A, _KL = "algo.advantage.", "algo.kl."
DEFAULTS: dict[str, Any] = {  # of August 2026
    f"{_A}estimator": "gae",
    f"{_A}no_std_norm": False,
    f"{_A}gamma": 1.0,
    f"{_A}is_correction_enable": False,
    f"{_A}is_correction_threshold": (0.5, 5.0),
    f"{_A}is_correction_type": "tis",
    f"{_KL}init_coef": 0.01,
    f"{_KL}target": None,
    f"{_KL}estimator": "k1",
    f"{_KL}use_loss": False,
    "actor.policy_loss_type": "ppo",
    "actor.eps_clip": 0.2,
    "actor.eps_clip_low_high": None,
    "actor.dual_clip": None,
    "actor.entropy_coef": None,
    "rollout.n_samples_per_prompt": 1,
    "rollout.batch_size": 1024,
    "rollout.top_p": 1.0,
    "train.batch_size": 128,
    "train.max_epochs": 1,
    "train.async_enable": False,
    "train.async_queue_size": 1,
    "train.partial_rollout_enable": False,
    "reward.normalize_enable": False,
    "reward.clip_range": (-10, 10),
    "reward.overlong_buffer_len": None,
    "reward.stop_properly_penalty_coef": None,
    "algo.dynamic_filtering_enable": False,
    "algo.dynamic_filtering_range": (0, 1),
}
OLD_NAMES = {  # flags of 2025
    "advantage_estimator": f"{_A}estimator",
    "no_advantage_std_norm": f"{_A}no_std_norm",
    "gamma": f"{_A}gamma",
    "enable_vllm_is_correction": f"{_A}is_correction_enable",
    "vllm_is_truncated_threshold": f"{_A}is_correction_threshold",
    "vllm_is_correction_type": f"{_A}is_correction_type",
    "init_kl_coef": f"{_KL}init_coef",
    "kl_target": f"{_KL}target",
    "kl_estimator": f"{_KL}estimator",
    "use_kl_loss": f"{_KL}use_loss",
    "policy_loss_type": "actor.policy_loss_type",
    "eps_clip": "actor.eps_clip",
    "eps_clip_low_high": "actor.eps_clip_low_high",
    "dual_clip": "actor.dual_clip",
    "entropy_loss_coef": "actor.entropy_coef",
    "n_samples_per_prompt": "rollout.n_samples_per_prompt",
    "rollout_batch_size": "rollout.batch_size",
    "top_p": "rollout.top_p",
    "train_batch_size": "train.batch_size",
    "max_epochs": "train.max_epochs",
    "async_train": "train.async_enable",
    "async_queue_size": "train.async_queue_size",
    "partial_rollout": "train.partial_rollout_enable",
    "normalize_reward": "reward.normalize_enable",
    "reward_clip_range": "reward.clip_range",
    "overlong_buffer_len": "reward.overlong_buffer_len",
    "dynamic_filtering": "algo.dynamic_filtering_enable",
    "dynamic_filtering_reward_range": "algo.dynamic_filtering_range",
}
ESTIMATORS = ("gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo")
_EPS = 1e-9  # beside the standard deviation of the rewards
_GROUPED = ("rloo", "reinforce_baseline", "group_norm", "dr_grpo")
_TOO = "those of the log must be, too."


def read_openrlhf(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the flags of OpenRLHF's `train_ppo_ray`."""
    settings = Settings({OLD_NAMES.get(key, key): value for key, value in given.items()}, DEFAULTS, place)
    estimator = settings.choice(f"{_A}estimator", ESTIMATORS)
    loss = settings.choice("actor.policy_loss_type", ("ppo", "gspo"))
    size = settings.integer("rollout.n_samples_per_prompt", 1)
    if estimator in _GROUPED and size < 2:
        raise settings.error("rollout.n_samples_per_prompt", f"must be > 1 for {estimator}")
    objective = _weighted(settings, loss, _objective(settings, loss, estimator, size))
    _note_others(settings)
    drop = settings.flag("algo.dynamic_filtering_enable")
    if drop:
        low, high = settings.numbers("algo.dynamic_filtering_range") or (0.0, 1.0)
        settings.note(
            f"algo.dynamic_filtering_range: groups are dropped whose mean score is not between {low:g} and {high:g}, "
            "which for scores of 0 and 1 and this range from 0 to 1 are those with equal rewards."
        )
    reuse, lag = _steps(settings, size)
    return settings.finish(
        TrainerSettings(
            trainer="openrlhf",
            loss=loss,
            objective=objective,
            level="sequence" if loss == "gspo" else "token",
            aggregation="mean over completions" if loss == "gspo" else "mean over all tokens of a batch",
            group_size=size,
            reuse=reuse,
            lag=lag,
            drop_equal=drop,
            singleton=None,
        )
    )


def _objective(settings: Settings, loss: str, estimator: str, size: int) -> Objective:
    both, two = settings.number("actor.eps_clip"), settings.numbers("actor.eps_clip_low_high")
    if two is not None and len(two) != 2:
        raise settings.error("actor.eps_clip_low_high", "must be two numbers")
    low, high = two or (both, both)
    dual_clip, kl = settings.maybe_number("actor.dual_clip"), _penalty(settings)
    plain = settings.flag(f"{_A}no_std_norm") if estimator in ("gae", "reinforce", "reinforce_baseline") else False
    scale: Scale = "group" if estimator == "group_norm" else "none"
    made: Objective
    if loss == "gspo":
        made = GSPO(eps_low=low, eps_high=high, dual_clip=dual_clip, eps=_EPS, scale=scale)
    elif estimator in ("reinforce", "reinforce_baseline") and not plain:
        of = "group" if estimator.endswith("baseline") else "batch"
        made = ReinforcePP(eps_low=low, eps_high=high, dual_clip=dual_clip, baseline_of=of)  # type: ignore[arg-type]
    elif estimator == "rloo" and not kl:
        made = RLOOClipped(eps_low=low, eps_high=high, dual_clip=dual_clip)
    elif estimator in ("gae", "reinforce") and not kl:
        made = PPO(eps_low=low, eps_high=high, dual_clip=dual_clip)
    else:
        # RLOO's advantage is G/(G - 1) times the centered reward: the same loss but for that factor.
        beta = kl * (size - 1) / size if estimator == "rloo" else kl
        made, kl = clipped(low, high, dual_clip=dual_clip, beta=beta, scale=scale, eps=_EPS), 0.0
    if kl:
        settings.note(f"{_KL}init_coef = {kl:g}: the KL penalty to the initial policy is not in the objective.")
    note_cut_estimate(settings, f"{_KL}init_coef", made)
    if estimator == "gae":
        settings.note("estimator = gae: a critic gives the advantages; the objective's are r less the group's mean.")
    elif estimator in ("reinforce", "reinforce_baseline") and not isinstance(made, ReinforcePP):
        mean = "mean of the batch" if estimator == "reinforce" else "group's mean and the batch's"
        spread = "" if plain else ", divided by the standard deviation of the batch"
        settings.note(
            f"estimator = {estimator}: advantages are r less the {mean}{spread}; the objective's are r less the "
            "group's mean."
        )
    return made


def _penalty(settings: Settings) -> float:
    """Weight of a KL penalty in the loss that has the gradient of the estimator k3; others are named."""
    weight = settings.number(f"{_KL}init_coef")
    kind = settings.choice(f"{_KL}estimator", ("k1", "k2", "k3"))
    if not weight:
        return 0.0
    if settings.given(f"{_KL}target"):
        settings.note(f"{_KL}target: the weight of the KL penalty is adapted during training; here it is fixed.")
    if not settings.flag(f"{_KL}use_loss"):
        settings.note(
            f"{_KL}init_coef = {weight:g}: the reward has a KL penalty ({kind}), taken when the completion is sampled; "
            "the rewards of the log must contain it."
        )
        return 0.0
    if kind == "k3":
        return weight
    pull = {
        "k1": "whose gradient does not pull back to the initial policy",
        "k2": "whose gradient is that of half the squared log-ratio on old samples",
    }
    settings.note(f"{_KL}estimator = {kind}: a penalty of weight {weight:g}, {pull[kind]}, is not in the objective.")
    return 0.0


def _weighted(settings: Settings, loss: str, made: Objective) -> Objective:
    """Objective with the weights that correct for vLLM, where it has them."""
    if not settings.flag(f"{_A}is_correction_enable"):
        return made
    kind = settings.choice(f"{_A}is_correction_type", ("tis", "icepop", "seq-mask-tis"))
    bounds = settings.numbers(f"{_A}is_correction_threshold") or ()
    if len(bounds) not in (1, 2):
        raise settings.error(f"{_A}is_correction_threshold", "must be two numbers, or a cap")
    low, cap = bounds if len(bounds) == 2 else (0.0, bounds[0])
    if loss == "gspo":
        settings.note(f"{_A}is_correction_enable = True: the ratio is that to the policy in vLLM, which is clipped.")
        return made
    found = corrected(made, "truncate" if kind == "tis" else "mask", 0.0 if kind == "tis" else low, cap)
    if found is None:
        settings.note(
            f"{_A}is_correction_type = {kind}: completions are weighted by the ratio of the trainer's policy to "
            "vLLM's; the objective takes both for one."
        )
        return made
    if kind == "tis" and low:
        settings.note(f"{_A}is_correction_threshold: ratios below {low:g} are raised to it; the objective's are not.")
    return found


def _note_others(settings: Settings) -> None:
    settings.note_cuts("rollout.top_p")
    if weight := settings.maybe_number("actor.entropy_coef"):  # 0 logs it
        settings.note(f"actor.entropy_coef = {weight:g}: the entropy bonus is not in the objective.")
    settings.note_where_it_differs(
        {
            "reward.normalize_enable": f"rewards are normalized by running moments; {_TOO}",
            "reward.clip_range": f"rewards are clipped; {_TOO}",
            "reward.overlong_buffer_len": f"long completions have a lower reward; {_TOO}",
            "reward.stop_properly_penalty_coef": f"completions that were cut off have a lower reward; {_TOO}",
            f"{_A}gamma": "rewards are discounted by tokens where there is no group; here they are not.",
        }
    )


def _steps(settings: Settings, size: int) -> tuple[int, int]:
    """Optimizer steps that a batch of completions serves, and by how many its policy is at most behind."""
    completions, batch = settings.integer("rollout.batch_size", 1) * size, settings.integer("train.batch_size", 1)
    reuse = max(completions // batch, 1) * settings.integer("train.max_epochs", 1)
    if not settings.flag("train.async_enable"):
        return reuse, reuse - 1
    waiting = settings.integer("train.async_queue_size", 1)
    settings.note("train.async_enable = True: how old a batch is depends on timing; the lag is that of a full queue.")
    if settings.flag("train.partial_rollout_enable"):
        settings.note("train.partial_rollout_enable = True: tokens of one completion may come from several policies.")
    return reuse, (1 + waiting) * reuse - 1
