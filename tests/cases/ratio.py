"""Ratio-based, trust-region, KL-estimator and mixed-data objectives."""

from __future__ import annotations

from typing import Any

from tests.cases.case import Case, registered


def _set(name: str, hyper: dict[str, Any], **laws: Any) -> Case:
    """A clipped surrogate: optimal policies form a set, whatever the size of the advantages."""
    because = "a set of optima: generic routes end elsewhere in it, and policies beside the target may belong to it"
    return registered(name, hyper, softening=None, routes=False, because=because, **laws)


def _kl(estimator: str, placement: str, sampling: str, beta: float, **laws: Any) -> Case:
    hyper = {"estimator": estimator, "placement": placement, "sampling": sampling, "beta": beta}
    return registered("kl_regularized", hyper, **laws)


_SHARE = "its shape depends on the probability itself, not on the ratio alone"
_OWN_SAMPLES = "the advantages are those of the policy's own samples and not differentiated: no loss descends"
_SAMPLING = "on-policy data follow the policy, so that the loss on fixed data is not what descends"
_MASKED = {
    "split": False,
    "descends": False,
    "because": "its mask looks at probabilities, not at the ratio alone, and is not differentiated",
}
_GREEDY = {"softening": None, "descends": False, "routes": False, "unique": False}

CASES: dict[str, Case] = {
    "ppo": _set("ppo", {"eps_low": 0.3, "eps_high": 0.4}),
    "ppo-tight": _set("ppo", {"eps_high": 9.0}, unique=False),
    "dr_grpo": _set("dr_grpo", {}),
    "dapo": _set("dapo", {"eps": 1e-3}),
    "gspo": _set("gspo", {"length": 500.0}),
    "max_rl": _set("max_rl", {"eps": 1e-3}, unit_rewards=True, shift=False, plain=False),
    "gspo-tight": registered(
        "gspo",
        {"length": 3.0, "eps_low": 0.3, "eps_high": 1.5},
        softening=None,
    ),
    "grpo": registered(
        "grpo",
        {"beta": 0.8, "eps": 1e-2},
        units={"beta": 0},
    ),
    "grpo-unbiased": registered("grpo", {"beta": 0.2, "eps": 1e-2, "unbiased_kl": True}, units={"beta": 0}),
    "grpo-unpenalized": _set("grpo", {"beta": 0.0}),
    "rloo_clipped": _set("rloo_clipped", {"eps_high": 0.3}),
    "ppo-dual_clip": _set("ppo", {"dual_clip": 1.5}),
    "cispo": registered(
        "cispo",
        {"cap": 0.3, "eps": 1e-2},
        softening=None,
        descends=False,
        because="the gradient does not differentiate the weight",
    ),
    "cispo-partial_level": registered(
        "cispo",
        {"cap": 1.5, "eps": 1e-2},
        softening=None,
        descends=False,
        routes=False,
        unique=False,
        because="the gradient does not differentiate the weight; few actions are left, one of them at any ratio",
    ),
    "cispo-floor": registered(
        "cispo",
        {"cap": 1.2, "floor": 0.8, "eps": 1e-2},
        softening=None,
        descends=False,
        routes=False,
        unique=False,
        because="the gradient does not differentiate the weight; several fixed points, of which a flow selects one",
    ),
    "kimi_k25": registered(
        "kimi_k25",
        {"low": 0.7, "high": 1.4, "tau": 0.2},
        units={"tau": 1},
        softening=("tau", 1),
        descends=False,
        routes=False,
        because="no closed form; its penalty is averaged over old samples, which makes mass on a rare action cheap",
    ),
    "dppo_tv": registered("dppo_tv", {"tau": 0.2}, units={"tau": 1}, softening=("tau", 1), **_MASKED),
    "prime_ipo": registered("prime_ipo", {"tau": 0.5}, units={"tau": 1}, softening=("tau", 1), routes=False, **_MASKED),
    "dppo": registered("dppo", {}, softening=None, routes=False, unique=False, **_MASKED),
    "dppo-kl": registered(
        "dppo", {"divergence": "kl", "cap": 2.0}, softening=None, routes=False, unique=False, **_MASKED
    ),
    "trpo": registered("trpo", {"delta": 0.05}, softening=None),
    "kl_regularized": _kl("k1", "reward", "on_policy", 0.3, descends=False, because=_SAMPLING),
    "kl_regularized-k1-reward-off": _kl("k1", "reward", "off_policy", 0.3),
    "kl_regularized-k1-loss-on": _kl(
        "k1", "loss", "on_policy", 0.3, because="greedy at every beta: one action is left", **_GREEDY
    ),
    "kl_regularized-k2-loss-on": _kl("k2", "loss", "on_policy", 0.3, descends=False, because=_SAMPLING),
    "kl_regularized-k3-loss-on": _kl("k3", "loss", "on_policy", 0.3, descends=False, because=_SAMPLING),
    "luffy": registered(
        "luffy",
        {"expert_share": 0.97},
        softening=None,
        split=False,
        descends=False,
        routes=False,
        because=_SHARE,
    ),
    "chord": registered(
        "chord", {"mu": 0.95, "eps": 1e-2}, softening=None, split=False, descends=False, routes=False, because=_SHARE
    ),
    "chord-without_phi": registered(
        "chord", {"mu": 0.4, "phi": False, "eps": 1e-2}, softening=None, descends=False, because=_OWN_SAMPLES
    ),
}
