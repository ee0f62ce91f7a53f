"""Console script ``pessimism``: target, compare, diagnose, objectives."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from pessimism.cli_options import Format, Hyper, Source, parse_objective
from pessimism.diagnose import diagnose
from pessimism.objectives import Objective, make_objective, objectives
from pessimism.result import FIELDS, InducedTarget
from pessimism.summary import summarize


@dataclass(frozen=True)
class Target:
    """The policy that an objective induces on a bandit."""

    objective: str
    """Registered name, see `pessimism objectives`."""
    source: tyro.conf.OmitArgPrefixes[Source] = field(default_factory=Source)
    hyper: tyro.conf.OmitArgPrefixes[Hyper] = field(default_factory=Hyper)
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    unseen: bool = False
    """The actions are only those seen: in the negative regime mass may leave them."""

    def run(self) -> None:
        """Solve and print."""
        objective = make_objective(self.objective, **self.hyper.given())
        solved = self.source.solve(objective, self.unseen)
        if self.format.json:
            print(json.dumps(_as_json(solved)))
            return
        self.format.table(pd.concat([_actions(label, t, len(solved) > 1) for label, t in solved], ignore_index=True))
        if not self.format.csv:
            for label, target in solved:
                print(("" if len(solved) == 1 else f"{label}: ") + _facts(target))


@dataclass(frozen=True)
class Compare:
    """Several objectives side by side on a bandit."""

    source: tyro.conf.OmitArgPrefixes[Source] = field(default_factory=Source)
    objectives: tuple[str, ...] = ()
    """Names, each with hyper-parameters of its own if need be: kimi oapl:beta1=0.5. Default: all."""
    beta: float | None = None
    """Temperature of every objective that has one; its own hyper-parameters win."""
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    unseen: bool = False
    """The actions are only those seen: in the negative regime mass may leave them."""

    def run(self) -> None:
        """Solve and print one row per problem and objective."""
        rows = []
        for spec in self.objectives or tuple(objectives()):
            objective = parse_objective(spec, self.beta)
            for label, target in self.source.solve(objective, self.unseen):
                row: dict[Any, Any] = {"problem": label, "objective": spec, "status": str(target.status)}
                metrics = target.conservatism().to_dict("records")[0]
                rows.append(row | metrics | {f"pi[{i}]": float(p) for i, p in enumerate(target.policy)})
        frame = pd.DataFrame(rows)
        if self.format.json:
            print(json.dumps({"comparison": json.loads(frame.to_json(orient="records", double_precision=15))}))
            return
        if not self.format.csv:
            shown = ["objective", "regime", "status", "kappa", "pessimism_factor", "effective_temperature"]
            shown += ["kl", "value", "max_ratio", "leak", *(c for c in map(str, frame) if c.startswith("pi["))]
            frame = frame[["problem", *shown] if frame["problem"].nunique() > 1 else shown]
        self.format.table(frame)


@dataclass(frozen=True)
class Diagnose:
    """Which policy each prompt group of a rollout log pulls towards under an objective."""

    path: tyro.conf.Positional[Path]
    """TRL completions (parquet file or folder), verl rollouts (JSONL), or plain CSV, JSONL, parquet."""
    objective: str = "kimi"
    """Registered name, see `pessimism objectives`."""
    hyper: tyro.conf.OmitArgPrefixes[Hyper] = field(default_factory=Hyper)
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    prompt_column: str | None = None
    """Column of the prompt, where it is not found by itself."""
    reward_column: str | None = None
    """Column of the reward, or several separated by commas, summed."""
    step_column: str | None = None
    """Column of the training step; groups are keyed by step and prompt."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""
    share: float = 0.9
    """Share of the groups that the recommendation brings into the positive regime."""
    rows: int = 10
    """Groups shown in the table; the summary is over all."""
    out: Path | None = None
    """Folder to write diagnose_OBJECTIVE.csv (a row a group) and diagnose_OBJECTIVE.json (summary) into."""

    def run(self) -> None:
        """Diagnose, print, write."""
        frame = diagnose(
            self.path,
            self.objective,
            prompt_column=self.prompt_column,
            reward_column=self.reward_column,
            step_column=self.step_column,
            skip_bad=self.skip_bad,
            **self.hyper.given(),
        )
        summary = summarize(frame, share=self.share)
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            frame.to_csv(self.out / f"diagnose_{self.objective}.csv", index=False)
            text = json.dumps(summary, indent=2, allow_nan=False)
            (self.out / f"diagnose_{self.objective}.json").write_text(text + "\n", encoding="utf-8")
        if self.format.json:
            print(json.dumps({"summary": summary, "groups": json.loads(frame.to_json(orient="records"))}))
        elif self.format.csv:
            self.format.table(frame)
        else:
            self._print(frame, summary)

    def _print(self, frame: pd.DataFrame, summary: dict[str, Any]) -> None:
        shown = ["step", "prompt", "n", "reward_mean", "baseline", "Z", "regime", "kappa", "effective_temperature"]
        shown += ["pessimism_factor", "kl", "max_ratio", "leak"]
        head = frame.head(self.rows)
        self.format.table(head[shown].assign(prompt=head["prompt"].astype(str).str.slice(0, 24)))
        if len(frame) > len(head):
            print(f"... {len(frame) - len(head)} more groups (--rows {len(frame)}, --csv or --out for all)")
        print()
        for name, value in summary.items():
            if name != "recommendation":
                print(f"{name}: {_short(value)}")
        print(f"recommendation: {summary['recommendation']['text']}")


