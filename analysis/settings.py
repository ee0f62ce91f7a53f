"""Every registered objective at one temperature, the other hyper-parameters as published."""

from __future__ import annotations

from collections.abc import Iterable

import pessimism as ps
from pessimism.losses.registry import parse_objective


def at_temperature(beta: float, names: Iterable[str] | None = None) -> dict[str, ps.Objective]:
    """Objectives set to the same temperature `beta`, by name; some of them aim elsewhere than at the nominal target.

    A decoupled pair gets `beta` as its regression temperature and keeps its published `beta1`; REBEL gets eta = 1/beta;
    an objective without a temperature keeps its defaults.

    Parameters
    ----------
    beta : float
        Temperature, in reward units.
    names : iterable of str, optional
        Names, with hyper-parameters after a colon where wanted ("oapl:beta1=0.5"); the whole registry by default.

    Returns
    -------
    dict of str to pessimism.Objective
        Objective by the name given.

    Raises
    ------
    ValueError
        If a name is unknown, or `beta` is not positive.

    Examples
    --------
    >>> at_temperature(0.25, ["kimi", "oapl", "rebel"])
    {'kimi': Kimi(beta=0.25), 'oapl': OAPL(beta1=1.0, beta2=0.25), 'rebel': REBEL(eta=4.0)}
    """
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta!r}")
    return {name: parse_objective(name, beta) for name in (ps.objectives() if names is None else names)}


def besides_temperature(objective: ps.Objective) -> str:
    """Hyper-parameters of an objective other than its temperature, as text.

    Parameters
    ----------
    objective : pessimism.Objective
        Any objective.

    Returns
    -------
    str
        Names and values, joined by commas.

    Examples
    --------
    >>> besides_temperature(ps.OAPL(beta1=1.0, beta2=1e-3)), besides_temperature(ps.Kimi())
    ('beta1=1', '')
    """
    rest = {k: v for k, v in objective.settings.items() if k not in (objective.temperature_field, "eta")}
    text = [_said(k, v) for k, v in rest.items() if v is not None]
    return ", ".join(text if objective.temperature is not None else [*text, "no temperature"])


def _said(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{name}={value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else f"{name}={value}"
