"""A prompt and the list of its responses in a record, as data sets of samples and best-of-n tools write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, list_of
from pessimism.rollouts.rows import PROMPT_COLUMNS, REWARD_COLUMNS

_PROMPTS = (*PROMPT_COLUMNS, "question", "problem")
_RESPONSES = ("responses", "completions", "outputs", "samples", "generations", "rollouts")
_REWARDS = ("rewards", "scores", *REWARD_COLUMNS)


def _responses(record: Record) -> str | None:
    """Return the key of the list of responses, if each carries a reward, or a list of rewards stands beside it."""
    if not any(name in record for name in _PROMPTS):
        return None
    if any(isinstance(record.get(name), int | float) for name in REWARD_COLUMNS):  # of one completion of many turns
        return None
    for key in _RESPONSES:
        found = record.get(key)
        if not isinstance(found, list) or not found:
            continue
        if _inside(found) or _beside(record) is not None:
            return key
    return None


def _beside(record: Record) -> str | None:
    return next((name for name in _REWARDS if isinstance(record.get(name), list)), None)


def _recognize(record: Record, _: Where) -> bool:
    return _responses(record) is not None


def _rows(record: Record, where: Where) -> list[dict[str, Any]]:
    key = _responses(record)
    if key is None:
        raise ValueError(f"has no list of responses with rewards ({', '.join(_RESPONSES)})")
    prompt = next(name for name in _PROMPTS if name in record)
    responses = list_of(record, key)
    own = {name: value for name, value in record.items() if name != key and not isinstance(value, list)}
    same = {"prompt": record[prompt], "group": where.unique()}
    rewards = [_reward(response, f"{key}[{i}]") for i, response in enumerate(responses)] if _inside(responses) else None
    if rewards is None:
        name = _beside(record)
        if name is None:
            raise ValueError(f"{key}[0] is {show(responses[0])}, without a reward")
        rewards = record[name]
        if len(rewards) != len(responses):
            raise ValueError(f"{key} has {len(responses)} entries, but {name} has {len(rewards)}")
    kept = [response if isinstance(response, Mapping) else {"response": response} for response in responses]
    return [{**own, **row, **same, "reward": reward} for row, reward in zip(kept, rewards, strict=True)]


def _inside(responses: list[Any]) -> bool:
    return isinstance(responses[0], Mapping) and any(name in responses[0] for name in REWARD_COLUMNS)


def _reward(response: object, place: str) -> Any:
    if not isinstance(response, Mapping):
        raise ValueError(f"{place} is {show(response)}, not a JSON object as the first")
    name = next((name for name in REWARD_COLUMNS if name in response), None)
    if name is None:
        raise ValueError(f"{place} has no {' or '.join(REWARD_COLUMNS)}")
    return response[name]


NESTED = Layout("a prompt with its responses", "", _recognize, _rows, group=("group",))
