"""The command ``compare``: several objectives side by side, in a table that fits the terminal."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd
import tyro

from pessimism.cli.hyper import parse_objective
from pessimism.cli.options import Flag, Float, Source
from pessimism.cli.output import Format
from pessimism.losses.registry import Objective, make_objective, objectives
from pessimism.progress import progress

_SHORT = {"pessimism_factor": "factor", "effective_temperature": "T_eff", "max_ratio": "max_w"}
_NUMBERS = ("kappa", "pessimism_factor", "effective_temperature", "kl", "value")
_STATUS = {"converged": "", "vanishing_support": "vanishing", "local_minimum": "local min"}
_LABEL = 24  # characters of a problem's name


@dataclass(frozen=True)
class Compare:
    """Several objectives side by side on a bandit; with --json, null is undefined or infinite."""

    source: tyro.conf.OmitArgPrefixes[Source] = field(default_factory=Source)
    objectives: tuple[str, ...] = ()
    """Names, each with hyper-parameters of its own if need be: kimi oapl:beta1=0.5. Without it all, or with --reference
    all that take one."""
    beta: Float = None
    """Temperature of every objective that has one; its own hyper-parameters win. Without it each has its default."""
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    unseen: Flag = False
    """The actions are only those seen: in the negative regime mass may leave them."""

    def run(self) -> None:
        """Solve and print one row per problem and objective."""
        problems = self.source.problems()
        made = [parse_objective(spec, self.beta) for spec in self.objectives or self._all()]
        solving = ((o, *pair) for o in made for pair in self.source.solve(problems, o, self.unseen))
        rows, names = [], []
        for objective, label, target in progress(solving, "solving", total=len(made) * len(problems)):
            row: dict[Any, Any] = {"problem": label, "objective": str(objective), "status": str(target.status)}
            metrics = target.conservatism().to_dict("records")[0]
            rows.append(row | metrics | {f"pi[{i}]": float(p) for i, p in enumerate(target.policy)})
            names.append(short_setting(objective, self.beta))
        frame = pd.DataFrame(rows)
        if self.format.json:
            print(json.dumps({"comparison": json.loads(frame.to_json(orient="records", double_precision=15))}))
        elif self.format.csv:
            self.format.table(frame)
        else:
            self._print(frame.assign(objective=names))

    def _all(self) -> tuple[str, ...]:
        """Every registered objective that the problem makes sense for."""
        return tuple(n for n, cls in objectives().items() if self.source.reference is None or cls.takes_reference)

    def _print(self, frame: pd.DataFrame) -> None:
        shown, left_out = fitted(frame, shutil.get_terminal_size((100, 24)).columns)
        self.format.table(shown)
        common = "" if self.beta is None else f", temperature {self.beta:g}"
        print(f"Settings not shown: the defaults (pessimism objectives){common}.")
        print(", ".join(f"{short}: {name}" for name, short in _SHORT.items() if short in shown) + ".")
        print(f"{'Not shown: ' + ', '.join(left_out) + '. ' if left_out else ''}All digits and columns: --csv, --json.")


def short_setting(objective: Objective, beta: float | None) -> str:
    """The objective as ``--objectives`` takes it, without what is the default (or the temperature beta of all).

    Examples
    --------
    >>> short_setting(parse_objective("shifted_mean:shift=2", 0.25), 0.25)
    'shifted_mean:shift=2'
    >>> short_setting(parse_objective("oapl:beta2=0.1", None), None)
    'oapl:beta2=0.1'
    """
    usual = make_objective(objective.name)
    assert isinstance(usual, Objective)
    usual = usual if beta is None else usual.at_temperature(beta)
    given = {f.name: getattr(objective, f.name) for f in fields(objective)}
    changed = [f"{k}={_written(v)}" for k, v in given.items() if v != getattr(usual, k)]
    return objective.name + (":" if changed else "") + ",".join(changed)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_written, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def fitted(frame: pd.DataFrame, width: int) -> tuple[pd.DataFrame, list[str]]:
    """A comparison as a table of short texts, and the columns that the width leaves no room for.

    Policy and largest ratio give way; the rest stays whatever the width.
    """
    longest = max(len("objective"), *frame["objective"].str.len())
    shown = pd.DataFrame({"objective".ljust(longest): frame["objective"].str.ljust(longest)})
    if frame["problem"].nunique() > 1:
        shown["problem"] = frame["problem"].str.slice(0, _LABEL)
    shown["regime"] = frame["regime"]
    if (frame["status"] != "converged").any():
        shown["status"] = [_STATUS.get(status, status.replace("_", " ")) for status in frame["status"]]
    for name in (*_NUMBERS, *(["leak"] if (frame["leak"] > 0).any() else [])):
        shown[_SHORT.get(name, name)] = frame[name].map(_digits)
    last: dict[str, Any] = {"max_w": frame["max_ratio"].map(_digits), "policy": _policies(frame)}
    for names in (["max_w", "policy"], ["policy"], ["max_w"]):
        wider = shown.assign(**{name: last[name] for name in names})
        if len(wider.to_string(index=False).partition("\n")[0]) <= width:
            return wider, [name for name in last if name not in names]
    return shown, [*last]


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _policies(frame: pd.DataFrame) -> list[str]:
    """The probabilities of each row to two places; what is exactly 0 as such."""
    policies = frame[[name for name in frame if str(name).startswith("pi[")]].itertuples(index=False)
    said = [" ".join("   0" if p == 0 else f"{p:.2f}" for p in row if not math.isnan(p)) for row in policies]
    longest = max(map(len, said))
    return [text.ljust(longest) for text in said]
