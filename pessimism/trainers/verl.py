"""verl: the objective that its YAML or its hydra overrides stand for."""

from __future__ import annotations

import math
from typing import Any, Literal

from pessimism.core.objective import Objective
from pessimism.literals import real
from pessimism.losses.cispo import CISPO
from pessimism.losses.clipped import GSPO, PPO, RLOOClipped
from pessimism.losses.gates import SAPO
from pessimism.losses.grpo import GRPO
from pessimism.losses.masked import DPPO
from pessimism.losses.regression import DRO, StdNormalized
from pessimism.losses.reinforce import GPG
from pessimism.losses.sequence_ratio import GMPO, LUSPO
from pessimism.losses.standardized import Scale
from pessimism.losses.whitened import ReinforcePP
from pessimism.trainers.clip import clipped, corrected, note_cut_estimate
from pessimism.trainers.settings import Settings, TrainerSettings, no_objective

_ACTOR, _ALGORITHM = "actor_rollout_ref.actor.", "algorithm."
_LOSS, _CORRECTION = f"{_ACTOR}policy_loss.", f"{_ALGORITHM}rollout_correction."
_ROLLOUT, _ASYNC = "actor_rollout_ref.rollout.", "async_training."
DEFAULTS: dict[str, Any] = {  # of verl 0.9.1
    f"{_ALGORITHM}adv_estimator": "gae",
    f"{_ALGORITHM}norm_adv_by_std_in_grpo": True,
    f"{_ALGORITHM}gamma": 1.0,
    f"{_ALGORITHM}use_kl_in_reward": False,
    f"{_ALGORITHM}kl_ctrl.kl_coef": 0.001,
    f"{_ALGORITHM}use_pf_ppo": False,
    f"{_ALGORITHM}filter_groups.enable": False,
    f"{_ALGORITHM}filter_groups.metric": "reward",
    f"{_CORRECTION}rollout_is": None,
    f"{_CORRECTION}rollout_is_threshold": 2.0,
    f"{_CORRECTION}rollout_rs": None,
    f"{_CORRECTION}rollout_rs_threshold": None,
    f"{_CORRECTION}bypass_mode": False,
    f"{_CORRECTION}loss_type": "ppo_clip",
    f"{_CORRECTION}rollout_is_batch_normalize": False,
    f"{_LOSS}loss_mode": "vanilla",
    f"{_LOSS}dro_beta": None,
    f"{_ACTOR}clip_ratio": 0.2,
    f"{_ACTOR}clip_ratio_low": 0.2,
    f"{_ACTOR}clip_ratio_high": 0.2,
    f"{_ACTOR}clip_ratio_c": 3.0,
    f"{_ACTOR}tau_pos": 1.0,
    f"{_ACTOR}tau_neg": 1.05,
    f"{_ACTOR}loss_agg_mode": "token-mean",
    f"{_ACTOR}entropy_coeff": 0,
    f"{_ACTOR}use_kl_loss": False,
    f"{_ACTOR}kl_loss_coef": 0.001,
    f"{_ACTOR}kl_loss_type": "low_var_kl",
    f"{_ACTOR}ppo_epochs": 1,
    f"{_ACTOR}ppo_mini_batch_size": 256,
    f"{_ROLLOUT}n": 1,
    f"{_ROLLOUT}top_k": -1,
    f"{_ROLLOUT}top_p": 1,
    "data.train_batch_size": 1024,
    f"{_ASYNC}staleness_threshold": 0.1,  # of verl's fully asynchronous trainer, as the next two
    f"{_ASYNC}trigger_parameter_sync_step": 4,
    f"{_ASYNC}require_batches": 1,
}
_HARMLESS = (f"{_ACTOR}ppo_micro_batch_size",)
_EPS = 1e-6  # beside the standard deviation of the rewards

