"""One run of the dynamics that `llm.validation.parts.lag` compares: the trainer on a model, or its table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from analysis.lag import settings
from analysis.lag_steps import Prompts, walk
from llm.data.addition import digits_right
from llm.models.load import model_path
from llm.validation.problem import completions_of, drawn, load, rewards
from llm.validation.training import trained
from pessimism import divergences
from pessimism.arrays import LOG_OF_NO_MASS, Floats

COMPARED = ("grpo", "nominal", "kimi", "optimal_value", "oapl", "shifted_mean", "asym_re", "reinforce")


class Task:
    """A few prompts of a small model, chosen by a seed, with every completion of each and its reward."""

    def __init__(self, model: str, prompts: int, seed: int) -> None:
        self.model, self.tokenizer, task = load(model_path(model))
        self.completions = completions_of(self.tokenizer, task)
        self.examples = drawn(task, prompts, seed)
        self.ids: list[list[int]] = [self.tokenizer(row["prompt"])["input_ids"] for row in self.examples]
        self.reward = np.stack([rewards(self.completions, self.tokenizer, row["answer"]) for row in self.examples])
        self.log_start = self.log_policy()

    def log_policy(self) -> Floats:
        """Log-probabilities of all completions of the prompts under the model as it is now, ``(prompts, N)``."""
        with torch.no_grad():
            rows = [self.completions.log_probabilities(self.model, ids).double() for ids in self.ids]
        return np.asarray(torch.stack(rows).cpu())

    def table(self, least: float = 1e-4) -> tuple[Floats, Floats]:
        """Make the table of each prompt: log-probabilities at the start and rewards, ``(prompts, K)``.

        Completions rarer than `least` are one column together. Rows have the width of the longest; what is missing has
        probability exp(-700) and reward 0.
        """
        rows = []
        for log_q, reward in zip(self.log_start, self.reward, strict=True):
            kept = (np.exp(log_q) >= least) | (reward > 0)
            rest = np.logaddexp.reduce(log_q[~kept])
            rows.append((np.append(log_q[kept], rest), np.append(reward[kept], 0.0)))
        width = max(len(row) for row, _ in rows)
        starts = np.stack([np.pad(q, (0, width - len(q)), constant_values=LOG_OF_NO_MASS) for q, _ in rows])
        return starts, np.stack([np.pad(r, (0, width - len(r))) for _, r in rows])


def measured(log_policy: Floats, log_start: Floats, reward: Floats) -> dict[str, float]:
    """Average value, entropy (nats) and KL to the start (nats) over prompts.

    Parameters
    ----------
    log_policy : ndarray, shape (prompts, K)
        Log-probabilities of the policy.
    log_start : ndarray, shape (prompts, K)
        Log-probabilities of the start.
    reward : ndarray, shape (prompts, K)
        Rewards.

    Returns
    -------
    dict
        Keys ``value``, ``entropy`` and ``kl``.

    Examples
    --------
    >>> half = np.log([[0.5, 0.5]])
    >>> measured(half, half, np.array([[0.0, 1.0]]))
    {'value': 0.5, 'entropy': 0.693..., 'kl': 0.0}
    """
    policy, start = (
        np.exp(logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)) for logs in (log_policy, log_start)
    )
    return {
        "value": float(np.mean(np.sum(policy * reward, axis=-1))),
        "entropy": float(np.mean(divergences.entropy(policy))),
        "kl": float(np.mean(divergences.kl_divergence(policy, start))),
    }


def times(steps: int, records: int) -> list[int]:
    """List the steps after which a run is measured.

    Parameters
    ----------
    steps : int
        Number of steps of the run.
    records : int
        Number of times after the start.

    Returns
    -------
    list of int
        The steps, 0 among them.

    Examples
    --------
    >>> times(100, 4)
    [0, 25, 50, 75, 100]
    """
    return sorted(set(np.linspace(0, steps, records + 1).round().astype(int).tolist()))


class _Recorder(TrainerCallback):
    """Measures the exact policy at given steps."""

    def __init__(self, task: Task, at: list[int]) -> None:
        self.task, self.at = task, at
        self.rows = [{"step": 0, **measured(task.log_start, task.log_start, task.reward)}]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.at:
            found = measured(self.task.log_policy(), self.task.log_start, self.task.reward)
            self.rows.append({"step": state.global_step, **found})


def on_model(
    model: str, name: str, beta: float, lag: int, seed: int, rate: float, setting: dict[str, int]
) -> pd.DataFrame:
    """Run the dynamics through the trainer: a row for each step measured; those after an overflow repeat the last."""
    task = Task(model, setting["prompts"], seed)
    at = times(setting["steps"], setting["records"])
    recorder = _Recorder(task, at)
    try:
        trained(
            *(task.model, task.tokenizer, task.examples, digits_right, settings(beta)[name]),
            batch=setting["prompts"],
            group=setting["group"],
            callbacks=[recorder],
            lag=lag,
            max_completion_length=task.completions.length,
            max_steps=setting["steps"],
            learning_rate=rate,
            seed=seed,
        )
        ended = False
    except FloatingPointError:
        ended = True
    last = recorder.rows[-1]
    rows = recorder.rows + [{**last, "step": step} for step in at if step > last["step"]]
    return pd.DataFrame(rows).assign(source="model", objective=name, lag=lag, seed=seed, rate=rate, ended=ended)


class Adam:
    """Moves of the optimizer that the trainer has, AdamW without decay, at a learning rate of one.

    Examples
    --------
    >>> step = Adam()
    >>> [step(np.array([up])).round(3).tolist() for up in (2.0, -2.0)]
    [[1.0], [-0.053]]
    """

    def __init__(self) -> None:
        self.optimizer: torch.optim.Optimizer | None = None

    def __call__(self, gradient: Floats) -> Floats:
        """Compute the move for the next gradient."""
        if self.optimizer is None:
            self.moved = torch.zeros(gradient.shape, dtype=torch.float64)
            self.optimizer = torch.optim.AdamW([self.moved], lr=1.0, weight_decay=0.0, maximize=True)
        self.moved.zero_()
        self.moved.grad = torch.from_numpy(gradient)
        self.optimizer.step()
        return self.moved.numpy().copy()


def on_table(
    model: str, name: str, beta: float, lag: int, seed: int, rates: tuple[float, ...], setting: dict[str, int]
) -> pd.DataFrame:
    """Run the same dynamics on free logits, for all learning rates at once."""
    log_start, reward = Task(model, setting["prompts"], seed).table()
    generators = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,))) for i in range(len(reward))]
    prompts, rows = Prompts(log_start, reward, generators, certain=True), []
    steps, group = setting["steps"], setting["group"]
    run = walk(settings(beta)[name], prompts, lag=lag, lrs=rates, steps=steps, group=group, optimizer=Adam())
    at = set(times(steps, setting["records"]))
    for step, (policies, ended) in enumerate(run):
        if step in at:
            for rate, policy, over in zip(rates, policies, ended, strict=True):
                found = {"step": step, "rate": rate, "ended": bool(over.any())}
                rows.append(found | measured(policy, log_start, reward))
    return pd.DataFrame(rows).assign(source="table", objective=name, lag=lag, seed=seed)
