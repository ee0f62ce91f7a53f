"""Logs with log-probabilities of known policies: completions of two tokens of three, each policy a table.

Of every sequence there are as many completions as the behavior's law says, so that a mean over the log is the
expectation itself. Layouts after the code that writes them: NeMo-RL's `log_batched_dict_as_jsonl` of `train_data`, and
prime-rl's `trainer/rl/token_export.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

COUNTS = np.array([[8, 4, 4], [2, 6, 2], [5, 5, 4]])  # of 40 completions
REWARD = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Table:
    """A policy on sequences of two tokens: their joint probabilities ``(3, 3)``."""

    joint: np.ndarray

    def tokens(self, first: int, second: int) -> list[float]:
        """Log-probabilities of the two tokens of a sequence."""
        start = self.joint[first].sum()
        return [float(np.log(start)), float(np.log(self.joint[first, second] / start))]


def law(seed: int) -> np.ndarray:
    """Counts ``(3, 3)`` of 40 completions, none of them 0."""
    return 1 + np.random.default_rng(seed).multinomial(31, np.full(9, 1 / 9)).reshape(3, 3)


def near(joint: np.ndarray, seed: int, size: float = 0.5) -> np.ndarray:
    """A policy not far from another one."""
    tilted = joint * np.exp(size * np.random.default_rng(seed).normal(size=joint.shape))
    return np.asarray(tilted / tilted.sum())


def records(behavior: Table, policy: Table, sequences: Any, reward: np.ndarray, **same: Any) -> list[dict[str, Any]]:
    """A record for each sequence, with a token of the prompt before it that does not count."""
    return [
        {
            "prompt": "p",
            "reward": float(reward[i, j]),
            "mu": [0.0, *behavior.tokens(i, j)],
            "pi": [-7.0, *policy.tokens(i, j)],
            "loss_mask": [0, 1, 1],
            **same,
        }
        for i, j in sequences
    ]


def every(counts: np.ndarray) -> list[tuple[int, int]]:
    """Each sequence as often as the law says."""
    return [(i, j) for i in range(3) for j in range(3) for _ in range(counts[i, j])]


def exact_log(*prompts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> pd.DataFrame:
    """A log of prompts, each given by its counts, its policy and its reward ``(3, 3)``."""
    found = []
    for number, (counts, policy, reward) in enumerate(prompts):
        behavior = Table(counts / counts.sum())
        found += records(behavior, Table(policy), every(counts), reward, prompt=f"p{number}")
    return pd.DataFrame(found)


def drawn_log(
    rng: np.random.Generator, prompts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], groups: int, size: int
) -> pd.DataFrame:
    """Groups that the behavior draws: of each prompt, one at each step."""
    found = []
    for number, (counts, policy, reward) in enumerate(prompts):
        joint = counts / counts.sum()
        for step in range(groups):
            drawn = [divmod(int(k), 3) for k in rng.choice(9, size=size, p=joint.ravel())]
            found += records(Table(joint), Table(policy), drawn, reward, prompt=f"p{number}", step=step)
    return pd.DataFrame(found)


def nemo(log: pd.DataFrame) -> list[dict[str, Any]]:
    """The log as NeMo-RL writes it: every value in a list of one."""
    return [
        {
            "content": [[row.prompt, "an answer"]],
            "rewards": [row.reward],
            "input_lengths": [3],
            "token_ids": [[int(row.prompt[1:]), 8, 9]],
            "token_loss_mask": [row.loss_mask],
            "sample_loss_mask": [1.0],
            "advantages": [[0.0, 0.0, 0.0]],
            "generation_logprobs": [row.mu],
            "prev_logprobs": [row.pi],
            "idx": i,
        }
        for i, row in enumerate(log.itertuples())
    ]


def prime(log: pd.DataFrame) -> list[dict[str, Any]]:
    """The log as prime-rl exports its tokens, with the advantage r - mean r."""
    advantage = log["reward"] - log.groupby("prompt")["reward"].transform("mean")
    return [
        {
            **{"schema_version": 1, "step": 7, "export_step": 7, "rank": 0, "env_name": "math"},
            "token_ids": [int(row.prompt[1:]), 8, 9],
            "loss_mask": [bool(on) for on in row.loss_mask],
            "advantages": [0.0, a, a],
            "inference_logprobs": row.mu,
            "trainer_logprobs": row.pi,
        }
        for row, a in zip(log.itertuples(), advantage, strict=True)
    ]
