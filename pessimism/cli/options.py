"""Options that several commands share: the bandit, the objective, and how to print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pessimism.cli.output import paragraph
from pessimism.cli.problems import LabeledBandit, parse_numbers
from pessimism.literals import real
from pessimism.messages import cut, plain, show
from pessimism.rollouts.options import SINGLETON, LogOptions, require_log
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

if TYPE_CHECKING:
    from pessimism.comparison.problems import Solve
    from pessimism.trainers.settings import TrainerSettings

OBJECTIVE = (
    "Name of the objective to train with, with its hyper-parameters after a colon if need be, as in "
    "kimi:beta=0.1; pessimism objectives lists the names."
)
LOG = (
    "Files or folders of rollouts, or patterns in quotes: as TRL, verl, ms-swift, NeMo-RL, open-instruct, prime-rl, "
    "SkyRL, AReaL, slime, tinker-cookbook, verifiers, ROLL or Atropos write them, or any CSV, JSONL, JSON, parquet or "
    "saved data set with a column for the prompt and one for the reward, also with .gz or .zst"
)
_COLUMNS = {
    "prompt_column": ("NAME", "Column of the prompt; defaults to prompt, else input."),
    "reward_column": (
        "NAME",
        "Column of the reward, or several names separated by commas, whose sum is the reward, each with a weight after "
        "a colon if need be, as in accuracy:1,format:0.1; defaults to reward, else score, else the only reward "
        "function of a TRL log.",
    ),
    "step_column": (
        "NAME",
        "Column of the training step; defaults to step, else global_step, and without such a column all rows are one "
        "step.",
    ),
    "group_column": (
        "NAME",
        "Column, or several separated by commas, whose value is the same for the completions of one group at a step; "
        "defaults to uid in a log of verl, else to the prompt.",
    ),
    "advantage_column": (
        "NAME",
        "Column of advantages, which replace those of the objective. Without this option those that a log has are only "
        "compared with what its groups give.",
    ),
    "baseline_column": ("NAME", "Column of baselines, which replace that of the objective."),
    "length_column": (
        "NAME",
        "Column of the tokens of a completion, for objectives that read its length; defaults to length, else "
        "completion_length, else response_length.",
    ),
}


@dataclass(frozen=True)
class Source:
    """The bandit: on the command line, or one or many in a file."""

    behavior: str | None = None
    reward: str | None = None
    reference: str | None = None
    input: Path | None = None

    def problems(self) -> list[LabeledBandit]:
        """Read the problems, which are not validated as probabilities yet."""
        if self.input is not None:
            if self.behavior is not None or self.reward is not None or self.reference is not None:
                raise ValueError("--input already holds behavior and reward: give one or the other")
            from pessimism.cli.problem_files import read_problems  # with pandas
            from pessimism.cli.standard_input import readable

            with readable(self.input) as path:
                return read_problems(path)
        if self.behavior is None or self.reward is None:
            raise ValueError("give --behavior and --reward, or --input FILE")
        reference = None if self.reference is None else parse_numbers("--reference", self.reference)
        return [
            LabeledBandit(
                "0", parse_numbers("--behavior", self.behavior), parse_numbers("--reward", self.reward), reference
            )
        ]

    def solve(self, problems: list[LabeledBandit], objective: Any, unseen: bool) -> Iterator[tuple[str, InducedTarget]]:
        """Yield label and target of each of its problems; an error names the file and the problem."""
        for problem in problems:
            try:
                target = induced_target(
                    problem.behavior, problem.reward, objective, reference=problem.reference, unseen=unseen
                )
            except ValueError as error:
                where = "" if self.input is None else f"{self.input}: problem {plain(cut(problem.label))}: "
                raise ValueError(f"{where}{error}") from None
            yield problem.label, target


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options of a bandit."""
    group = parser.add_argument_group("bandit", "Either its actions as lists of numbers, or a file.")
    group.add_argument(
        "--behavior", metavar="P,P,...", help="Probability of each action under the policy that generated the data."
    )
    group.add_argument("--reward", metavar="R,R,...", help="Reward of each action.")
    group.add_argument(
        "--reference",
        metavar="P,P,...",
        help="Probability of each action under the reference policy, which the objective compares the policy with; "
        "defaults to the behavior.",
    )
    group.add_argument(
        "--input",
        metavar="FILE",
        type=Path,
        help="CSV, JSONL or parquet file, - for standard input, with the columns behavior and reward, and reference if "
        "need be: a row for each problem, with lists in it, or a row for each action, with the problem it belongs to "
        "in a column problem.",
    )
    group.add_argument(
        "--unseen",
        action="store_true",
        help="In the negative regime let mass run away to actions other than the given ones, which stand for those "
        "that were seen; without this option all of it stays on the given actions.",
    )


