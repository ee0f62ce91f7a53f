"""The command ``diagnose``: what an objective does to the prompt groups of a rollout log."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from pessimism import files
from pessimism.cli.hyper import add_hyper, chosen_objective
from pessimism.cli.options import (
    LOG,
    OBJECTIVE,
    add_format,
    add_log_options,
    add_log_probs,
    add_trainer,
    check_format,
    log_options,
    objective_of,
    trainer_of,
)
from pessimism.cli.output import fitted_lines, paragraph, print_columns
from pessimism.cli.parser import Parser, integer, number
from pessimism.cli.standard_input import readable_log
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.measured import Measured
from pessimism.diagnosis.summary import BANDS, EFFECTS, json_number, summarize
from pessimism.diagnosis.verdict import VerdictRules
from pessimism.diagnosis.wording import distance
from pessimism.messages import cut, plain
from pessimism.rollouts.prompts import last_user_turn

USAGE = "LOG... [options]"
HELP = """\
Say which policy an objective pulls each prompt group of a rollout log towards. A
group is the completions that were sampled for one prompt at one training step;
there are far more completions than those, so that in the negative regime some
mass moves to completions that the log does not show. pessimism target --help
says what the words mean."""
_SHOWN = (
    *("step", "prompt", "n", "reward_mean", "kappa", "effective_temperature", "pessimism_factor"),
    *("kl", "tv_nominal", "max_ratio", "leak", "verdict", "reading"),
)
_STEPS = 4  # of the first and of the last steps in the table
_RULES = {
    "timid_kl": "KL from the behavior, in nats, below which a target that gains little is too timid",
    "timid_gain": "part of the possible gain below which it is too timid",
    "greedy_gain": "part of the possible gain from which on a target is greedy",
    "nominal_tv": "total variation to the nominal target below which it is nominal",
    "leak": "part of the mass from which on a group leaks",
    "leaking_share": "part of the groups that may leak, earn less or have no target before the log is called so",
    "few": "prompts with a signal below which there is no verdict",
    "hard": "pass rate below which a group is hard",
    "easy": "pass rate above which a group is easy",
}
_PROMPT = 24  # characters of a prompt in the table
_LEAST = {"reading": 40, "verdict": 22}  # characters of the last column of a table before others give way
_GIVE_WAY = (  # where the terminal is too narrow, in this order
    *(
        "kappa",
        "pessimism_factor",
        "effective_temperature",
        "tv_nominal",
        "advantage_factor",
        "max_ratio",
        "reward_mean",
    ),
    *("value", "n", "kl", "group", "step", "leak"),
)
_WORST = {"leaking": 0, "no target": 1, "no solution": 2, "unmeasured": 4, "no signal": 5}  # all other words are 3


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "path",
        metavar="LOG",
        type=Path,
        nargs="+",
        help=f"{LOG}. It may be - for standard input; a line may have 16 MiB, and a log 10000 columns.",
    )
    parser.add_argument("--objective", metavar="NAME", help=f"{OBJECTIVE} The default is kimi.")
    add_trainer(parser, "its objective is taken where --objective is not given.")
    add_log_options(parser)
    add_log_probs(parser)
    advice = parser.add_argument_group("report")
    advice.add_argument(
        "--share",
        metavar="FLOAT",
        type=number,
        default=0.9,
        help="Share of the groups that the recommended change brings into the positive regime; the default is 0.9.",
    )
    advice.add_argument(
        "--details",
        action="store_true",
        help="Print every number of the summary, too, with its interval.",
    )
    advice.add_argument(
        "--rows",
        metavar="INT",
        type=integer,
        default=10,
        help="Number of groups in the table, 0 for no table; the summary is over all groups. The worst come first: "
        "those that leak, by how much; those without a target, then without a solution; the others by how near "
        "they are to taking all of the possible gain, or none; last those without a signal. Equals keep the order of "
        "the log. "
        f"Where the terminal is too narrow, columns give way in this order: {', '.join(_GIVE_WAY)}. The default is 10.",
    )
    advice.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="Folder to write diagnose_OBJECTIVE.csv, with a row for each group, and diagnose_OBJECTIVE.json, the "
        "summary, into.",
    )
    words = parser.add_argument_group("verdict")
    for name, what in _RULES.items():
        default = getattr(VerdictRules(), name)
        kind, metavar = (integer, "INT") if isinstance(default, int) else (number, "FLOAT")
        words.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=metavar,
            type=kind,
            help=f"{what[0].upper()}{what[1:]}; the default is {default:g}.",
        )
    add_format(
        parser,
        "null is a number that is undefined, and 1.7976931348623157e308 is infinity, such as the critical_beta of a "
        "group that is positive at every temperature",
    )
    add_hyper(parser)


def run(options: argparse.Namespace) -> None:
    """Diagnose, print, write."""
    _check(options)
    rules = _rules(options)
    trained = trainer_of(options)
    objective = chosen_objective(objective_of(options, trained, "kimi"), options)
    with readable_log(options.path) as path:
        report = diagnose(path, objective, rules=rules, log_options=log_options(options, trained))
    frame, summary = report.frame, summarize(report, share=options.share, rules=rules)
    measured = report.measured
    summary["measured"] = None if measured is None else measured.to_dict()
    if options.out is not None:
        _write(frame, summary, options.out / f"diagnose_{objective.name}")
    if options.json:
        print(json.dumps({"summary": summary, "groups": records(frame)}, allow_nan=False))
    elif options.csv:
        print_columns(_columns(frame), csv=True)
    else:
        given = options.objective is not None or options.trainer is not None
        assumed = "" if given else ", the default of this command: --objective names another one"
        _print(frame, summary, measured, options.rows, details=options.details, assumed=assumed)


def _check(options: argparse.Namespace) -> None:
    check_format(options)
    if options.rows < 0:
        raise ValueError(f"--rows must be >= 0, got {options.rows}")
    for place in () if options.out is None else (options.out, *options.out.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"--out must be a folder, but {place} is a file")


def _rules(options: argparse.Namespace) -> VerdictRules:
    """The thresholds of the verdict, as options set them."""
    given = {name: getattr(options, name) for name in _RULES if getattr(options, name) is not None}
    try:
        return VerdictRules(**given)
    except ValueError as error:
        raise ValueError(f"--{str(error).replace('_', '-', 1)}") from None


def _write(frame: pd.DataFrame, summary: dict[str, Any], stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    said = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write(
        {
            Path(f"{stem}.csv"): lambda part: frame.to_csv(part, index=False),
            Path(f"{stem}.json"): lambda part: part.write_text(said, encoding="utf-8"),
        }
    )


def _print(
    frame: pd.DataFrame,
    summary: dict[str, Any],
    measured: Measured | None,
    rows: int,
    *,
    details: bool,
    assumed: str,
) -> None:
    """Print what was read, the verdict and what to do, and then what they come from."""
    for line in read_lines(summary):
        print(paragraph(line))
    print(paragraph(f"objective: {summary['objective']}{assumed}"))
    print(f"\n{paragraph('verdict: ' + summary['verdict']['text'])}")
    print(paragraph(f"recommendation: {summary['recommendation']['text']}"))
    _print_effects(summary)
    if measured is not None:
        _print_measured(measured)
    if rows:
        head = worst_first(frame).head(rows)
        short = [cut(plain(last_user_turn(prompt)), _PROMPT) for prompt in head["prompt"].astype(str)]
        seen = head[_shown(frame)].assign(prompt=short, tv_nominal=head["tv_nominal"].map(distance))
        _print_fitted(_columns(seen))
        if len(frame) > len(head):
            print(f"... {len(frame) - len(head)} more groups (--rows {len(frame)}, --csv or --out for all)")
    if details:
        print()
        for line in summary_lines(summary):
            print(line)
    else:
        print("\n--details prints every number of the summary, with its interval")


def worst_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups in the order of the table: what leaks most, what has no target, what is most greedy or gains least."""
    rank = frame["verdict"].map(_WORST).fillna(3)
    within = (frame["gain_share"] - 0.5).abs().where(rank == 3, 0.0).where(rank != 0, frame["leak"])
    order = pd.DataFrame({"rank": rank, "within": -within}).sort_values(["rank", "within"], kind="stable")
    return frame.loc[order.index]


