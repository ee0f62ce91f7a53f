"""Hyper-parameters on the command line: an option for each one that some registered objective has."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pessimism.cli.parser import Parser, integer, number
from pessimism.cli.problems import parse_numbers
from pessimism.core.objective import Objective
from pessimism.losses.registry import find_class, make_objective, objectives

PHRASES = {
    "beta": "Temperature, or weight of the penalty, in units of the advantage (mostly the reward's)",
    "beta1": "Temperature of the optimal value that serves as the baseline, in units of the reward",
    "beta2": "Temperature of the regression, in units of the reward",
    "sampling": "Who samples: the policy in training (on_policy) or the behavior (off_policy)",
    "shift": "How far the baseline lies below the mean reward, in temperatures (shifted_mean), or above it, in units "
    "of the reward (asym_re)",
    "value": "Constant baseline, in units of the reward",
    "eps": "Added to the standard deviation of the rewards (apa: to their variance) before the advantage is divided "
    "by it",
    "eta": "Inverse temperature, per unit of the reward",
    "w_max": "Cap of the weight exp(A/beta), inf for none",
    "cap": "Cap of the ratio of policy to behavior",
    "gamma": "Weight of chi^2/2 beside the KL (mixed_chi2_kl); scale of the shaping p/(p + gamma) (luffy); added to "
    "each propensity (implicit_exploration)",
    "preference": "Labels of pairs: drawn by the difference of rewards (bradley_terry), or the better one always wins "
    "(deterministic)",
    "r_max": "The difference of the links, times beta, is clipped at plus or minus twice this, in units of the reward",
    "transform": "What is regressed on: the quantile of the reward (identity) or its logarithm (log)",
    "min_std": "Standard deviation of the rewards up to which a group has no signal",
    "lengths": "Tokens of each action, which weigh its reward in the baseline; without it all are equal",
    "weight": "Weight of the likelihood: the reward (identity) or exp(r/beta) (exponential)",
    "eps_low": "The ratio is clipped from below at 1 - eps_low",
    "eps_high": "The ratio is clipped from above at 1 + eps_high",
    "length": "Tokens of a completion; the ratio that is clipped is its geometric mean over them",
    "delta": "Radius of the trust region, a KL in nats (trpo); chance that the lower bound fails (pevi, pevi_kl)",
    "estimator": "Estimator of the KL: u (k1), u^2/2 (k2) or exp(-u) - 1 + u (k3), u the log-ratio",
    "placement": "Where the estimate of the KL stands: in the reward or in the loss",
    "expert_share": "Share of the group that is the expert's",
    "mu": "Weight of the expert's likelihood; the policy gradient has the rest",
    "phi": "Whether the likelihood of the expert's tokens is weighted by p (1 - p)",
    "tau": "Propensities below this are raised to it; without it, it is 1/(number of actions)",
    "alpha": "Exponent of the propensity, without it 1 - 1/(number of actions) (exponential_smoothing); weight of the "
    "conservative term (cql)",
    "lam": "Strength of log(1 + lam x)/lam, which flattens the weighted rewards x",
    "second_moment": "E[R^2] of each action; without it the rewards are means of 0 or 1",
    "l": "Share of the ratio w in the mean (1 - l) + l w that divides it",
    "n": "Number of samples in the log",
    "z": "Width of the lower bound, in standard errors",
    "divergence": "Penalty D: log w (kl), 1 - 1/w (rkl), implicit normalization (inf), Hellinger's distance "
    "(hellinger) or log pi (entropy)",
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
        option = group.add_argument(f"--{key.replace('_', '-')}", dest=key)
        if owners:
            option.help = f"{phrase}. Used by {_some(owners[key])}."
            option.metavar = _metavar(owners[key][0], key)


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


def _metavar(name: str, key: str) -> str:
    kind = _kinds(find_class(name))[key]
    return _METAVARS.get(kind) or f"{{{','.join(get_args(kind))}}}"


def _kinds(cls: type[Objective]) -> dict[str, Any]:
    """Field -> what its values are: float, int, bool, str, tuple, or a Literal of strings."""
    hints = get_type_hints(cls)
    return {f.name: _kind(hints[f.name]) for f in fields(cls)}


def _kind(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return hint
    # An optional field counts as what it may be beside None.
    inner = next((a for a in get_args(hint) if a is not type(None)), hint) if type(None) in get_args(hint) else hint
    return tuple if get_origin(inner) is tuple else inner


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a text into name and hyper-parameters: "name" or "name:key=value,key=value"; a list is written 1/2/3.

    Raises
    ------
    ValueError
        For a setting that is not key=value, or given twice.

    Examples
    --------
    >>> parse_spec("oapl:beta1=0.5,beta2=0.1")
    ('oapl', {'beta1': 0.5, 'beta2': 0.1})
    """
    name, colon, settings = spec.partition(":")
    if colon and not settings:
        raise ValueError(f"objective {spec!r}: nothing after the colon, expected key=value")
    hyper: dict[str, str] = {}
    for setting in settings.split(",") if settings else ():
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ValueError(f"objective {spec!r}: {setting!r} must be key=value")
        if key in hyper:
            raise ValueError(f"objective {spec!r}: {key} is given twice")
        hyper[key] = value
    return name, _values(name, hyper, f"objective {spec!r}: {{}}")


def _values(name: str, texts: dict[str, str], place: str) -> dict[str, Any]:
    """Read the hyper-parameters of an objective; what is none of its own stays a text, for the registry to refuse."""
    make_objective(name)  # is known
    kinds = _kinds(find_class(name))
    return {key: _value(place.format(key), text, kinds[key]) if key in kinds else text for key, text in texts.items()}


def _value(place: str, text: str, kind: Any) -> Any:
    if kind is tuple:
        return tuple(parse_numbers(place, text.replace("/", ",")))
    choices = ("True", "False", "true", "false") if kind is bool else get_args(kind)
    if choices and text not in choices:
        raise ValueError(f"{place} must be one of {', '.join(sorted(choices))}, got {text!r}")
    if kind is bool:
        return text.lower() == "true"
    try:
        return {int: integer, float: number}.get(kind, str)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{place} {error}") from None


def parse_objective(spec: str, beta: float | None) -> Objective:
    """Make an objective from "name" or "name:key=value,key=value", at temperature beta unless it sets its own.

    Examples
    --------
    >>> parse_objective("shifted_mean:shift=2", beta=0.25)
    ShiftedMean(beta=0.25, shift=2.0)
    """
    name, hyper = parse_spec(spec)
    objective = make_objective(name, **hyper)
    assert isinstance(objective, Objective)
    own = objective.temperature_field in hyper or "eta" in hyper
    return objective if beta is None or own else objective.at_temperature(beta)


def chosen_objective(spec: str, options: argparse.Namespace) -> Any:
    """Return the objective of a command: its name, with hyper-parameters after a colon or as options.

    Examples
    --------
    >>> chosen_objective("oapl:beta1=0.5", argparse.Namespace(beta2="0.1"))
    OAPL(beta1=0.5, beta2=0.1)
    """
    name, own = parse_spec(spec)
    given = {key: text for key in PHRASES if (text := getattr(options, key, None)) is not None}
    for key in own:
        if key in given:
            raise ValueError(f"{key} is given twice, in {spec!r} and as --{key.replace('_', '-')}")
    return make_objective(name, **own, **_values(name, given, "--{}"))
