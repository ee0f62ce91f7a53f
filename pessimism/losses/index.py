"""The index of objectives: facts from the registry beside what was measured of each, one table for pages and shells."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from pessimism.core.objective import Objective
from pessimism.losses.registry import objectives

ROUTES = {"fixed_point": "fixed point", "convex": "convex program", "flow": "gradient flow"}
CERTIFICATE = 1e-9  # largest KKT residual of a target
TOLERANCES = {"fixed_point": 1e-9, "convex": 1e-5, "flow": 1e-4}
_REGIMES = ("positive", "boundary", "negative")


@cache
def measured() -> dict[str, Any]:
    """Measurements of ``make verify`` for every registered objective.

    Returns
    -------
    dict
        Name of an objective -> its number of problems, statuses, regimes and routes.
    """
    text = resources.files("pessimism").joinpath("verified.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def described(cls: type[Objective]) -> dict[str, str]:
    """Facts of a registered objective and how its target was verified, as text.

    Parameters
    ----------
    cls : type
        A registered class; see :func:`~pessimism.losses.registry.objectives`.

    Returns
    -------
    dict of str to str
        Keys: name, title, paper, loss, defaults, reference, level, sampling, baseline, induces, regime, verified. The
        regime lists what was met over the seeded problems of ``make verify``; verified gives the worst error of each
        route against the target that the package returns, and the number of problems compared.

    Examples
    --------
    >>> described(objectives()["kimi"])["regime"]
    'positive'
    """
    found = measured().get(cls.name)
    return {
        "name": cls.name,
        "title": cls.title,
        "paper": cls.paper,
        "loss": cls.formula,
        "defaults": str(cls()).removeprefix(f"{cls.name}(")[:-1],
        "reference": cls.reference_policy,
        "level": cls.level,
        "sampling": _sampling(cls),
        "baseline": cls.subtracts,
        "induces": cls.induces,
        "regime": "not measured" if found is None else _regimes(found["regimes"]),
        "verified": "not measured" if found is None else _routes(found),
    }


def _sampling(cls: type[Objective]) -> str:
    if cls.mixes_data:
        return "mixed"
    return "on-policy" if cls().on_policy else "off-policy"


def _regimes(counts: dict[str, int]) -> str:
    met = [name for name in _REGIMES if counts.get(name)]
    return " or ".join(met) if met else "undefined"


def _routes(found: dict[str, Any]) -> str:
    said = []
    for route, name in ROUTES.items():
        entry = found["routes"][route]
        if entry["compared"]:
            rest = f", else {entry['why']}" if entry["compared"] < found["problems"] else ""
            said.append(f"{name} {entry['worst']:.0e} ({entry['compared']}/{found['problems']}{rest})")
        else:
            said.append(f"{name}: {entry['why']}")
    return "; ".join(said)


def markdown() -> str:
    """Table of docs/objectives.md, with a row for each registered objective."""
    shown = ("name", "paper", "loss", "reference", "sampling", "baseline", "induces", "regime", "verified")
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    for cls in objectives().values():
        row = described(cls)
        row["name"] = f"`{row['name']}`({row['defaults']})"
        row["paper"] = f"[{row['paper']}](https://arxiv.org/abs/{row['paper']})"
        lines.append("| " + " | ".join(row[key].replace("|", "\\|") for key in shown) + " |")
    return "\n".join(lines) + "\n"
