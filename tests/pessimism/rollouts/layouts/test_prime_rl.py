"""prime-rl: `rollouts/step_N/train/effective/traces.jsonl`, in which prime_rl/monitors/file.py writes an episode of
verifiers/v1/episode.py a line; and the token exports of prime_rl/trainer/rl/token_export.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.log_probs import KNOWN
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.layouts.written import PASSED, completions, damage, lines, prompt, six_groups, two_runs


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
        lines(tmp_path / "token_exports" / f"step_{step}" / "rank_0.jsonl", exports(step)[:1])
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
    assert sum(said.startswith("holds tokens of what is in effective/traces.jsonl") for said in why.values()) == 2


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


def exports(step: int, rewards: bool = False) -> list[dict[str, Any]]:
    """Four tokens: two of the prompt, one sampled with probability 1/2, one of a tool; the policy has 1/4."""
    found = []
    for group, _, reward in completions():
        advantage = reward - PASSED[group] / 4
        found.append(
            {
                **{"schema_version": 1, "step": step, "export_step": step, "rank": 0, "micro_step": 0},
                **{"micro_sequence_idx": 0, "export_sequence_idx": len(found), "run_id": None, "env_name": "gsm8k"},
                "token_ids": [1, 10 + group, 5, 6],
                "position_ids": [0, 1, 2, 3],
                "loss_mask": [False, False, True, False],
                "advantages": [0.0, 0.0, advantage, 0.0],
                "rewards": [0.0, 0.0, reward, 0.0] if rewards else [None] * 4,
                "inference_logprobs": [0.0, 0.0, -math.log(2), 0.0],
                "trainer_logprobs": [-3.0, -2.0, -math.log(4), None],
                "mismatch_kl": [0.0, 0.0, 0.5 - 1.0 + math.log(2), 0.0],
                "is_masked": [False] * 4,
            }
        )
    return found


@pytest.mark.parametrize("rewards", [False, True])
def test_token_exports(tmp_path: Path, rewards: bool) -> None:
    for step in (3, 4):
        lines(tmp_path / "token_exports" / f"step_{step}" / "rank_0.jsonl", exports(step, rewards))
    frame = read_rollouts(tmp_path, log_prob_columns=KNOWN, length_column="completion_length")
    groups = LoggedGroups.of(frame)
    assert (groups.groups["n"] == 4).all()
    assert groups.groups["step"].tolist() == [3] * 6 + [4] * 6
    of_group = [r - (0.0 if rewards else PASSED[g] / 4) for g, _, r in completions()]
    np.testing.assert_array_equal(frame["reward"], of_group * 2)
    assert set(frame["length"]) == set(frame["tokens"]) == {1.0}
    assert frame["behavior_log_prob"].to_numpy() == pytest.approx(-math.log(2))
    assert frame["token_kl_reverse"].to_numpy() == pytest.approx(exports(3)[0]["mismatch_kl"][2])
    (name,) = set(frame.attrs["layouts"].values())
    assert name == "prime-rl token exports" + ("" if rewards else ", whose rewards are the logged advantages")


def test_a_token_export_without_an_advantage_is_malformed(tmp_path: Path) -> None:
    said = "trainer_logprobs has 1 entries, but the mask of tokens has 4"
    damage(tmp_path, "rank_0.jsonl", exports(0), lambda record: record.update(trainer_logprobs=[-1.0]), said)
    several = {"advantages": [0.0, 0.0, 1.0, 2.0], "loss_mask": [False, False, True, True]}
    damage(tmp_path, "rank_0.jsonl", exports(0), lambda record: record.update(several), "advantage is null")


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


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, lambda at: lines(at / "step_1" / "train" / "effective" / "traces.jsonl", episodes()), 6)