def _print_fitted(columns: dict[str, list[Any]]) -> None:
    """Print a table that fits the terminal, and what gave way."""
    width = shutil.get_terminal_size((100, 24)).columns
    lines, left_out = fitted_lines(columns, width, dropped=_GIVE_WAY, least=_LEAST[list(columns)[-1]])
    print("\n".join(lines))
    if left_out:
        print(f"not shown: {', '.join(left_out)} (a wider terminal, --csv, --json or --out)")


def _shown(frame: pd.DataFrame) -> list[str]:
    """Columns of the table; the factor in units of the advantage, too, where a reading is in these."""
    shown, same = list(_SHOWN), frame["advantage_factor"].equals(frame["pessimism_factor"])
    if not same:
        shown.insert(shown.index("pessimism_factor"), "advantage_factor")
    if "group" in frame:
        shown.insert(shown.index("prompt") + 1, "group")
    return shown


def read_lines(summary: dict[str, Any]) -> list[str]:
    """Lines that say what was read, and warnings of what looks as if it were read wrongly."""
    lines = [f"read: {summary['read']['lines'][0]}", *summary["read"]["lines"][1:]]
    step = [summary["step_note"]] if summary["step_note"] else []
    return [plain(line) for line in (*lines, *(f"warning: {said}" for said in (*summary["read"]["warnings"], *step)))]


