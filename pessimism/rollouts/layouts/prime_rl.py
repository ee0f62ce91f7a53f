"""prime-rl and verifiers: ``traces.jsonl``, a line for each episode; and prime-rl's exports of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, above, constant, has_keys, list_of, number, sampled
from pessimism.rollouts.log_probs import LogProbs


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "task", "traces") and isinstance(record["task"], Mapping)


def _rows(record: Record, where: Where) -> list[dict[str, Any]]:
    """Return a row for each trace of an agent that is trained: its group is that of the episode, or its task."""
    task = _mapping(record["task"], "task")
    data = _mapping(task.get("data", task), "task.data")
    episode = where.step(r"(?:^|/)step_(\d+)/")
    work = _inside(record, "run", "work")
    policy = _inside(work, "policy")
    episode |= {f"policy_{name}": policy[name] for name in ("start", "end") if name in policy}
    group = _inside(record, "group").get("id")
    same = next(
        (value for value in (group, task.get("key"), task.get("hash"), data.get("idx")) if value is not None), None
    )
    rows = []
    for i, trace in enumerate(list_of(record, "traces")):
        agent = _mapping(trace, f"traces[{i}]").get("agent")
        agent = agent if isinstance(agent, Mapping) else {"name": agent}
        if agent.get("trainable", True):
            nodes = [_mapping(node, f"node of traces[{i}]") for node in _list(trace, "nodes")]
            prompt = data.get("prompt")
            prompt = _first_user(nodes) if prompt is None else prompt
            same = prompt if same is None else same
            row = {"prompt": f"task {same}" if prompt is None else prompt, "reward": _reward(trace, record)}
            rows.append({**episode, **row, "group": [same, agent.get("name")], **_tokens(nodes)})
    if not rows:
        raise ValueError("traces has none of an agent that is trained")
    return rows


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {show(value)}, not a JSON object")
    return value


def _list(record: Record, key: str) -> list[Any]:
    return list_of(record, key) if key in record else []


def _inside(record: Record, *keys: str) -> Mapping[str, Any]:
    """Return the object under nested keys, an empty one where there is none."""
    for key in keys:
        found = record.get(key)
        record = found if isinstance(found, Mapping) else {}
    return record


def _reward(trace: Record, episode: Record) -> Any:
    """Return the reward of a trace: the sum of score times weight, without those whose scoring did not run."""
    if "reward" in trace:
        return trace["reward"]
    rewards = _mapping(trace.get("rewards", episode.get("rewards", {})), "rewards")
    values = []
    for name, part in rewards.items():
        if isinstance(part, Mapping):
            score, weight = part["score"], part.get("weight", 1.0)
            values.append(number(score, f"the score of {show(name)}") * number(weight, f"the weight of {show(name)}"))
        elif part is not None:
            values.append(number(part, f"the reward {show(name)}"))
    return sum(values) if values else None


def _first_user(nodes: list[Mapping[str, Any]]) -> Any:
    messages = [_inside(node, "message") for node in nodes]
    return next((message.get("content") for message in messages if message.get("role") == "user"), None)


def _tokens(nodes: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return log-probabilities and advantages of the sampled tokens, and how many those are, where they are logged."""
    tokens = [node for node in nodes if node.get("logprobs")]
    logprobs = [value for node in tokens for value in list_of(node, "logprobs")]
    if not tokens or any(node.get("advantages") is None for node in tokens):
        return {"logprobs": logprobs} | ({"completion_length": len(logprobs)} if tokens else {})
    advantages = [value for node in tokens for value in list_of(node, "advantages")]
    if len(advantages) != len(logprobs):
        raise ValueError(f"nodes have {len(logprobs)} logprobs, but {len(advantages)} advantages")
    return {"logprobs": logprobs, "completion_length": len(logprobs), "advantage": constant(advantages)}


PRIME_RL = Layout(
    "prime-rl traces",
    "prime_rl/monitors/file.py, verifiers/v1/episode.py",
    _recognize,
    _rows,
    group=("group",),
    run=above(3),
    advantage="advantage",
    log_probs=LogProbs("logprobs"),
    versions=("policy_start", "policy_end"),
)


def _recognize_tokens(record: Record, _: Where) -> bool:
    return has_keys(record, "token_ids", "loss_mask", "inference_logprobs", "trainer_logprobs")


def _recognize_rewards(record: Record, where: Where) -> bool:
    rewards = record.get("rewards")
    return _recognize_tokens(record, where) and isinstance(rewards, list) and any(one is not None for one in rewards)


def _token_rows(record: Record, _: Where) -> list[dict[str, Any]]:
    """Return the row of a sequence; its prompt is the tokens before the first one that was sampled."""
    mask, tokens = list_of(record, "loss_mask"), list_of(record, "token_ids")
    row: dict[str, Any] = {name: sampled(record[name], mask, name) for name in _OF_TOKENS if name in record}
    row |= {name: record[name] for name in ("step",) if name in record}
    row["prompt"] = tokens[: next((i for i, on in enumerate(mask) if on), len(mask))]
    row["completion_length"] = sum(map(bool, mask))
    row["advantage"] = constant(row.get("advantages", []))
    row["reward"] = constant(row.get("rewards", []))
    return [row]


_OF_TOKENS = ("inference_logprobs", "trainer_logprobs", "advantages", "rewards")
_TOKEN_EXPORTS = Layout(
    "prime-rl token exports, whose rewards are the logged advantages",
    "prime_rl/trainer/rl/token_export.py",
    _recognize_tokens,
    _token_rows,
    reward="advantage",
    advantage="advantage",
    log_probs=LogProbs("inference_logprobs", "trainer_logprobs"),
)
TOKEN_EXPORTS = (
    _TOKEN_EXPORTS._replace(name="prime-rl token exports", recognize=_recognize_rewards, reward="reward"),
    _TOKEN_EXPORTS,
)