AGGREGATIONS = {
    "token-mean": "mean over all tokens of a mini-batch",
    "token-sum": "sum over all tokens of a mini-batch",
    "seq-mean-token-sum": "sum over the tokens of a completion, mean over completions",
    "seq-mean-token-sum-norm": "sum over the tokens of a completion divided by a constant, mean over completions",
    "seq-mean-token-mean": "mean over the tokens of a completion, then over completions",
}
_BY_COMPLETION = "seq-mean-token-mean"
LOSSES = ("vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean", "dro", "cispo")
_MODES = ("bypass_mode",)  # set by verl itself
_SEQUENCE = ("gspo", "geo_mean")
# Whose group's mean is subtracted, up to a factor, and what a group of one gets.
_GROUPED: dict[str, Literal["zero", "reward"]] = {
    "grpo": "reward",
    "grpo_vectorized": "reward",
    "rloo": "reward",
    "rloo_vectorized": "zero",
    "gpg": "reward",
    "opo": "reward",
    "gdpo": "reward",
    "reinforce_plus_plus_baseline": "reward",
}
_CRITIC = "A critic gives the advantages; the objective's are r less the mean reward of the group."
_OTHERS = {
    "gae": _CRITIC,
    "reinforce_plus_plus": "",
    "remax": "The baseline is the reward of a greedy completion; the objective's is the mean reward of the group.",
    "optimal_token_baseline": "The baseline is one of each token; the objective's is the mean reward of the group.",
    "tir_optimal_token_baseline": "The baseline is one of each token; the objective's is the mean reward of the group.",
    "grpo_passk": "Only the best completion of a group has an advantage, the best reward less the second; the "
    "objective's are r less the mean reward of the group.",
}
ESTIMATORS = (*_GROUPED, *_OTHERS)
_K3 = ("low_var_kl", "k3")
_SQUARE = "whose gradient is that of half the squared log-ratio on old samples"
_OTHER_KL = {  # by kl_loss_type: its gradient
    **dict.fromkeys(("kl", "k1"), "whose gradient does not pull back to the initial policy"),
    "abs": "whose pull does not depend on the distance",
    **dict.fromkeys(("mse", "k2", "low_var_kl+", "k3+", "kl+", "k1+", "abs+", "mse+", "k2+"), _SQUARE),
}