@dataclass(frozen=True)
class Objectives:
    """The registered objectives: paper, loss, defaults, and what each induces."""

    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)

    def run(self) -> None:
        """Print the list."""
        rows = [_describe(cls) for cls in objectives().values()]
        if self.format.json:
            print(json.dumps({"objectives": rows}))
        elif self.format.csv:
            self.format.table(pd.DataFrame(rows))
        else:
            for row in rows:
                print(f"{row['name']}({row['defaults']})  {row['title']}, arXiv {row['paper']}")
                print(f"    loss     {row['loss']}\n    induces  {row['induces']}")


def _describe(cls: type[Objective]) -> dict[str, str]:
    defaults = ", ".join(f"{f.name}={f.default!r}" for f in fields(cls) if f.default is not MISSING)
    return {
        "name": cls.name,
        "title": cls.title,
        "paper": cls.paper,
        "loss": cls.formula,
        "defaults": defaults,
        "induces": cls.induces,
        "reference": cls.reference_policy,
        "level": cls.level,
    }


def _as_json(solved: list[tuple[str, InducedTarget]]) -> dict[str, Any]:
    """The fields of one target, or of several as lists in the order of the problems."""
    if len(solved) == 1:
        return solved[0][1].to_dict()
    every = [target.to_dict() for _, target in solved]
    return {"problem": [label for label, _ in solved]} | {name: [t[name] for t in every] for name in FIELDS}


def _actions(label: str, target: InducedTarget, labelled: bool) -> pd.DataFrame:
    columns = {"action": range(len(target.policy)), "behavior": target.behavior, "reward": target.reward}
    columns |= {name: getattr(target, name) for name in ("advantage", "policy", "log_policy", "log_ratio", "nominal")}
    frame = pd.DataFrame(columns)
    if labelled:
        frame.insert(0, "problem", label)
    return frame


def _facts(target: InducedTarget) -> str:
    numbers = target.conservatism().iloc[0]
    shown = ("kl", "max_ratio", "value", "effective_temperature", "pessimism_factor")
    facts = [f"{target.objective}: regime {target.regime}", f"kappa {float(target.kappa):.4g}"]
    facts += [f"{name.replace('_', ' ')} {numbers[name]:.4g}" for name in shown]
    facts += [f"leak {float(target.leak):.4g}"] if target.leak > 0 else []
    return ", ".join(facts) + ("" if target.status == "converged" else f" ({target.status})")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script; returns 0, or 2 after one line on stderr for a user's mistake."""
    command = tyro.conf.OmitSubcommandPrefixes[
        Annotated[Target, tyro.conf.subcommand("target")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
        | Annotated[Objectives, tyro.conf.subcommand("objectives")]
    ]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            chosen: Any = tyro.cli(
                command, prog="pessimism", args=arguments, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        return _fail(_one_line(said.getvalue()))
    try:
        chosen.run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        sys.stderr.close()
    except (ValueError, TypeError, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"pessimism: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _one_line(box: str) -> str:
    """The first paragraph of tyro's framed message, without the frame."""
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()[1:]]
    body = []
    for line in lines:
        if not line or set(line) == {"─"}:
            break
        body.append(line)
    return f"{' '.join(body)} (see pessimism --help)"


if __name__ == "__main__":
    sys.exit(main())
