"""Hyper-parameters on the command line: an option for each one that some registered objective has."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, get_args

from pessimism.cli.parser import Parser
from pessimism.core.objective import Objective
from pessimism.losses.registry import find_class, kinds, make_objective, objectives, parse_spec, parse_value

PHRASES = {
    "beta": "Temperature, or weight of the penalty, in units of the advantage (mostly the reward's)",
    "beta1": "Temperature of the optimal value that serves as the baseline, in units of the reward",
    "beta2": "Temperature of the regression, in units of the reward",
    "sampling": "Who samples: the policy in training (on_policy) or the behavior (off_policy)",
    "shift": "How far the baseline lies below the mean reward, in temperatures (shifted_mean), or above it, in units "
    "of the reward (asym_re)",
    "value": "Constant baseline, in units of the reward",
    "eps": "Added to the standard deviation of the rewards (apa, reinforce_pp: to their variance; max_rl: to their "
    "mean) before it divides the advantage",
    "opmd_baseline": "What the advantage subtracts: the mean reward (mean) or the optimal value at tau (logavgexp)",
    "kl_coef": "Weight of the penalty u^2/2, in units of the advantage, 0 for none",
    "eta": "Inverse temperature, per unit of the reward",
    "w_max": "Cap of the weight exp(A/beta), inf for none",
    "cap": "Cap of the ratio of policy to behavior (ppo_corrected: of the trainer's policy to the one that sampled)",
    "floor": "Lower bound of the ratio of policy to behavior",
    "gamma": "Weight of chi^2/2 beside the KL (mixed_chi2_kl); scale of the shaping p/(p + gamma) (luffy); added to "
    "each propensity (implicit_exploration)",
    "preference": "Labels of pairs: drawn by the difference of rewards (bradley_terry), or the better one always wins "
    "(deterministic)",
    "r_max": "The difference of the links, times beta, is clipped at plus or minus twice this, in units of the reward",
    "transform": "What is regressed on: the quantile of the reward (identity) or its logarithm (log)",
    "min_std": "Standard deviation of the rewards up to which a group has no signal",
    "weight": "Weight of the likelihood: the reward (identity) or exp(r/beta) (exponential)",
    "eps_low": "The ratio is clipped from below at 1 - eps_low",
    "eps_high": "The ratio is clipped from above at 1 + eps_high",
    "dual_clip": "Ratio above which a worse action is not pushed down any more, without it none",
    "unbiased_kl": "Whether the penalty carries the ratio of policy to behavior",
    "length": "Tokens of each completion: the clipped ratio is a mean over them (gspo, luspo), or they weigh its "
    "reward (opo)",
    "scale": "Whose standard deviation divides the rewards: the group's, the batch's, the others' "
    "(leave_one_out), or none",
    "clip_low": "Log-ratios of tokens are clipped from below at -clip_low",
    "clip_high": "Log-ratios of tokens are clipped from above at clip_high",
    "tau_pos": "Temperature of the gate where the advantage is positive, per unit of the ratio",
    "tau_neg": "Temperature of the gate where the advantage is not positive, per unit of the ratio",
    "k_pos": "Exponent of the ratio where the advantage is not negative",
    "lambda_pos": "Decay in the ratio where the advantage is not negative",
    "k_neg": "Exponent of the ratio where the advantage is negative",
    "lambda_neg": "Decay in the ratio where the advantage is negative",
    "correction": "Weight of data that another policy sampled: its ratio truncated at the cap, masked outside "
    "[low, cap], or none",
    "low": "Lowest ratio that counts (kimi_k25; ppo_corrected: of the trainer's policy to the sampler's), or the "
    "largest fall that does (dppo, dppo_tv)",
    "high": "Highest ratio that counts (kimi_k25), or the largest rise that does (dppo, dppo_tv)",
    "threshold": "Largest change of a probability, up or down, that counts",
    "baseline_of": "Whose mean reward is subtracted: that of the batch, or first that of the group",
    "delta": "Radius of the trust region, a KL in nats (trpo); chance that the lower bound fails (pevi, pevi_kl)",
    "estimator": "Estimator of the KL: u (k1), u^2/2 (k2) or exp(-u) - 1 + u (k3), u the log-ratio",
    "placement": "Where the estimate of the KL stands: in the reward or in the loss",
    "expert_share": "Share of the group that is the expert's",
    "mu": "Weight of the expert's likelihood; the policy gradient has the rest",
    "phi": "Whether the likelihood of the expert's tokens is weighted by p (1 - p)",
    "tau": "Weight of u^2 (kimi_k25, dppo_tv, prime_ipo); temperature of V* (opmd); least propensity, by default "
    "1/(number of actions)",
    "alpha": "Exponent of the propensity, without it 1 - 1/(number of actions) (exponential_smoothing); weight of the "
    "conservative term (cql)",
    "lam": "Strength of log(1 + lam x)/lam, which flattens the weighted rewards x",
    "second_moment": "E[R^2] of each action; without it the rewards are means of 0 or 1",
    "l": "Share of the ratio w in the mean (1 - l) + l w that divides it",
    "n": "Number of samples in the log",
    "z": "Width of the lower bound, in standard errors",
    "divergence": "Penalty log w (kl), 1 - 1/w (rkl), implicit normalization (inf), hellinger or entropy; dppo: change "
    "of probability (tv) or binary KL (kl)",
    "normalize": "Whether the advantage is divided by its root mean square on the group",
}

_NAMED = 4  # objectives named in the help of an option
_METAVARS = {float: "FLOAT", int: "INT", str: "TEXT", tuple: "FLOAT,FLOAT,...", bool: "{True,False}"}


def add_hyper(parser: Parser) -> None:
    """Add an option for each hyper-parameter, a text that is read once the objective is known.

    Only help needs to know which objectives have it, for which all of them load.
    """
    group = parser.add_argument_group(
        "hyper-parameters", "One that is not given keeps its default, which pessimism objectives shows."
    )
    owners = _owners() if parser.explains else {}
    for key, phrase in PHRASES.items():
        option = group.add_argument(f"--{_option(key)}", dest=key)
        if owners:
            option.help = f"{phrase}. Used by {_some(owners[key])}."
            option.metavar = _metavar(owners[key], key)


def _owners() -> dict[str, list[str]]:
    """Hyper-parameter -> the objectives that have it, in the registry's order."""
    found: dict[str, list[str]] = {}
    for name, cls in objectives().items():
        for field in fields(cls):
            found.setdefault(field.name, []).append(name)
    return found


