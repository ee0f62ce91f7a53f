"""What the commands of the console script print: tables, CSV, JSON, and facts in a line."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pessimism.cli.options import Flag
from pessimism.core.solution import read_status
from pessimism.diagnosis.summary import json_number
from pessimism.target.result import FIELDS, InducedTarget


@dataclass(frozen=True)
class Format:
    """How to print; a table without either."""

    json: Flag = False
    """Print one JSON object."""
    csv: Flag = False
    """Print CSV."""

    def check(self) -> None:
        """Raise ``ValueError`` where both are asked for."""
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other: give one")

    def table(self, frame: pd.DataFrame) -> None:
        """Print a frame as CSV or as an aligned table."""
        if self.csv:
            print(frame.to_csv(index=False), end="")
        else:
            text = frame.to_string(index=False, float_format="{:.4g}".format, na_rep="-")
            print("\n".join(line.rstrip() for line in text.splitlines()))


def as_json(solved: list[tuple[str, InducedTarget]]) -> dict[str, Any]:
    """Fields, objective and conservatism of a target, or of several as lists in the order of the problems."""
    every = [
        target.to_dict() | {"objective": str(target.objective), "conservatism": _conservatism(target)}
        for _, target in solved
    ]
    if len(every) == 1:
        return every[0]
    names = (*FIELDS, "objective", "conservatism")
    return {"problem": [label for label, _ in solved]} | {name: [t[name] for t in every] for name in names}


def _conservatism(target: InducedTarget) -> dict[str, Any]:
    row = target.conservatism().to_dict("records")[0]
    return {str(name): value if isinstance(value, str) or _finite(value) else None for name, value in row.items()}


def _finite(value: Any) -> bool:
    return bool(math.isfinite(value))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a diagnosis for JSON: None for a number that is undefined, the largest float for an infinite one."""
    plain = frame.astype(object)
    for name in frame.columns[[kind.kind == "f" for kind in map(pd.api.types.pandas_dtype, frame.dtypes)]]:
        plain[name] = pd.Series([json_number(value) for value in frame[name]], index=frame.index, dtype=object)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def actions(label: str, target: InducedTarget, labeled: bool) -> pd.DataFrame:
    """One row per action of a target."""
    columns = {"action": range(len(target.policy)), "behavior": target.behavior, "reward": target.reward}
    columns |= {name: getattr(target, name) for name in ("advantage", "policy", "log_policy", "log_ratio", "nominal")}
    frame = pd.DataFrame(columns)
    if labeled:
        frame.insert(0, "problem", label)
    return frame


def facts(target: InducedTarget) -> str:
    """Return the regime of a target and how conservative it is, in a line, or two where there is no target."""
    numbers = target.conservatism().iloc[0]
    shown = ("kl", "max_ratio", "value", "effective_temperature", "pessimism_factor")
    said = [f"{target.objective}: regime {target.regime}", f"kappa {float(target.kappa):.4g}"]
    said += [f"{name.replace('_', ' ')} {numbers[name]:.4g}" for name in shown]
    said += [f"leak {float(target.leak):.4g}"] if target.leak > 0 else []
    why = read_status(getattr(target.objective, "name", ""), str(target.status))
    line = ", ".join(said) + ("" if target.status == "converged" else f" ({target.status})")
    return line if why is None else f"{line}\n{why}"


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Lines "name: value" of a summary, the shares with the number of groups that they are shares of."""
    of = {"share": f" (of {summary['share_of']} solved groups)"}
    of["population_share"] = f" (of {summary['population_share_of']} groups)"
    if summary["population_note"]:
        of["population_share"] += f"; undefined: {summary['population_note']}"
    apart = ("recommendation", "step_note", "share_of", "population_share_of", "population_note")
    return [f"{name}: {_short(value)}{of.get(name, '')}" for name, value in summary.items() if name not in apart]


def _short(value: Any) -> str:
    """Return a value of a summary as a line shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, float):
        return "inf" if value == sys.float_info.max else f"{value:.4g}"
    return "-" if value is None else str(value)
