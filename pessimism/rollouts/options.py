"""What a caller says of a log: which columns hold what, and how completions become groups. One definition for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from pessimism.literals import real
from pessimism.messages import show

Names = str | Sequence[str] | None
SINGLETON = ("zero", "reward")


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Options of a rollout log, which :func:`~pessimism.read_rollouts` and all that reads a log take as keywords.

    A name with dots reaches into objects: ``extra_info.score`` is the key ``score`` of the object ``extra_info``,
    unless a column has that very name. Without an option the log decides.

    Attributes
    ----------
    prompt_column : str or None
        Column of the prompt; defaults to `prompt`, else `input`. Conversations (lists of messages) become canonical
        JSON, without keys that hold null, which tables add to messages.
    reward_column : str, sequence of str, mapping of str to float, or None
        Column of the reward; defaults to `reward`, else `score`, else the only reward-function column of a TRL log.
        Several are summed: a list, or text with commas, each with a weight after a colon or as the value of a mapping
        where it is not 1 (``"accuracy:1,format:0.1"``). In a sum a null means, as in TRL, that the function does not
        apply to this row, and a row is malformed where none applies; of a TRL log it is left out and counted.
    step_column : str or None
        Column of the training step; defaults to `step`, else `global_step`. Without such a column every row is step 0.
    group_column : str, sequence of str, or None
        Columns that say which completions belong together at a step; by default those of one prompt do, and in a verl
        log those of one `uid`. Where a uid has verl's form SAMPLE_ROLLOUT_OUTPUT, the rows of one rollout are one
        completion.
    advantage_column : str or None
        Column of advantages, which replace those of the objective. Those that a log has in `advantage` or `advantages`
        are otherwise only compared with what the groups give.
    baseline_column : str or None
        Column of baselines, which replace that of the objective: the advantage is the reward minus it.
    length_column : str, sequence of str, or None
        Column of the number of tokens of a completion, or several of which the first that is there is read, if one is.
    log_prob_columns : str, sequence, or None
        Column with the log-probabilities of a completion under the policy that sampled it, and after a comma one with
        those under the policy that was trained: a number for a completion, or a list with one for each token. A column
        `token_loss_mask`, `loss_mask`, `response_mask` or `completion_mask` says which tokens count. Also a sequence of
        ``pessimism.rollouts.log_probs.LogProbs``, of which the first that is there is read, if one is. Without it
        neither log-probabilities nor versions are read.
    drop_equal : bool
        Whether groups whose rewards are all equal are left out, as trainers that sample others in their place do.
    singleton : {"zero", "reward"} or None
        Advantage of the only completion of its group: 0, as in TRL, or its reward, as in verl; by default that of the
        objective.
    skip_bad : bool
        Whether malformed rows are counted instead of stopping at the first one.

    Examples
    --------
    >>> LogOptions(reward_column="accuracy:1,format:0.1", group_column=["problem", "epoch"]).singleton is None
    True
    >>> LogOptions(singleton="mean")
    Traceback (most recent call last):
    ...
    ValueError: singleton must be 'zero' or 'reward', got 'mean'
    """

    prompt_column: str | None = None
    reward_column: str | Sequence[str] | Mapping[str, float] | None = None
    step_column: str | None = None
    group_column: Names = None
    advantage_column: str | None = None
    baseline_column: str | None = None
    length_column: Names = None
    log_prob_columns: str | Sequence[Any] | None = None
    drop_equal: bool = False
    singleton: Literal["zero", "reward"] | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.singleton is not None and self.singleton not in SINGLETON:
            raise ValueError(f"singleton must be 'zero' or 'reward', got {show(self.singleton)}")
        if self.advantage_column is not None and self.baseline_column is not None:
            raise ValueError("advantage_column already has the baseline in it: give it or baseline_column, not both")
        for name in ("prompt_column", "step_column", "advantage_column", "baseline_column"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} must be the name of one column, got {show(getattr(self, name))}")

    def rewards(self, names: Iterable[str]) -> dict[str, float] | None:
        """Columns to sum and the weight of each, None where the log decides; ``names`` are the columns there are."""
        given, known = self.reward_column, set(names)
        if given is None:
            return None
        if isinstance(given, Mapping):
            pairs = [(name, _weight(name, weight)) for name, weight in given.items()]
        elif isinstance(given, str):
            parts = [given] if given in known else [part.strip() for part in given.split(",")]
            pairs = [_weighted(part, known) for part in parts]
        else:
            pairs = [_weighted(part, known) for part in given]
        if not pairs:
            raise ValueError("reward_column names no column")
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
            raise ValueError(f"reward_column names {show(twice)} more than once: give it one weight")
        return found


def several(given: Names) -> tuple[str, ...]:
    """Names of columns as a tuple: one name, names with commas between them, or a sequence of names."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(","))
    return tuple(given or ())


def split_options(given: LogOptions | None, keywords: dict[str, Any]) -> tuple[LogOptions, dict[str, Any]]:
    """Part the options of a log from other keywords.

    Parameters
    ----------
    given : LogOptions or None
        Options as one object, in place of keywords.
    keywords : dict of str to object
        Options of the log, and others.

    Returns
    -------
    options : LogOptions
        The options.
    others : dict of str to object
        What is none.

    Raises
    ------
    ValueError
        If an option is given twice.

    Examples
    --------
    >>> split_options(None, {"step_column": "epoch", "beta": 0.1})[1]
    {'beta': 0.1}
    """
    known = [field.name for field in fields(LogOptions)]
    found = {name: value for name, value in keywords.items() if name in known}
    others = {name: value for name, value in keywords.items() if name not in known}
    if given is None:
        return LogOptions(**found), others
    if found:
        raise ValueError(f"log_options already holds {next(iter(found))}: give one or the other")
    return given, others


def require_log(options: LogOptions) -> None:
    """Raise ``ValueError`` where options of a log are given, and no log."""
    for field in fields(options):
        if getattr(options, field.name) != field.default:
            raise ValueError(f"{field.name} is an option of a log, and log is not given")


def used(options: LogOptions) -> str | None:
    """Return what of a log replaces the objective's own: "advantage", "baseline", or None."""
    if options.advantage_column is not None:
        return "advantage"
    return None if options.baseline_column is None else "baseline"


def _weighted(part: str, known: set[str]) -> tuple[str, float]:
    """A name, and its weight where one stands after a colon."""
    name, colon, weight = part.rpartition(":")
    if part in known or not colon:
        return part, 1.0
    return name.strip(), _weight(name, weight)


def _weight(name: str, weight: Any) -> float:
    try:
        number = real(weight) if isinstance(weight, str) else float(weight)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"reward_column: the weight of {show(name)} must be a finite number, got {show(weight)}")
    return number