def _some(owners: list[str]) -> str:
    rest = len(owners) - _NAMED
    return ", ".join(owners[:_NAMED]) + (f" and {rest} other{'s' * (rest > 1)}" if rest > 0 else "")


def _metavar(owners: list[str], key: str) -> str:
    found = [kinds(find_class(name))[key] for name in owners]
    choices = dict.fromkeys(choice for kind in found for choice in get_args(kind))
    return f"{{{','.join(choices)}}}" if choices else _METAVARS[found[0]]


def _read(name: str, texts: dict[str, str]) -> dict[str, Any]:
    """Read the options of an objective; what it does not have stays a text, for the registry to refuse."""
    known = kinds(find_class(name))
    return {key: _value(f"--{_option(key)}", text, known[key]) if key in known else text for key, text in texts.items()}


def _value(place: str, text: str, kind: Any) -> Any:
    value = parse_value(place, text, kind)
    expected = {float: "a number", int: "an integer", bool: "True or False"}.get(kind)
    if expected and isinstance(value, str):
        raise ValueError(f"{place} must be {expected}, got {text!r}")
    if (choices := get_args(kind)) and value not in choices:
        raise ValueError(f"{place} must be one of {', '.join(sorted(choices))}, got {text!r}")
    return value


def _option(key: str) -> str:
    return key.replace("_", "-")


def chosen_objective(spec: str, options: argparse.Namespace) -> Objective:
    """Return the objective of a command: its name, with hyper-parameters after a colon or as options.

    Parameters
    ----------
    spec : str
        The objective as somebody wrote it.
    options : argparse.Namespace
        Options of the command.

    Returns
    -------
    Objective
        The objective.

    Examples
    --------
    >>> chosen_objective("oapl:beta1=0.5", argparse.Namespace(beta2="0.1"))
    OAPL(beta1=0.5, beta2=0.1)
    """
    name, own = parse_spec(spec)
    given = {key: text for key in PHRASES if (text := getattr(options, key, None)) is not None}
    for key in own:
        if key in given:
            raise ValueError(f"{key} is given twice, in {spec!r} and as --{_option(key)}")
    return make_objective(name, **own, **_read(name, given))
