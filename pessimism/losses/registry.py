"""The registry of published objectives by name."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.losses.centered import IPO, REBEL, TBA, CoPG
from pessimism.losses.cispo import CISPO
from pessimism.losses.clipped import DAPO, GSPO, PPO, DrGRPO
from pessimism.losses.conservative_q import CQL, CQLHuber, CQLReference
from pessimism.losses.divergence_augmented import DivergenceAugmented
from pessimism.losses.estimated_reference import AWAC, BRAC
from pessimism.losses.expert import CHORD, LUFFY
from pessimism.losses.grpo import GRPO
from pessimism.losses.importance_weighted import MixedChi2KL, Nominal, TruncatedIS
from pessimism.losses.kl_regularized import KLRegularized
from pessimism.losses.likelihood import AWR, AsymRE, RoiRL
from pessimism.losses.logged.log_smoothing import LogSmoothing, LogSmoothingLinear
from pessimism.losses.logged.lower_bounds import PEVI, EmpiricalLikelihoodLCB, PEVIWithKL
from pessimism.losses.logged.propensities import (
    IPS,
    ExponentialSmoothing,
    ImplicitExploration,
    PropensityClipping,
    WeightClipping,
)
from pessimism.losses.logged.water_filling import Chi2, PowerMean
from pessimism.losses.preferences import DPO, AsyncDPO, ChiPO
from pessimism.losses.quantile import QRPO
from pessimism.losses.regression import OAPL, AStarPO, ConstantBaseline, Kimi, OptimalValue, ShiftedMean, StdNormalized
from pessimism.losses.reinforce import OPO, RLOO, TOPR, Reinforce
from pessimism.losses.standardized import APA, TPO
from pessimism.losses.trust_region import TRPO

_REGISTRY: dict[str, type[Objective]] = {
    cls.name: cls
    for cls in (
        Nominal,
        AStarPO,
        OAPL,
        Kimi,
        ShiftedMean,
        OptimalValue,
        ConstantBaseline,
        StdNormalized,
        TBA,
        REBEL,
        AWR,
        AsymRE,
        TruncatedIS,
        MixedChi2KL,
        CoPG,
        IPO,
        DPO,
        AsyncDPO,
        ChiPO,
        QRPO,
        APA,
        TPO,
        Reinforce,
        RLOO,
        TOPR,
        OPO,
        RoiRL,
        PPO,
        GRPO,
        DrGRPO,
        DAPO,
        GSPO,
        CISPO,
        TRPO,
        KLRegularized,
        LUFFY,
        CHORD,
        IPS,
        WeightClipping,
        PropensityClipping,
        ImplicitExploration,
        ExponentialSmoothing,
        LogSmoothing,
        LogSmoothingLinear,
        PowerMean,
        Chi2,
        PEVI,
        PEVIWithKL,
        EmpiricalLikelihoodLCB,
        DivergenceAugmented,
        CQL,
        CQLReference,
        CQLHuber,
        AWAC,
        BRAC,
    )
}


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
    return dict(_REGISTRY)


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
    taken = _REGISTRY.get(cls.name)
    if taken is not None and taken is not cls:
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
    cls = _REGISTRY[objective]
    known = [f.name for f in fields(cls)]
    for name in hyper:
        if name not in known:
            raise ValueError(f"objective {objective!r} has no hyper-parameter {name!r}; it has {', '.join(known)}")
    return cls(**hyper)


__all__ = [
    "APA",
    "AWAC",
    "AWR",
    "BRAC",
    "CHORD",
    "CISPO",
    "CQL",
    "DAPO",
    "DPO",
    "GRPO",
    "GSPO",
    "IPO",
    "IPS",
    "LUFFY",
    "OAPL",
    "OPO",
    "PEVI",
    "PPO",
    "QRPO",
    "REBEL",
    "RLOO",
    "TBA",
    "TOPR",
    "TPO",
    "TRPO",
    "AStarPO",
    "AsymRE",
    "AsyncDPO",
    "CQLHuber",
    "CQLReference",
    "Chi2",
    "ChiPO",
    "CoPG",
    "ConstantBaseline",
    "DivergenceAugmented",
    "DrGRPO",
    "EmpiricalLikelihoodLCB",
    "ExponentialSmoothing",
    "ImplicitExploration",
    "KLRegularized",
    "Kimi",
    "LogSmoothing",
    "LogSmoothingLinear",
    "MixedChi2KL",
    "Nominal",
    "Objective",
    "ObjectiveLike",
    "OptimalValue",
    "PEVIWithKL",
    "PowerMean",
    "PropensityClipping",
    "Reinforce",
    "RoiRL",
    "ShiftedMean",
    "StdNormalized",
    "TruncatedIS",
    "WeightClipping",
    "make_objective",
    "objectives",
    "register",
]
