"""Which columns of a rollout log hold the prompt, the reward and the step: those asked for, or the trainers' own."""

from collections.abc import Iterable
from typing import NamedTuple

PROMPT_COLUMNS = ("prompt", "input")
REWARD_COLUMNS = ("reward", "score")
STEP_COLUMNS = ("step",)
_LIKE_STEP = ("step", "global_step", "iteration", "iter", "epoch")
_TRL = {"prompt", "completion", "advantage"}


class Options(NamedTuple):
    """The columns that the caller asked for; None leaves the choice to the log."""

    prompt: str | None
    reward: str | None
    step: str | None


class Columns(NamedTuple):
    """The columns to read; several rewards are summed."""

    prompt: str
    rewards: tuple[str, ...]
    step: str | None
    like_step: str | None = None  # without a step column: one that looks like it

    def names(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys([self.prompt, *self.rewards, *([self.step] if self.step else [])]))


def choose_columns(place: str, columns: Iterable[tuple[str, bool]], options: Options) -> Columns:
    """Say which column holds what; `columns` are pairs of a name and whether it may hold numbers."""
    columns = list(columns)
    names = [name for name, _ in columns]
    listed = f"columns found in {place}: {', '.join(names) or 'none'}"

    def pick(what: str, given: str | None, defaults: tuple[str, ...]) -> str | None:
        if given is not None and given not in names:
            raise ValueError(f"{what}_column {given!r} is not a column; {listed}")
        return given if given is not None else next((name for name in defaults if name in names), None)

    prompt, step = pick("prompt", options.prompt, PROMPT_COLUMNS), pick("step", options.step, STEP_COLUMNS)
    if options.reward is not None and options.reward not in names:
        rewards = [pick("reward", name.strip(), ()) for name in options.reward.split(",")]
    else:
        rewards = [pick("reward", options.reward, REWARD_COLUMNS) or _trl_reward(place, columns)]
    for what, chosen, defaults in ("prompt", prompt, PROMPT_COLUMNS), ("reward", rewards[0], REWARD_COLUMNS):
        if chosen is None:
            raise ValueError(f"{what}_column is required: there is no {' or '.join(defaults)} column; {listed}")
    like = min((n for n in names if n.lower() in _LIKE_STEP), key=lambda n: _LIKE_STEP.index(n.lower()), default=None)
    found = Columns(str(prompt), tuple(map(str, rewards)), step, None if step else like)
    for name in found.names():
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} appears {names.count(name)} times; {listed}")
    return found


def step_note(taken: list[Columns]) -> str | None:
    """Say so where files of a log had no step column, so that their steps were merged; None where all had one."""
    without = [columns for columns in taken if columns.step is None]
    if not without:
        return None
    where, what = ("", "all rows are one step")
    if len(without) < len(taken):
        where, what = f" in {len(without)} of {len(taken)} files", "their rows are all step 0"
    like = next((columns.like_step for columns in without if columns.like_step), None)
    hint = "" if like is None else f" (column {like!r} looks like one: step_column, or --step-column {like})"
    return f"no step column{where}: {what}{hint}"


def _trl_reward(place: str, columns: list[tuple[str, bool]]) -> str | None:
    """Return the only reward-function column of a TRL log, if it is one and has one."""
    rewards = [name for name, numeric in columns if numeric and name not in {*_TRL, *STEP_COLUMNS}]
    if not rewards or not _TRL.issubset(name for name, _ in columns):
        return None
    if len(rewards) > 1:
        raise ValueError(
            f"reward_column is required: {place} has one column per reward function ({', '.join(rewards)}); "
            f"name one, or {','.join(rewards)!r} for their sum"
        )
    return rewards[0]
