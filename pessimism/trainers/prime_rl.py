"""prime-rl: the objective that its TOML stands for."""

from __future__ import annotations

from typing import Any

from pessimism.core.objective import Objective
from pessimism.losses.masked import DPPOTV, PrimeIPO
from pessimism.messages import cut, plain
from pessimism.trainers.settings import Settings, TrainerSettings, no_objective

_LOSS, _FROM = "trainer.loss.", "orchestrator."
DEFAULTS: dict[str, Any] = {  # of August 2026
    f"{_LOSS}type": "default",
    f"{_LOSS}dppo_mask_low": 0.2,
    f"{_LOSS}dppo_mask_high": 0.2,
    f"{_LOSS}ipo_threshold": 0.1,
    f"{_LOSS}adv_tau": 1.0,
    f"{_LOSS}kl_tau": 1e-3,
    f"{_LOSS}import_path": None,
    f"{_FROM}algo.type": "grpo",
    f"{_FROM}algo.length_penalty.type": None,
    f"{_FROM}group_size": 1,
    f"{_FROM}rollouts_per_example": None,  # its name until 2026
    f"{_FROM}max_off_policy_steps": 8,
    f"{_FROM}max_async_level": None,
    f"{_FROM}train.filter_zero_advantages": True,
    f"{_FROM}train.sampling.top_p": None,
    f"{_FROM}train.sampling.top_k": None,
    f"{_FROM}train.sampling.min_p": None,
}
_ALGORITHMS = ("grpo", "max_rl", "echo", "rae", "hierarchical_grpo", "opd", "opsd", "sft")
_OTHER_SIGNAL = {
    "opd": "the reverse KL to a teacher",
    "opsd": "the reverse KL to the policy with a demonstration",
    "sft": "the likelihood of another model's completions",
}
_OTHER_ADVANTAGE = {
    "max_rl": "advantages are those of the objective divided by the group's mean reward, which tau is weighed against.",
    "echo": "tokens of tools and users have a likelihood term, which is not in the objective.",
    "rae": "the baseline is a running mean of the agent's rewards; the objective's is the group's mean.",
    "hierarchical_grpo": "attempts are compared within a role and a problem; those must be the groups of the log.",
}


def read_prime_rl(given: dict[str, Any], place: str) -> TrainerSettings:
    """Read the settings of prime-rl: those of `rl`, or the file of its trainer or of its orchestrator."""
    settings = Settings(_placed(given), DEFAULTS, place)
    loss = settings.choice(f"{_LOSS}type", ("default", "ipo", "custom"))
    algorithm = settings.choice(f"{_FROM}algo.type", _ALGORITHMS)
    objective = _objective(settings, loss, algorithm)
    if settings.given(f"{_FROM}algo.length_penalty.type"):
        settings.note("orchestrator.algo.length_penalty: rewards are reduced by length; those of the log must be.")
    if settings.given(f"{_FROM}max_async_level"):
        settings.note("orchestrator.max_async_level: the lag is that of max_off_policy_steps alone.")
    _note_environments(settings, given)
    settings.note_cuts(*(f"{_FROM}train.sampling.{key}" for key in ("top_p", "top_k", "min_p")))
    old = f"{_FROM}rollouts_per_example"
    size = settings.integer(old if settings.given(old) else f"{_FROM}group_size", 1)
    if objective is not None and size == 1 and algorithm != "rae":
        settings.note("A group is one completion: every advantage is 0.")
    return settings.finish(
        TrainerSettings(
            trainer="prime-rl",
            loss=loss,
            objective=objective,
            level="token",
            aggregation="mean over all tokens of the batch",
            group_size=size,
            reuse=1,
            lag=settings.integer(f"{_FROM}max_off_policy_steps", 0),
            drop_equal=settings.flag(f"{_FROM}train.filter_zero_advantages"),
            singleton=None if algorithm in ("rae", *_OTHER_SIGNAL) else "zero",
        )
    )


def _note_environments(settings: Settings, given: dict[str, Any]) -> None:
    """Say which environments have an algorithm or a group size of their own."""
    for key in (f"{_FROM}train.source", f"{_FROM}train.env", f"{_FROM}env"):
        for source in given.get(key) or ():
            own = [name for name in ("algo", "group_size") if isinstance(source, dict) and name in source]
            if own:
                name = plain(cut(str(source.get("name", "without a name"))))
                settings.note(f"{key}: the environment {name} has its own {' and '.join(own)}, which is not read.")


def _placed(given: dict[str, Any]) -> dict[str, Any]:
    """Settings by their place in the file of `rl`, with dashes as underscores."""
    found = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        section = name.partition(".")[0]
        inside = {"loss": "trainer.", "algo": "orchestrator.", "group_size": "orchestrator."}
        found[inside.get(section, "") + name] = value
    return found


def _objective(settings: Settings, loss: str, algorithm: str) -> Objective | None:
    if signal := _OTHER_SIGNAL.get(algorithm):
        no_objective(settings, f"orchestrator.algo.type = {algorithm}: the signal is {signal}")
        return None
    if loss == "custom":
        path = settings.raw(f"{_LOSS}import_path")
        no_objective(settings, f"trainer.loss.type = custom: the loss is {path}")
        return None
    scale, weight = settings.number(f"{_LOSS}adv_tau"), settings.number(f"{_LOSS}kl_tau")
    if not scale > 0:
        raise settings.error(f"{_LOSS}adv_tau", "must be > 0")
    if not weight > 0:
        raise settings.error(f"{_LOSS}kl_tau", "must be > 0, as the objective's tau")
    if algorithm in _OTHER_ADVANTAGE:
        settings.note(f"orchestrator.algo.type = {algorithm}: {_OTHER_ADVANTAGE[algorithm]}")
    if loss == "ipo":
        return PrimeIPO(threshold=settings.number(f"{_LOSS}ipo_threshold"), tau=weight / scale)
    low, high = (settings.number(f"{_LOSS}dppo_mask_{side}") for side in ("low", "high"))
    return DPPOTV(low=low, high=high, tau=weight / scale)
