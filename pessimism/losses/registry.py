"""The registry: published objectives by name, loaded when they are asked for."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from pessimism.core.check import checked
from pessimism.core.objective import Objective, ObjectiveLike, as_objective
from pessimism.literals import real, whole

# Name -> family (a module of pessimism.losses) and class, in the order of every table.
PUBLISHED = {
    "nominal": ("importance_weighted", "Nominal"),
    "a_star_po": ("regression", "AStarPO"),
    "oapl": ("regression", "OAPL"),
    "kimi": ("regression", "Kimi"),
    "shifted_mean": ("regression", "ShiftedMean"),
    "optimal_value": ("regression", "OptimalValue"),
    "constant_baseline": ("regression", "ConstantBaseline"),
    "std_normalized": ("regression", "StdNormalized"),
    "dro": ("regression", "DRO"),
    "opmd": ("regression", "OPMD"),
    "tba": ("centered", "TBA"),
    "rebel": ("centered", "REBEL"),
    "awr": ("likelihood", "AWR"),
    "asym_re": ("likelihood", "AsymRE"),
    "truncated_is": ("importance_weighted", "TruncatedIS"),
    "mixed_chi2_kl": ("importance_weighted", "MixedChi2KL"),
    "copg": ("centered", "CoPG"),
    "ipo": ("centered", "IPO"),
    "dpo": ("preferences", "DPO"),
    "async_dpo": ("preferences", "AsyncDPO"),
    "chi_po": ("preferences", "ChiPO"),
    "qrpo": ("quantile", "QRPO"),
    "apa": ("standardized", "APA"),
    "tpo": ("standardized", "TPO"),
    "reinforce": ("reinforce", "Reinforce"),
    "rloo": ("reinforce", "RLOO"),
    "topr": ("reinforce", "TOPR"),
    "opo": ("reinforce", "OPO"),
    "gpg": ("reinforce", "GPG"),
    "roirl": ("likelihood", "RoiRL"),
    "ppo": ("clipped", "PPO"),
    "grpo": ("grpo", "GRPO"),
    "dr_grpo": ("clipped", "DrGRPO"),
    "dapo": ("clipped", "DAPO"),
    "gspo": ("clipped", "GSPO"),
    "rloo_clipped": ("clipped", "RLOOClipped"),
    "max_rl": ("clipped", "MaxRL"),
    "luspo": ("sequence_ratio", "LUSPO"),
    "gmpo": ("sequence_ratio", "GMPO"),
    "kimi_k25": ("masked", "KimiK25"),
    "dppo": ("masked", "DPPO"),
    "dppo_tv": ("masked", "DPPOTV"),
    "prime_ipo": ("masked", "PrimeIPO"),
    "cispo": ("cispo", "CISPO"),
    "sapo": ("gates", "SAPO"),
    "vespo": ("gates", "VESPO"),
    "ppo_corrected": ("corrected", "CorrectedPPO"),
    "reinforce_pp": ("whitened", "ReinforcePP"),
    "trpo": ("trust_region", "TRPO"),
    "kl_regularized": ("kl_regularized", "KLRegularized"),
    "luffy": ("expert", "LUFFY"),
    "chord": ("expert", "CHORD"),
    "ips": ("logged.propensities", "IPS"),
    "weight_clipping": ("logged.propensities", "WeightClipping"),
    "propensity_clipping": ("logged.propensities", "PropensityClipping"),
    "implicit_exploration": ("logged.propensities", "ImplicitExploration"),
    "exponential_smoothing": ("logged.propensities", "ExponentialSmoothing"),
    "log_smoothing": ("logged.log_smoothing", "LogSmoothing"),
    "log_smoothing_linear": ("logged.log_smoothing", "LogSmoothingLinear"),
    "power_mean": ("logged.water_filling", "PowerMean"),
    "chi2": ("logged.water_filling", "Chi2"),
    "pevi": ("logged.lower_bounds", "PEVI"),
    "pevi_kl": ("logged.lower_bounds", "PEVIWithKL"),
    "empirical_likelihood_lcb": ("logged.lower_bounds", "EmpiricalLikelihoodLCB"),
    "divergence_augmented": ("divergence_augmented", "DivergenceAugmented"),
    "cql": ("conservative_q", "CQL"),
    "cql_reference": ("conservative_q", "CQLReference"),
    "cql_huber": ("conservative_q", "CQLHuber"),
    "awac": ("estimated_reference", "AWAC"),
    "brac": ("estimated_reference", "BRAC"),
}
_OWN: dict[str, type[Objective]] = {}  # registered by users


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
    return {name: _load(name) for name in PUBLISHED} | _OWN


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
        If the name is taken by another class, in any spelling, or cannot be written in "name:key=value".

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import pessimism as ps
    >>> @ps.register
    ... @dataclass(frozen=True)
    ... class Timid(ps.Kimi):
    ...     name = "timid"
    ...     beta: float = 10.0
    >>> register(Timid).name
    'timid'
    >>> _ = _OWN.pop("timid")  # leave the registry as it was
    """
    missing = [name for name in ("name", "title", "paper", "formula", "induces") if not hasattr(cls, name)]
    if not issubclass(cls, Objective) or missing:
        facts = ", ".join(missing) or "the base class"
        raise TypeError(
            f"register takes a subclass of pessimism.Objective with its facts; {cls.__name__} lacks {facts}"
        )
    if not isinstance(cls.name, str) or ":" in cls.name or not cls.name or cls.name != cls.name.strip():
        raise ValueError(f"objective name must be a text without a colon or blanks around it, got {cls.name!r}")
    for name in (*PUBLISHED, *_OWN):
        alike = name == cls.name or _key(name) == _key(cls.name) != ""
        if alike and (taken := find_class(name)) is not cls:
            raise ValueError(f"objective name {cls.name!r} is taken by {taken.__name__}")
    _OWN[cls.name] = cls
    return cls


