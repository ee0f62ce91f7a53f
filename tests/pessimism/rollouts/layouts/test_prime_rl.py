"""prime-rl: `rollouts/step_N/train/effective/traces.jsonl`, in which prime_rl/monitors/file.py writes an episode of
verifiers/v1/episode.py a line; and the token exports of prime_rl/trainer/rl/token_export.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups
from tests.pessimism.rollouts.logs import message

TOKENS = {
    **{"schema_version": 1, "step": 0, "rank": 0, "micro_step": 0, "env_name": "gsm8k", "token_ids": [1, 2]},
    **{"loss_mask": [False, True], "advantages": [0.0, 0.5], "entropy": [0.1, 0.1]},
    **{"inference_logprobs": [0.0, -0.5], "trainer_logprobs": [0.0, -0.25], "mismatch_kl": [0.0, 0.1]},
}


def nodes(group: int, reward: float) -> list[dict[str, Any]]:
    """What the task says, what the agent says, what a tool says, what the agent says then."""
    messages = [("user", prompt(group)), ("assistant", "let me see"), ("tool", "1"), ("assistant", "so 1")]
    return [
        {
            "parent": i - 1 if i else None,
            "message": {"role": role, "content": text},
            "sampled": role == "assistant",
            "token_ids": [3, 4],
            "mask": [role == "assistant"] * 2,
            "logprobs": [-0.25, -0.5] if role == "assistant" else [],
            "advantages": [reward, reward] if role == "assistant" else None,
        }
        for i, (role, text) in enumerate(messages)
    ]


def episodes(step: int = 0, told: str = "group") -> list[dict[str, Any]]:
    """Episodes with a trained solver and a judge; the group is told by an id, or by the task."""
    found = []
    for group, i, reward in completions():
        data = {"idx": group, "prompt": None} | ({"prompt": prompt(group)} if told == "task" else {})
        task = {"type": "GSM8K", "data": data, "key": f"k{group}", "hash": f"h{group}"}
        solver = {
            "agent": {"name": "solver", "trainable": True},
            "rewards": {"right": {"score": reward, "weight": 1.0}, "style": {"score": 4.0, "weight": 0.0}, "off": None},
            "nodes": nodes(group, reward),
        }
        judge = {"agent": {"name": "judge", "trainable": False}, "rewards": {}, "nodes": []}
        episode = {"id": f"e{group}{i}", "env": {"id": "gsm8k"}, "task": task, "traces": [judge, solver], "ok": True}
        episode["run"] = {
            "type": "train",
            "work": {"type": "train", "step": 0, "policy": {"start": step, "end": step + 1}},
        }
        if told == "group":
            episode["group"] = {"id": f"g{group}"}
        found.append(episode)
    return found


@pytest.mark.parametrize("told", ["group", "task"])
def test_rewards_groups_tokens_and_versions_of_an_episode(tmp_path: Path, told: str) -> None:
    for step in (2, 10):
        folder = tmp_path / "rollouts" / f"step_{step}"
        lines(folder / "train" / "effective" / "traces.jsonl", episodes(step, told))
        lines(folder / "train" / "all" / "traces.jsonl", episodes(step, told))
        lines(folder / "eval" / "effective" / "traces.jsonl", episodes(step, told))
        lines(tmp_path / "token_exports" / f"step_{step}" / "rank_0.jsonl", [TOKENS])
    lines(tmp_path / "metrics.jsonl", [{"step": 0, "time": 1.0, "reward/mean": 0.5}])
    frame = six_groups(tmp_path, [2, 10], "prime-rl traces", length_column="completion_length")
    assert set(frame["length"]) == {4.0}
    assert set(frame["behavior_log_prob"]) == {-1.5}
    assert (frame["version"] == frame["step"]).all()
    assert (frame["last_version"] == frame["step"] + 1).all()
    assert set(frame["prompt"]) == {prompt(group) for group in range(6)}
    why = frame.attrs["passed_over"]
    assert len(why) == 7
    assert sum(said == "sampled for an evaluation" for said in why.values()) == 2
    assert sum(said == "holds those of effective/traces.jsonl again" for said in why.values()) == 2
    assert sum("neither a reward nor the id of a group" in said for said in why.values()) == 2


def test_traces_of_an_evaluation_and_two_trained_agents(tmp_path: Path) -> None:
    both = episodes()
    for episode in both:
        episode["traces"] = [episode["traces"][1], {**episode["traces"][1], "agent": {"name": "critic"}}]
    path = lines(tmp_path / "traces.jsonl", both)
    assert len(read_groups(path)) == 12


def read_groups(path: Path) -> Any:
    from pessimism.diagnosis.logged_groups import LoggedGroups
    from pessimism.rollouts.read import read_rollouts

    return LoggedGroups.of(read_rollouts(path)).groups


def test_token_exports_alone_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    path = lines(tmp_path / "token_exports" / "step_0" / "rank_0.jsonl", [TOKENS] * 3)
    said = (
        f"{path}: the token exports of prime-rl have neither a reward nor the id of a group, so that they cannot be "
        "grouped; its traces have (rollouts/step_N/train/effective/traces.jsonl)"
    )
    assert message(path) == message(tmp_path, skip_bad=True) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(task=3), "task is 3, not a JSON object"),
        (lambda record: record.update(traces={}), "traces is {}, not a list"),
        (lambda record: record.update(traces=[]), "traces has none of an agent that is trained"),
        (lambda record: record["traces"].__setitem__(1, 3), "traces[1] is 3, not a JSON object"),
        (lambda record: record["traces"][1].update(nodes=3), "nodes is 3, not a list"),
        (lambda record: record["traces"][1].update(nodes=[3]), "node of traces[1] is 3, not a JSON object"),
        (lambda record: record["traces"][1].update(rewards={}), "reward is null, not a number"),
        (lambda record: record["traces"][1].update(rewards={"a": "x"}), "the reward 'a' is 'x', not a number"),
        (
            lambda record: record["traces"][1].update(rewards={"a": {"score": "x"}}),
            "the score of 'a' is 'x', not a number",
        ),
        (lambda record: record["traces"][1]["nodes"][1].update(advantages=[1]), "4 logprobs, but 3 advantages"),
        (lambda record: record["traces"][1]["nodes"][1].update(logprobs=7), "logprobs is 7, not a list"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "traces.jsonl", episodes(), change, said)