def _print_effects(summary: dict[str, Any]) -> None:
    """Print what the targets do, medians over the groups with a signal: by pass rate, then by step."""
    bands = {name: summary["effect"][name] for name in ("all", *BANDS)}
    print(f"\nmedians over groups with a signal, by {summary['effect']['bands_by']}:")
    _print_fitted(_effect_columns("groups", bands))
    steps = {str(of["step"]): of for of in summary["by_step"]}
    if len(steps) > 1:
        shown = list(steps) if len(steps) <= 2 * _STEPS else [*list(steps)[:_STEPS], *list(steps)[-_STEPS:]]
        left = f", the first and the last {_STEPS} of {len(steps)}" if len(shown) < len(steps) else ""
        print(f"\nby step{left}:")
        _print_fitted(_effect_columns("step", {step: steps[step] for step in shown}))
    print()


def _print_measured(measured: Measured) -> None:
    """Print what the log-probabilities say of the policy, beside what is predicted for the same groups."""
    print(measured.head() + (":" if len(measured.table) else ""))
    if len(measured.table):
        shown = {str(name): measured.table[name].tolist() for name in measured.table if name != "estimator"}
        print_columns({"measure": list(measured.table.index)} | shown, csv=False)
    for line in measured.lines():
        print(paragraph(plain(line)))
    print()


def _effect_columns(first: str, parts: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Columns of a table with a row for each part of the log."""
    columns: dict[str, list[Any]] = {first: list(parts), "count": [of["groups"] for of in parts.values()]}
    for name in EFFECTS:
        columns[name] = [math.nan if of[name][0] is None else of[name][0] for of in parts.values()]
    columns["tv_nominal"] = list(map(distance, columns["tv_nominal"]))
    words = [f"too few groups: {of['alone']}" if of.get("alone") else " or ".join(of["words"]) for of in parts.values()]
    return columns | {"verdict": words}


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a diagnosis for JSON: None for a number that is undefined, the largest float for an infinite one."""
    columns = _columns(frame)
    for name, values in columns.items():
        if frame[name].dtype.kind == "f":
            columns[name] = [json_number(value) for value in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Lines "name: value" of a summary, the shares with the number of groups that they are shares of."""
    without = summary["groups"] - summary["informative"]
    silent = f", {without} of them without a signal" if without else ""
    of = {"share": f" (of {summary['share_of']} solved groups{silent})"}
    of["population_share"] = f" (of {summary['population_share_of']} groups{silent})"
    if summary["population_note"]:
        of["population_share"] += f"; undefined: {summary['population_note']}"
    apart = {"objective", "recommendation", "read", "step_note", "share_of", "population_share_of", "population_note"}
    apart |= {"interval", "verdict", "effect", "by_step", "measured"}  # printed by themselves
    interval = summary["interval"]
    shown = {name: value for name, value in summary.items() if name not in apart}
    if (median := shown["median_tv_nominal"]) is not None:
        shown["median_tv_nominal"] = distance(median)
        ends = interval["median_tv_nominal"]
        interval = interval | {"median_tv_nominal": [None if end is None else distance(end) for end in ends]}
    return [f"{name}: {_short(value, interval.get(name))}{of.get(name, '')}" for name, value in shown.items()]


def _short(value: Any, interval: Any = None) -> str:
    """Return a value of a summary as a line shows it, with the ends of its 95% interval."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v, (interval or {}).get(k))}" for k, v in value.items())
    ends = "" if interval is None or None in interval else f" [{_short(interval[0])}, {_short(interval[1])}]"
    if isinstance(value, float):
        return ("inf" if value == sys.float_info.max else f"{value:.4g}") + ends
    return "-" if value is None else plain(str(value))
