"""Which columns of a rollout log hold the prompt, the reward and the step: those asked for, or the trainers' own."""

from collections.abc import Iterable
from typing import NamedTuple

PROMPT_COLUMNS = ("prompt", "input")
REWARD_COLUMNS = ("reward", "score")
STEP_COLUMNS = ("step",)
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
    found = Columns(str(prompt), tuple(map(str, rewards)), step)
    for name in found.names():
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} appears {names.count(name)} times; {listed}")
    return found


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
