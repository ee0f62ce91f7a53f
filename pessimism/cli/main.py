"""Console script ``pessimism``: target, compare, diagnose, objectives."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from pessimism import __version__
from pessimism.cli.compare import Compare
from pessimism.cli.errors import not_a_command, one_line
from pessimism.cli.hyper import Hyper, chosen_objective
from pessimism.cli.options import File, Flag, Source, Text
from pessimism.cli.output import Format, actions, as_json, facts, records, summary_lines
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.losses.index import described
from pessimism.losses.registry import objectives
from pessimism.progress import progress

_HELP = """Which policy an off-policy RL objective really converges to, and how conservative that policy is:
of a bandit (target, compare) or of the prompt groups in a rollout log (diagnose).

Examples:
  pessimism target --behavior 0.4,0.3,0.2,0.1 --reward 0.2,0.4,0.6,0.8 --objective kimi --beta 0.25
  pessimism compare --behavior 0.5,0.5 --reward 0,1 --objectives kimi shifted_mean:shift=2
  pessimism diagnose LOG --objective oapl --beta1 0.5
"""


@dataclass(frozen=True)
class Target:
    """The policy that an objective induces on a bandit.

    It is the target among the given actions: no mass leaves them, unless --unseen says that there are others (diagnose
    always does). With --json, null is a number that is undefined or infinite.
    """

    objective: str
    """Registered name (see pessimism objectives), with hyper-parameters if need be: kimi:beta=0.1."""
    source: tyro.conf.OmitArgPrefixes[Source] = field(default_factory=Source)
    hyper: tyro.conf.OmitArgPrefixes[Hyper] = field(default_factory=Hyper)
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    unseen: Flag = False
    """The actions are only those seen: in the negative regime mass may leave them."""

    def run(self) -> None:
        """Solve and print."""
        objective = chosen_objective(self.objective, self.hyper)
        problems = self.source.problems()
        solving = self.source.solve(problems, objective, self.unseen)
        solved = list(progress(solving, "solving", total=len(problems)))
        if self.format.json:
            print(json.dumps(as_json(solved), allow_nan=False))
            return
        self.format.table(pd.concat([actions(label, t, len(solved) > 1) for label, t in solved], ignore_index=True))
        if not self.format.csv:
            for label, target in solved:
                print(("" if len(solved) == 1 else f"{label}: ") + facts(target))


@dataclass(frozen=True)
class Diagnose:
    """Which policy each prompt group of a rollout log pulls towards under an objective.

    The completions of a group are those seen of a far larger space: in the negative regime mass leaves them. With
    --json, null is undefined, and infinity (a critical_beta of "always", for one) is 1.7976931348623157e308.
    """

    path: tyro.conf.Positional[Path]
    """TRL completions (parquet file or folder), verl rollouts (JSONL), or plain CSV, JSONL, parquet."""
    objective: str = "kimi"
    """Registered name (see pessimism objectives), with hyper-parameters if need be: kimi:beta=0.1."""
    hyper: tyro.conf.OmitArgPrefixes[Hyper] = field(default_factory=Hyper)
    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)
    prompt_column: Text = None
    """Column of the prompt, where it is not found by itself."""
    reward_column: Text = None
    """Column of the reward, or several separated by commas, summed."""
    step_column: Text = None
    """Column of the training step; groups are keyed by step and prompt."""
    skip_bad: Flag = False
    """Count malformed rows and go on, instead of stopping at the first."""
    share: float = 0.9
    """Share of the groups that the recommendation brings into the positive regime."""
    rows: int = 10
    """Groups shown in the table, 0 for no table; the summary is over all."""
    out: File = None
    """Folder to write diagnose_OBJECTIVE.csv (a row a group) and diagnose_OBJECTIVE.json (summary) into."""

    def run(self) -> None:
        """Diagnose, print, write."""
        self._check()
        objective = chosen_objective(self.objective, self.hyper)
        frame = diagnose(
            self.path,
            objective,
            prompt_column=self.prompt_column,
            reward_column=self.reward_column,
            step_column=self.step_column,
            skip_bad=self.skip_bad,
        )
        summary = summarize(frame, share=self.share)
        if self.out is not None:
            self._write(frame, summary, self.out / f"diagnose_{self.objective.partition(':')[0]}")
        if self.format.json:
            print(json.dumps({"summary": summary, "groups": records(frame)}, allow_nan=False))
        elif self.format.csv:
            self.format.table(frame)
        else:
            self._print(frame, summary)

    def _check(self) -> None:
        if self.rows < 0:
            raise ValueError(f"--rows must be >= 0, got {self.rows}")
        for place in () if self.out is None else (self.out, *self.out.parents):
            if place.exists() and not place.is_dir():
                raise ValueError(f"--out must be a folder, but {place} is a file")

    def _write(self, frame: pd.DataFrame, summary: dict[str, Any], stem: Path) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(f"{stem}.csv", index=False)
        Path(f"{stem}.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def _print(self, frame: pd.DataFrame, summary: dict[str, Any]) -> None:
        head = frame.head(self.rows)
        if self.rows:
            shown = ["step", "prompt", "n", "reward_mean", "kappa", "effective_temperature", "pessimism_factor"]
            shown += ["kl", "tv_nominal", "max_ratio", "leak", "reading"]
            reading = head["reading"].str.ljust(head["reading"].str.len().max())
            self.format.table(head[shown].assign(prompt=head["prompt"].astype(str).str.slice(0, 24), reading=reading))
            if len(frame) > len(head):
                print(f"... {len(frame) - len(head)} more groups (--rows {len(frame)}, --csv or --out for all)")
            print()
        if summary["step_note"]:
            print(summary["step_note"])
        for line in summary_lines(summary):
            print(line)
        print(f"recommendation: {summary['recommendation']['text']}")


@dataclass(frozen=True)
class Objectives:
    """The registered objectives: paper, loss, defaults, what each induces, and how that was verified."""

    format: tyro.conf.OmitArgPrefixes[Format] = field(default_factory=Format)

    def run(self) -> None:
        """Print the list."""
        rows = [described(cls) for cls in objectives().values()]
        if self.format.json:
            print(json.dumps({"objectives": rows}))
        elif self.format.csv:
            self.format.table(pd.DataFrame(rows))
        else:
            for row in rows:
                print(f"{row['name']}({row['defaults']})  {row['title']}, arXiv {row['paper']}")
                print(f"    loss     {row['loss']}")
                print(f"    data     {row['sampling']}, reference {row['reference']}, baseline {row['baseline']}")
                print(f"    induces  {row['induces']}")
                print(f"    regime   {row['regime']}; verified: {row['verified']}")


_COMMANDS = {"target": Target, "compare": Compare, "diagnose": Diagnose, "objectives": Objectives}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script; returns 0, or 2 after one line on stderr for a user's mistake."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--version"]:
        print(f"pessimism {__version__}")
        return 0
    if arguments[:1] not in (["-h"], ["--help"]) and (not arguments or arguments[0] not in _COMMANDS):
        return _fail(not_a_command(arguments, _COMMANDS))
    try:
        if (chosen := _parsed(arguments)) is not None:
            chosen.format.check()
            chosen.run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        sys.stderr.close()
    except (ValueError, TypeError, OSError) as error:
        return _fail(str(error))
    return 0


def _parsed(arguments: list[str]) -> Any:
    """Return the command that the arguments ask for, None where they asked for help and got it."""
    command = tyro.conf.OmitSubcommandPrefixes[
        Annotated[Target, tyro.conf.subcommand("target")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
        | Annotated[Objectives, tyro.conf.subcommand("objectives")]
    ]
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(command, prog="pessimism", args=arguments, description=_HELP, config=config)
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
        raise ValueError(one_line(said.getvalue(), arguments[0])) from None


def _fail(message: str) -> int:
    print(f"pessimism: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