def make_objective(
    objective: str | ObjectiveLike, *, check: bool = True, sweep: bool = False, **hyper: Any
) -> Objective:
    """Make an objective from its name and hyper-parameters, or give an object of one's own all its traits.

    Parameters
    ----------
    objective : str or ObjectiveLike
        A registered name, with hyper-parameters after a colon where wanted ("kimi:beta=0.1"), or an object with the
        three methods. Names match without regard to case, hyphens and blanks; titles count too ("A*-PO", "Dr. GRPO").
    check : bool, default True
        Whether an object of one's own is checked, once, by :func:`pessimism.check`.
    sweep : bool, default False
        Whether hyper-parameters may be arrays over a batch.
    **hyper : Any
        Hyper-parameters, beside a name.

    Returns
    -------
    Objective
        The objective with all its traits.

    Raises
    ------
    ValueError
        Unknown name or hyper-parameter, a hyper-parameter out of range or given twice, hyper-parameters beside an
        object, or an object whose methods do not fit together.
    TypeError
        An object without ``advantage``, ``score_weight`` and ``loss``.

    Examples
    --------
    >>> make_objective("oapl", beta1=0.5)
    OAPL(beta1=0.5, beta2=0.001)
    >>> make_objective("A*-PO:beta1=0.5,sampling=on_policy").settings
    {'beta1': 0.5, 'beta2': 0.001, 'sampling': 'on_policy'}
    >>> make_objective("oapl", beta=0.5)
    Traceback (most recent call last):
    ...
    ValueError: objective 'oapl' has no hyper-parameter 'beta'; it has beta1, beta2
    """
    if not isinstance(objective, str):
        if hyper:
            raise ValueError(
                f"{sorted(hyper)[0]} is given as a keyword, but the objective is an object already: set it there"
            )
        made = as_objective(objective)
        return _single(checked(made) if check else made, sweep)
    name, own = parse_spec(objective)
    if twice := sorted(own.keys() & hyper.keys()):
        raise ValueError(f"{twice[0]} is given twice, in {objective!r} and as a keyword")
    cls, hyper = find_class(name), own | hyper
    known = [f.name for f in fields(cls)]
    for key in hyper:
        if key not in known:
            raise ValueError(f"objective {name!r} has no hyper-parameter {key!r}; it has {', '.join(known)}")
    return _single(cls(**hyper), sweep)


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Read an objective written as "name" or "name:key=value,key=value"; a list of numbers is written 1/2/3.

    Parameters
    ----------
    spec : str
        The objective as somebody wrote it.

    Returns
    -------
    name : str
        Its registered name.
    hyper : dict
        Its hyper-parameters, as the types that its class declares.

    Raises
    ------
    ValueError
        For an unknown name, or a setting that is not key=value or is given twice.

    Examples
    --------
    >>> parse_spec("OAPL:beta1=0.5,beta2=0.1")
    ('oapl', {'beta1': 0.5, 'beta2': 0.1})
    """
    written, colon, settings = spec.partition(":")
    name = find_name(written.strip())
    if colon and not settings.strip():
        raise ValueError(f"objective {spec!r}: nothing after the colon, expected key=value")
    hyper: dict[str, Any] = {}
    for setting in settings.split(",") if settings else ():
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ValueError(f"objective {spec!r}: {setting!r} must be key=value")
        if key in hyper:
            raise ValueError(f"objective {spec!r}: {key} is given twice")
        hyper[key] = parse_value(f"objective {spec!r}: {key}", value, kinds(find_class(name)).get(key, float))
    return name, hyper


def parse_objective(spec: str, beta: float | None) -> Objective:
    """Make an objective from "name" or "name:key=value,key=value", at a temperature unless the text sets its own.

    Parameters
    ----------
    spec : str
        The objective as somebody wrote it.
    beta : float, optional
        Temperature, in units of the reward; an objective without one stays as it is.

    Returns
    -------
    Objective
        The objective.

    Raises
    ------
    ValueError
        As `make_objective`.

    Examples
    --------
    >>> parse_objective("shifted_mean:shift=2", beta=0.25)
    ShiftedMean(beta=0.25, shift=2.0)
    """
    objective, (_, hyper) = make_objective(spec), parse_spec(spec)
    own = objective.temperature_field in hyper or "eta" in hyper
    return objective if beta is None or own else objective.at_temperature(beta)


def short_setting(objective: Objective, beta: float | None) -> str:
    """Write an objective as ``--objectives`` takes it, without what is the default or the temperature of all.

    Parameters
    ----------
    objective : Objective
        A registered objective.
    beta : float, optional
        Temperature of all objectives in the comparison.

    Returns
    -------
    str
        The name, with the settings that differ after a colon.

    Examples
    --------
    >>> short_setting(parse_objective("shifted_mean:shift=2", 0.25), 0.25)
    'shifted_mean:shift=2'
    >>> short_setting(parse_objective("oapl:beta2=0.1", None), None)
    'oapl:beta2=0.1'
    """
    usual = make_objective(objective.name)
    usual = usual if beta is None else usual.at_temperature(beta)
    changed = {k: v for k, v in objective.settings.items() if v != usual.settings[k]}
    if beta is not None and objective.temperature is not None and objective.temperature != beta:
        # The field of a temperature that another setting scales, too, may hold its usual value by accident.
        changed |= {k: v for k, v in objective.settings.items() if k == objective.temperature_field}
    return objective.name + (":" if changed else "") + ",".join(f"{k}={_written(v)}" for k, v in changed.items())


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_written, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def find_name(written: str) -> str:
    """Find the registered name that a person means, without regard to case, hyphens and blanks, or by title.

    Parameters
    ----------
    written : str
        A name or a title as somebody wrote it.

    Returns
    -------
    str
        The registered name.

    Raises
    ------
    ValueError
        If there is none; with the three nearest.

    Examples
    --------
    >>> find_name("A*-PO"), find_name("Dr. GRPO"), find_name("shifted-mean")
    ('a_star_po', 'dr_grpo', 'shifted_mean')
    >>> find_name("kimmi")
    Traceback (most recent call last):
    ...
    ValueError: unknown objective 'kimmi'; did you mean 'kimi', 'kimi_k25' or 'prime_ipo'? `pessimism objectives` lists
    all
    """
    if written in PUBLISHED or written in _OWN:
        return written
    spelled: dict[str, str] = {}
    for fact in ("name", "title", "short", "__name__"):  # a subclass of one's own may inherit the title of another
        for name, cls in objectives().items():
            spelled.setdefault(_key(getattr(cls, fact)), name)
    spelled.pop("", None)
    if "(" in written and "=" in written:
        plain = re.sub(r"[()]", ":", written, count=1).rstrip(")").replace(" ", "")
        raise ValueError(f"objective {written!r}: hyper-parameters stand after a colon, as in {plain!r}")
    if (key := _key(written)) in spelled:
        return spelled[key]
    near = list(dict.fromkeys(spelled[k] for k in difflib.get_close_matches(key, spelled, n=12, cutoff=0.0)))[:3]
    meant = f"did you mean {near[0]!r}, {near[1]!r} or {near[2]!r}? " if key else ""
    raise ValueError(f"unknown objective {written!r}; {meant}`pessimism objectives` lists all")


def kinds(cls: type[Objective]) -> dict[str, Any]:
    """Kinds of the hyper-parameters of a class by name: float, int, bool, str, tuple, or a Literal of strings."""
    hints = get_type_hints(cls)
    return {f.name: _kind(hints[f.name]) for f in fields(cls)}


def parse_value(place: str, text: str, kind: Any) -> Any:
    """Read a hyper-parameter from text, as its field declares it; what is no number there stays text.

    Parameters
    ----------
    place : str
        What an error message begins with.
    text : str
        The value as somebody wrote it.
    kind : type
        What the field holds, as `kinds` says.

    Returns
    -------
    float, int, bool, str or tuple of float
        The value; of a list with one entry that entry, which holds for all actions.

    Raises
    ------
    ValueError
        For an entry of a list that is not a number; ``place`` stands before it.

    Examples
    --------
    >>> parse_value("length", "1/2", tuple), parse_value("beta", "1e-3", float), parse_value("phi", "true", bool)
    ((1.0, 2.0), 0.001, True)
    """
    if kind is tuple:
        entries = text.strip("[]").replace("/", ",").split(",")
        try:
            numbers = tuple(map(real, entries))
            return numbers if len(numbers) > 1 else numbers[0]
        except ValueError:
            raise ValueError(f"{place} must be numbers separated by slashes, got {text!r}") from None
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is str or get_origin(kind) is Literal:  # "inf" is a choice of one field, and no number there
        return text
    try:
        return whole(text) if kind is int else real(text)
    except ValueError:
        return text


def _single(objective: Objective, sweep: bool) -> Objective:
    batched = objective.swept + tuple(name for name in objective.facts if np.ndim(getattr(objective, name)) > 1)
    if batched and not sweep:
        one = "one number for each action" if batched[0] in objective.facts else "one number"
        raise ValueError(f"{objective.name}: {batched[0]} must be {one} here; induced_target takes arrays")
    return objective


def _load(name: str) -> type[Objective]:
    family, cls = PUBLISHED[name]
    found: type[Objective] = getattr(import_module(f"pessimism.losses.{family}"), cls)
    return found


def find_class(name: str) -> type[Objective]:
    """Return the class registered under a name; its family loads now if it has not."""
    return _OWN[name] if name in _OWN else _load(name)


def _key(text: str) -> str:
    for symbol, spelled in (("*", "star"), ("χ", "chi"), ("²", "2")):
        text = text.replace(symbol, spelled)
    return re.sub(r"[\s\-_./()^,]", "", text.lower())  # other signs tell methods apart: REINFORCE++ is not REINFORCE


def _kind(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return hint
    # An optional field counts as what it may be beside None; a number for all actions or one for each as the latter.
    inner = [a for a in get_args(hint) if a is not type(None)] if type(None) in get_args(hint) else [hint]
    return tuple if any(get_origin(a) is tuple for a in inner) else inner[0]