def source_of(options: argparse.Namespace) -> Source:
    """Return the bandit that the options describe."""
    return Source(options.behavior, options.reward, options.reference, options.input)


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a log: which columns are read, and how completions become groups."""
    log = parser.add_argument_group("log", "A name with dots, as in extra_info.score, reaches into objects.")
    for name, (metavar, what) in _COLUMNS.items():
        log.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=what)
    log.add_argument(
        "--drop-equal",
        action="store_true",
        help="Leave out groups whose rewards are all equal, as trainers do that sample others in their place.",
    )
    log.add_argument(
        "--singleton",
        choices=SINGLETON,
        help="Advantage of the only completion of its group: zero, as in TRL, or its reward, as in verl; defaults to "
        "that of the objective.",
    )
    log.add_argument(
        "--skip-bad", action="store_true", help="Count malformed rows and go on, instead of stopping at the first one."
    )


def add_log_probs(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the log-probabilities of a log are."""
    group = parser.add_argument_group("log-probabilities")
    group.add_argument(
        "--log-prob-columns",
        metavar="BEHAVIOR[,POLICY]",
        help="Column of the log-probabilities of a completion under the policy that sampled it, and of those under the "
        "policy that was trained: a number for a completion, or a list with one for each token. Defaults to those "
        "that NeMo-RL, prime-rl and slime write. What they say of the policy is printed beside what is predicted.",
    )


def log_options(options: argparse.Namespace, trained: TrainerSettings | None = None) -> LogOptions:
    """Return what the options say of a log; what they leave open of groups is what the trainer does."""
    given: dict[str, Any] = {field.name: getattr(options, field.name, field.default) for field in fields(LogOptions)}
    for name in ("length_column", "group_column"):
        if isinstance(given[name], str) and "," in given[name]:
            given[name] = [part.strip() for part in given[name].split(",")]
    found = LogOptions(**given)
    return found if trained is None else trained.of_log(found)


def add_problems(parser: argparse.ArgumentParser) -> None:
    """Add a log, or the options of a bandit in its place."""
    parser.add_argument("path", metavar="LOG", type=Path, nargs="*", help=f"{LOG}; or else a bandit.")
    add_source(parser)
    add_log_options(parser)


def solver_of(options: argparse.Namespace, trained: TrainerSettings | None = None) -> Solve:
    """Return what solves an objective on the problems that the options describe, a log or bandits."""
    from pessimism.comparison.problems import Solved, on_log  # with pandas

    source, chosen = source_of(options), log_options(options, trained)
    if not options.path:
        require_log(log_options(options))
        problems = source.problems()
        return lambda objective: Solved([target for _, target in source.solve(problems, objective, options.unseen)])
    if source != Source() or options.unseen:
        raise ValueError(
            "give LOG, or a bandit in --behavior and --reward or --input, not both (--unseen always holds for a log)"
        )
    from pessimism.cli.standard_input import readable_log

    with readable_log(options.path) as path:
        return on_log(path, chosen)


def add_trainer(parser: argparse.ArgumentParser, use: str) -> None:
    """Add the option of a trainer's settings; ``use`` says what becomes of the objective in them."""
    parser.add_argument(
        "--trainer",
        metavar="FILE",
        type=Path,
        help="Settings of the trainer (TRL, verl, prime-rl or OpenRLHF), as YAML, JSON, TOML or a script with its "
        f"command; {use} What was read is printed, and what of it is not modelled; on stderr beside JSON or CSV.",
    )


def trainer_of(options: argparse.Namespace) -> TrainerSettings | None:
    """Read the trainer's settings, None if there are none, and print what was read."""
    found = settings_of(options)
    if found is None:
        return None
    stream = sys.stderr if options.json or options.csv else sys.stdout
    for sentence in (str(found), *(f"not modelled: {sentence}" for sentence in found.not_modelled)):
        print(paragraph(sentence), file=stream)
    return found


def settings_of(options: argparse.Namespace) -> TrainerSettings | None:
    """Read the trainer's settings, None if there are none."""
    if options.trainer is None:
        return None
    from pessimism.trainers.config import from_config  # with many objectives

    return from_config(options.trainer)


def objective_of(options: argparse.Namespace, found: TrainerSettings | None, default: str | None) -> str:
    """Return the objective as text: what ``--objective`` says, else the trainer's, else the default."""
    if options.objective is not None:
        return str(options.objective)
    if found is None:
        if default is None:
            raise ValueError("give --objective, or --trainer FILE")
        return default
    if found.objective is None:
        raise ValueError(f"{options.trainer} has a loss that is no objective of this package: give --objective")
    return found.spec


def add_format(parser: argparse.ArgumentParser, json: str) -> None:
    """Add the options of the output; ``json`` says what null and infinity are there."""
    group = parser.add_argument_group("output", "Without an option, a table for people.")
    group.add_argument("--json", action="store_true", help=f"Print one JSON object with all digits; {json}.")
    group.add_argument(
        "--csv",
        action="store_true",
        help="Print CSV with all digits; a field is empty where undefined. Texts are those of the file: a spreadsheet "
        "takes one that begins with =, +, - or @ for a formula unless it imports the column as text.",
    )


def check_format(options: argparse.Namespace) -> None:
    """Raise ``ValueError`` where both formats are asked for."""
    if options.json and options.csv:
        raise ValueError("--json and --csv exclude each other: give one")


def wanted(text: str) -> dict[str, Any]:
    """Read "kl=0.1" or "like=NAME"."""
    from pessimism.comparison.match import WANTED  # with pandas

    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in WANTED:
        *others, last = (f"{one}=" for one in WANTED)
        raise argparse.ArgumentTypeError(f"must be {', '.join(others)} or {last}, got {show(text)}")
    if name == "like":
        return {name: value.strip()}
    try:
        return {name: real(value)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {name}= a number, got {text!r}") from None
