"""The registry of published objectives by name."""

from __future__ import annotations

import difflib
from dataclasses import fields
from importlib import import_module
from typing import Any

from pessimism.core.objective import Objective, ObjectiveLike

# Name -> class, or where it is in this folder until it is asked for: 55 classes take a while to make.
_REGISTRY: dict[str, str | type[Objective]] = {
    "nominal": "importance_weighted.Nominal",
    "a_star_po": "regression.AStarPO",
    "oapl": "regression.OAPL",
    "kimi": "regression.Kimi",
    "shifted_mean": "regression.ShiftedMean",
    "optimal_value": "regression.OptimalValue",
    "constant_baseline": "regression.ConstantBaseline",
    "std_normalized": "regression.StdNormalized",
    "tba": "centered.TBA",
    "rebel": "centered.REBEL",
    "awr": "likelihood.AWR",
    "asym_re": "likelihood.AsymRE",
    "truncated_is": "importance_weighted.TruncatedIS",
    "mixed_chi2_kl": "importance_weighted.MixedChi2KL",
    "copg": "centered.CoPG",
    "ipo": "centered.IPO",
    "dpo": "preferences.DPO",
    "async_dpo": "preferences.AsyncDPO",
    "chi_po": "preferences.ChiPO",
    "qrpo": "quantile.QRPO",
    "apa": "standardized.APA",
    "tpo": "standardized.TPO",
    "reinforce": "reinforce.Reinforce",
    "rloo": "reinforce.RLOO",
    "topr": "reinforce.TOPR",
    "opo": "reinforce.OPO",
    "roirl": "likelihood.RoiRL",
    "ppo": "clipped.PPO",
    "grpo": "grpo.GRPO",
    "dr_grpo": "clipped.DrGRPO",
    "dapo": "clipped.DAPO",
    "gspo": "clipped.GSPO",
    "cispo": "cispo.CISPO",
    "trpo": "trust_region.TRPO",
    "kl_regularized": "kl_regularized.KLRegularized",
    "luffy": "expert.LUFFY",
    "chord": "expert.CHORD",
    "ips": "logged.propensities.IPS",
    "weight_clipping": "logged.propensities.WeightClipping",
    "propensity_clipping": "logged.propensities.PropensityClipping",
    "implicit_exploration": "logged.propensities.ImplicitExploration",
    "exponential_smoothing": "logged.propensities.ExponentialSmoothing",
    "log_smoothing": "logged.log_smoothing.LogSmoothing",
    "log_smoothing_linear": "logged.log_smoothing.LogSmoothingLinear",
    "power_mean": "logged.water_filling.PowerMean",
    "chi2": "logged.water_filling.Chi2",
    "pevi": "logged.lower_bounds.PEVI",
    "pevi_kl": "logged.lower_bounds.PEVIWithKL",
    "empirical_likelihood_lcb": "logged.lower_bounds.EmpiricalLikelihoodLCB",
    "divergence_augmented": "divergence_augmented.DivergenceAugmented",
    "cql": "conservative_q.CQL",
    "cql_reference": "conservative_q.CQLReference",
    "cql_huber": "conservative_q.CQLHuber",
    "awac": "estimated_reference.AWAC",
    "brac": "estimated_reference.BRAC",
}


def find_class(name: str) -> type[Objective]:
    """Return the class registered under a name, from the module of its family, which loads now if it has not."""
    found = _REGISTRY[name]
    if isinstance(found, str):
        module, _, cls = found.rpartition(".")
        found = _REGISTRY[name] = getattr(import_module(f"pessimism.losses.{module}"), cls)
    return found


def objectives() -> dict[str, type[Objective]]:
    """Registered objectives by name.

    Returns
    -------
    dict of str to type
        Name of an objective -> its class.

    Examples
    --------
    >>> objectives()["kimi"](beta=0.1)
    Kimi(beta=0.1)
    """
    return {name: find_class(name) for name in _REGISTRY}


def register(cls: type[Objective]) -> type[Objective]:
    """Register an objective of your own under its ``name``, for scripts as for ``induced_target``; a class decorator.

    Parameters
    ----------
    cls : type
        Subclass of :class:`Objective` with the facts ``name``, ``title``, ``paper``, ``formula`` and ``induces``.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    TypeError
        If the class is not an :class:`Objective` with name, title, paper, formula and induces.
    ValueError
        If the name is taken by another class.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from pessimism import Kimi
    >>> @dataclass(frozen=True)
    ... class Timid(Kimi):
    ...     name = "timid"
    ...     beta: float = 10.0
    >>> register(Timid).name
    'timid'
    >>> _ = _REGISTRY.pop("timid")  # leave the registry as it was
    """
    missing = [name for name in ("name", "title", "paper", "formula", "induces") if not hasattr(cls, name)]
    if not issubclass(cls, Objective) or missing:
        facts = ", ".join(missing) or "the base class"
        raise TypeError(
            f"register takes a subclass of pessimism.Objective with its facts; {cls.__name__} lacks {facts}"
        )
    if cls.name in _REGISTRY and (taken := find_class(cls.name)) is not cls:
        raise ValueError(f"objective name {cls.name!r} is taken by {taken.__name__}")
    _REGISTRY[cls.name] = cls
    return cls


def make_objective(objective: str | ObjectiveLike, **hyper: Any) -> ObjectiveLike:
    """Make an objective from its name and hyper-parameters; an object with the three methods is returned as it is.

    Parameters
    ----------
    objective : str or ObjectiveLike
        Registered name, or an object with the methods ``advantage``, ``score_weight`` and ``loss``.
    **hyper : Any
        Hyper-parameters of the named objective; those that are not given keep their defaults.

    Returns
    -------
    ObjectiveLike
        The objective.

    Raises
    ------
    ValueError
        If a name or hyper-parameter is unknown, a hyper-parameter is out of range, or hyper-parameters come with an
        object.
    TypeError
        If an object lacks ``advantage``, ``score_weight`` or ``loss``.

    Examples
    --------
    >>> make_objective("oapl", beta1=0.5)
    OAPL(beta1=0.5, beta2=0.001)
    >>> make_objective("oapl", beta=0.5)
    Traceback (most recent call last):
    ...
    ValueError: objective 'oapl' has no hyper-parameter 'beta'; it has beta1, beta2
    """
    if not isinstance(objective, str):
        if hyper:
            raise ValueError(f"hyper-parameters {sorted(hyper)} go with a name; set them on the objective itself")
        if isinstance(objective, type):
            raise TypeError(f"objective must be an instance, got the class {objective.__name__}: call it")
        if not isinstance(objective, ObjectiveLike):
            raise TypeError("objective must be a name or have the methods advantage, score_weight and loss")
        return objective
    if objective not in _REGISTRY:
        close = difflib.get_close_matches(objective, _REGISTRY, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown objective {objective!r}; {hint}known: {', '.join(sorted(_REGISTRY))}")
    cls = find_class(objective)
    known = [f.name for f in fields(cls)]
    for name in hyper:
        if name not in known:
            raise ValueError(f"objective {objective!r} has no hyper-parameter {name!r}; it has {', '.join(known)}")
    return cls(**hyper)


__all__ = ["Objective", "ObjectiveLike", "find_class", "make_objective", "objectives", "register"]