def read_verl(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of verl's PPO trainer."""
    settings = Settings(given, DEFAULTS, place, _HARMLESS)
    estimator = settings.choice(f"{_ALGORITHM}adv_estimator", ESTIMATORS)
    mode = _loss_mode(settings)
    aggregation = settings.choice(f"{_ACTOR}loss_agg_mode", AGGREGATIONS)
    reuse, lag = _steps(settings)
    objective = _objective(settings, mode, estimator, aggregation, lag)
    _note_others(settings, estimator)
    drop = settings.flag(f"{_ALGORITHM}filter_groups.enable")
    if drop and (metric := settings.raw(f"{_ALGORITHM}filter_groups.metric")) not in ("reward", "seq_reward", None):
        settings.note(f"{_ALGORITHM}filter_groups.metric = {metric}: groups are dropped by it, not by their rewards.")
    words = "mean over completions" if mode == "geo_mean" else AGGREGATIONS[_agg(mode, aggregation)]
    return settings.finish(
        TrainerSettings(
            trainer="verl",
            loss=mode,
            objective=objective,
            level="sequence" if mode in _SEQUENCE else "token",
            aggregation=words,
            group_size=settings.integer(f"{_ROLLOUT}n", 1),
            reuse=reuse,
            lag=lag,
            drop_equal=drop,
            singleton=_GROUPED.get(estimator),
        )
    )


def _agg(mode: str, aggregation: str) -> str:
    return _BY_COMPLETION if mode == "sapo" else aggregation  # whatever is set


def _loss_mode(settings: Settings) -> str:
    """Loss that is computed; bypass mode has its own two, whatever is set."""
    mode = settings.choice(f"{_LOSS}loss_mode", (*LOSSES, *_MODES))
    if not settings.flag(f"{_CORRECTION}bypass_mode"):
        if mode in _MODES:
            raise settings.error(f"{_LOSS}loss_mode", f"must be one of {', '.join(LOSSES)}")
        return mode
    chosen = settings.choice(f"{_CORRECTION}loss_type", ("ppo_clip", "reinforce"))
    if mode not in ("vanilla", *_MODES):
        settings.note(f"{_LOSS}loss_mode = {mode}: verl replaces it where bypass_mode is true.")
    return "vanilla" if chosen == "ppo_clip" else "reinforce"


def _objective(settings: Settings, mode: str, estimator: str, aggregation: str, lag: int) -> Objective | None:
    both = settings.number(f"{_ACTOR}clip_ratio")
    sides = [settings.maybe_number(f"{_ACTOR}clip_ratio_{name}") for name in ("low", "high")]
    low, high = (both if side is None else side for side in sides)
    if both != DEFAULTS[f"{_ACTOR}clip_ratio"] and both not in (low, high):
        settings.note(
            f"{_ACTOR}clip_ratio = {both:g}: verl does not read it, since clip_ratio_low and clip_ratio_high are set."
        )
    scale: Scale = "group" if _standardizes(settings, estimator) else "none"
    kl, size = _penalty(settings), settings.integer(f"{_ROLLOUT}n", 1)
    made: Objective | None
    match mode:
        case "vanilla":
            made, kl = _vanilla(settings, estimator, low, high, scale, kl, size)
        case "gspo":
            kind = GSPO if aggregation == _BY_COMPLETION else LUSPO
            made = kind(eps_low=low, eps_high=high, eps=_EPS, scale=scale)
        case "sapo":
            tau_pos, tau_neg = (settings.number(f"{_ACTOR}tau_{sign}") for sign in ("pos", "neg"))
            made = SAPO(tau_pos=tau_pos, tau_neg=tau_neg, eps=_EPS, scale=scale)
        case "cispo":
            made = CISPO(cap=1.0 + high, floor=max(1.0 - low, 0.0), eps=_EPS, scale=scale)
        case "geo_mean":
            made = GMPO(clip_low=low, clip_high=high, eps=_EPS, scale=scale)
            settings.note(
                "The clip is one of every token inside one ratio; the objective is that of completions of one token."
            )
        case "dppo_tv" | "dppo_kl":
            # Of standardized rewards it has the same target: a factor of a group moves none.
            kind_of = {"dppo_tv": "tv", "dppo_kl": "kl"}
            cap = settings.number(f"{_ACTOR}clip_ratio_c")
            made = DPPO(divergence=kind_of[mode], low=low, high=high, cap=cap)  # type: ignore[arg-type]
        case "dro":
            beta = settings.maybe_number(f"{_LOSS}dro_beta")
            if beta is None or beta <= 0:
                raise settings.error(f"{_LOSS}dro_beta", "must be > 0 for the loss dro")
            made = DRO(beta=beta) if scale == "none" else StdNormalized(beta=beta, eps=_EPS)
        case "reinforce":
            made = _bypassed(settings, scale, lag)
        case "gpg":
            made = GPG(sampling="off_policy" if lag else "on_policy")
        case "clip_cov":
            made, _ = _vanilla(settings, estimator, low, high, scale, 0.0, size, dual=False)
            settings.note("loss_mode = clip_cov: tokens of a high covariance lose their gradient; here all have one.")
        case _:
            made = None
            no_objective(settings, "loss_mode = kl_cov: a ratio without a clip and a KL on tokens of a high covariance")
    if kl:
        settings.note(f"{_ACTOR}kl_loss_coef = {kl:g}: the KL penalty to the initial policy is not in the objective.")
    note_cut_estimate(settings, f"{_ACTOR}kl_loss_coef", made)
    _note_advantage(settings, estimator, made)
    return _weighted(settings, mode, made)


def _standardizes(settings: Settings, estimator: str) -> bool:
    """Whether the rewards of a group are divided by their standard deviation."""
    return estimator == "gdpo" or (
        estimator in ("grpo", "grpo_vectorized", "grpo_passk") and settings.flag(f"{_ALGORITHM}norm_adv_by_std_in_grpo")
    )


def _penalty(settings: Settings) -> float:
    """Weight of a KL penalty in the loss that has the gradient of the estimator k3; others are named."""
    if not settings.flag(f"{_ACTOR}use_kl_loss"):
        return 0.0
    weight = settings.number(f"{_ACTOR}kl_loss_coef")
    kind = settings.choice(f"{_ACTOR}kl_loss_type", (*_K3, *_OTHER_KL))
    if kind in _K3 or not weight:
        return weight
    settings.note(
        f"{_ACTOR}kl_loss_type = {kind}: a penalty of weight {weight:g}, {_OTHER_KL[kind]}, is not in the objective."
    )
    return 0.0


def _vanilla(
    settings: Settings,
    estimator: str,
    low: float,
    high: float,
    scale: Scale,
    kl: float,
    size: int,
    *,
    dual: bool = True,
) -> tuple[Objective, float]:
    """PPO's clip with a dual clip and the advantage of an estimator, and the weight of the penalty that is left out."""
    dual_clip = settings.number(f"{_ACTOR}clip_ratio_c") if dual else None
    if estimator.startswith("reinforce_plus_plus"):
        of: Literal["batch", "group"] = "group" if estimator.endswith("baseline") else "batch"
        return ReinforcePP(eps_low=low, eps_high=high, dual_clip=dual_clip, baseline_of=of), kl
    if estimator.startswith("rloo"):
        if not kl or size < 2:
            return RLOOClipped(eps_low=low, eps_high=high, dual_clip=dual_clip), kl
        # The advantage is G/(G - 1) times the centered reward: the same loss but for that factor.
        kl *= (size - 1) / size
    elif not kl and estimator in _OTHERS:
        return PPO(eps_low=low, eps_high=high, dual_clip=dual_clip), kl
    return clipped(low, high, dual_clip=dual_clip, beta=kl, scale=scale, eps=_EPS), 0.0


def _bypassed(settings: Settings, scale: Scale, lag: int) -> Objective:
    """REINFORCE of bypass mode: capped ratios, or none, in which case it is `gpg`."""
    if settings.raw(f"{_CORRECTION}rollout_is") is None:
        return GPG(sampling="off_policy" if lag else "on_policy")
    settings.choice(f"{_CORRECTION}rollout_is", ("token", "sequence"))
    low, cap = _threshold(settings)
    if low is not None:
        settings.note(
            f"{_CORRECTION}rollout_is_threshold: ratios below {low:g} or above {cap:g} count nothing; the objective "
            "caps them."
        )
    return CISPO(cap=cap, eps=_EPS, scale=scale)


def _threshold(settings: Settings) -> tuple[float | None, float]:
    """Bounds of rollout weights: "2.0" is a cap, "0.5_5.0" masks what is outside."""
    key = f"{_CORRECTION}rollout_is_threshold"
    low, _, cap = str(settings.raw(key)).rpartition("_")
    try:
        bounds = (real(low) if low else None, real(cap))
    except ValueError:
        bounds = (None, -1.0)
    if not bounds[1] > 0 or math.isnan(bounds[1]) or (bounds[0] is not None and not 0 < bounds[0] <= bounds[1]):
        raise settings.error(key, 'must be a cap > 0, or two bounds as in "0.5_5.0"')
    return bounds


def _weighted(settings: Settings, mode: str, made: Objective | None) -> Objective | None:
    """Objective with the weights of a rollout correction, where it has them."""
    level = settings.raw(f"{_CORRECTION}rollout_is")
    if settings.raw(f"{_CORRECTION}rollout_rs") is not None:
        settings.raw(f"{_CORRECTION}rollout_rs_threshold")
        settings.note(
            f"{_CORRECTION}rollout_rs: what the sampling engine took far from the trainer's policy is rejected; here "
            "nothing is."
        )
    if level is None or settings.flag(f"{_CORRECTION}bypass_mode"):
        return made
    settings.choice(f"{_CORRECTION}rollout_is", ("token", "sequence"))
    low, cap = _threshold(settings)
    if settings.flag(f"{_CORRECTION}rollout_is_batch_normalize"):
        settings.note(f"{_CORRECTION}rollout_is_batch_normalize = True: the weights' mean is brought to 1; here not.")
    found = corrected(made, "truncate" if low is None else "mask", low or 0.0, cap)
    if found is None and made is not None:
        settings.note(
            f"{_CORRECTION}rollout_is = {level}: completions are weighted by the ratio of the trainer's policy to the "
            "sampling engine's; the objective takes both for one."
        )
    return found or made


def _note_advantage(settings: Settings, estimator: str, made: Objective | None) -> None:
    """Say where the advantage is not that of the objective."""
    if made is None:
        return
    if note := _OTHERS.get(estimator):
        settings.note(f"adv_estimator = {estimator}: {note[0].lower()}{note[1:]}")
    if estimator == "opo":
        settings.note("adv_estimator = opo: the baseline weighs rewards by lengths; the objective's is the plain mean.")
    if estimator == "gdpo":
        settings.note(
            "adv_estimator = gdpo: each reward is standardized in its group, and their sum over the batch; the "
            "objective standardizes the sum of the rewards in the group."
        )
    if estimator.startswith("reinforce_plus_plus") and not isinstance(made, ReinforcePP):
        settings.note(f"adv_estimator = {estimator}: advantages are whitened over the batch; the objective's are not.")
    if made.temperature is not None and not isinstance(made, GRPO) and estimator.startswith("rloo"):
        settings.note(f"adv_estimator = {estimator}: advantages are G/(G - 1) times those of the objective.")
    if made.temperature is not None and estimator == "gpg":
        settings.note("adv_estimator = gpg: advantages are divided by the batch's share of rewards that are not 0.")


def _note_others(settings: Settings, estimator: str) -> None:
    if settings.flag(f"{_ALGORITHM}use_kl_in_reward"):
        weight = settings.number(f"{_ALGORITHM}kl_ctrl.kl_coef")
        settings.note(
            f"{_ALGORITHM}use_kl_in_reward = True: the reward has a KL penalty of weight {weight:g}, taken when the "
            "completion is sampled; the rewards of the log must contain it."
        )
    settings.note_where_it_differs(
        {
            f"{_ACTOR}entropy_coeff": "the entropy bonus is not in the objective.",
            f"{_ALGORITHM}use_pf_ppo": "completions are drawn again by their rewards; here each counts once.",
        }
    )
    settings.note_cuts(f"{_ROLLOUT}top_k", f"{_ROLLOUT}top_p")
    if estimator in ("gae", "reinforce_plus_plus"):
        settings.note_where_it_differs({f"{_ALGORITHM}gamma": "rewards are discounted by tokens; here they are not."})


def _steps(settings: Settings) -> tuple[int, int]:
    """Optimizer steps that a batch of completions serves, and by how many its policy is at most behind."""
    epochs = settings.integer(f"{_ACTOR}ppo_epochs", 1)
    if any(settings.given(f"{_ASYNC}{key}") for key in ("staleness_threshold", "trigger_parameter_sync_step")):
        fetched = settings.integer(f"{_ASYNC}require_batches", 1)
        between = settings.integer(f"{_ASYNC}trigger_parameter_sync_step", 1) * fetched * epochs
        stale = settings.number(f"{_ASYNC}staleness_threshold")
        settings.note(
            f"{_ASYNC[:-1]}: how old a completion is varies; the lag is the largest that staleness_threshold allows."
        )
        return fetched * epochs, math.ceil(between * (1.0 + stale)) - 1
    batch = settings.integer("data.train_batch_size", 1)
    mini = settings.integer(f"{_ACTOR}ppo_mini_batch_size", 1)
    if mini > batch:
        raise settings.error(f"{_ACTOR}ppo_mini_batch_size", f"must be at most data.train_batch_size = {batch}")
    reuse = batch // mini * epochs
    return reuse, reuse - 1
