"""A trained model against its behavior, prompt by prompt: what its log-ratios say, and what theory predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from llm.data.prompts import as_completions, required_tokens, token_ids
from llm.data.rewards import Reward
from llm.generation.make import make_sampler
from llm.generation.sampler import Sampler
from llm.measurement.comparison import COLUMNS, compare, pool
from llm.models.enumeration import Completions
from llm.models.scoring import score
from pessimism.arrays import Floats
from pessimism.core.objective import Objective, ObjectiveLike, as_objective
from pessimism.diagnosis.readings import has_kappa

_TOGETHER = 4096  # completions sampled and scored at a time


class Pairs(NamedTuple):
    """Completions of one prompt: ``(C, G)`` groups of samples, or ``(1, N)`` all of them with their probabilities."""

    log_ratio: Floats
    reward: Floats
    weights: Floats | None
    twin: Floats | None = None  # log-ratios of another run


def measure(
    policy: Any,
    behavior: Any,
    tokenizer: Any,
    examples: Sequence[Mapping[str, Any]],
    reward: Callable[..., Sequence[float]],
    objective: ObjectiveLike,
    *,
    length: int,
    group_size: int | None = None,
    samples: int = 256,
    exact: bool = False,
    sampler: Sampler | None = None,
    twin: Any = None,
    seed: int = 0,
    batch_size: int = 64,
    chat: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Measure the log-ratios of a policy to its behavior beside what the objective induces there.

    Parameters
    ----------
    policy : transformers.PreTrainedModel
        The trained model.
    behavior : transformers.PreTrainedModel
        The model that sampled in training.
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of both.
    examples : sequence of mapping
        Rows with ``prompt`` and whatever else the reward reads, as `llm.data.examples.load_examples` returns them.
    reward : callable
        Reward function as TRL calls one: ``reward(prompts=, completions=, completion_ids=, **columns)``.
    objective : Objective
        Objective that the policy was trained with.
    length : int
        Largest number of tokens of a completion.
    group_size : int, optional
        Number of completions in a group in training, each with an advantage of its group; None, together with `exact`,
        for the population.
    samples : int, default 256
        Number of completions of each prompt, in whole groups.
    exact : bool, default False
        Enumerate all completions instead of sampling them: for a few tokens of a small vocabulary.
    sampler : Sampler, optional
        Draws completions of the behavior; by default transformers does.
    twin : transformers.PreTrainedModel, optional
        A model trained like the policy with another seed. It takes the noise of training out of ``gap``, see
        `llm.measurement.comparison.compare`.
    seed : int, default 0
        Seed of the samples.
    batch_size : int, default 64
        Largest number of completions in one forward.
    chat : mapping, optional
        Variables of the chat template beside the messages.

    Returns
    -------
    pandas.DataFrame
        A row for each prompt (``kind`` "prompt") and a last one for all together ("pooled"), with

        - the readings of `pessimism.diagnosis.readings.readings` and their standard errors;
        - ``predicted_...`` and ``gap`` of `llm.measurement.comparison.compare`;
        - ``note``, which says in the last row why there is no kappa, or why it is too small in some row.

        A prompt whose completions all have the same reward is there like any other: without a signal its prediction is
        the behavior itself (for a shifted mean at kappa = shift), and its effective temperature is nan.

    Raises
    ------
    ValueError
        If there are no examples, a group size is missing or does not divide `samples`, or a reward is not a finite
        number for each completion.
    """
    if len(examples) == 0:
        raise ValueError("examples must have at least one row, got none")
    objective = as_objective(objective)
    models = (policy,) if twin is None else (policy, twin)
    worth = reward if isinstance(reward, Reward) else Reward(getattr(reward, "__name__", "function"), reward)
    asked = _Asked(tokenizer, [dict(row) for row in examples], worth, chat)
    if exact:
        pairs = _enumerated(models, behavior, asked, length)
    else:
        if group_size is None or samples < 1 or samples % group_size:
            raise ValueError(f"samples must be whole groups, got samples={samples} and group_size={group_size!r}")
        source = sampler or make_sampler("transformers", behavior, tokenizer, batch_size=batch_size)
        drawn = _Drawn((*models, behavior), source, tokenizer.pad_token_id, length, batch_size)
        pairs = _sampled(drawn, asked, group_size, samples, seed)
    bar = tqdm(pairs, total=len(examples), desc="measure", unit="prompt", delay=2, disable=None, leave=False)
    found = [
        compare(p.log_ratio, p.reward, objective, group_size=group_size, weights=p.weights, twin=p.twin) for p in bar
    ]
    rows = [{"kind": "prompt", "prompt": _said(row), **one.row} for row, one in zip(examples, found, strict=True)]
    pooled = {"kind": "pooled", "prompt": "", **pool(found)}
    if not has_kappa(objective):
        pooled["note"] = _no_kappa(objective)
    frame = pd.DataFrame([*rows, pooled], columns=list(COLUMNS))
    frame.attrs = {"objective": str(objective), "group_size": group_size, "exact": exact, "seed": seed}
    return frame


def _no_kappa(objective: Objective) -> str:
    return f"no kappa is read: targets of {objective} are not log w + kappa w = A/beta in its own advantage"


def _said(row: Mapping[str, Any]) -> str:
    """Show a prompt, or what the user says last in it."""
    prompt = row["prompt"]
    return str(prompt if isinstance(prompt, str) else prompt[-1]["content"])


class _Asked(NamedTuple):
    """Questions with the reward of their completions."""

    tokenizer: Any
    rows: list[dict[str, Any]]
    reward: Reward
    chat: Mapping[str, Any] | None

    def ids(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Tokens of the prompts."""
        return token_ids(self.tokenizer, [row["prompt"] for row in rows], self.chat)

    def rewards(self, row: Mapping[str, Any], completions: list[list[int]]) -> Floats:
        """Rewards ``(N,)`` of completions of one example, called as TRL does."""
        prompts = [row["prompt"]] * len(completions)
        texts = as_completions(self.tokenizer, prompts, completions)
        columns = {name: [value] * len(texts) for name, value in row.items() if name != "prompt"}
        return np.array(self.reward(prompts=prompts, completions=texts, completion_ids=completions, **columns))


class _Drawn(NamedTuple):
    """A sampler of the behavior, and the models that score its completions; the behavior is the last of them."""

    models: tuple[Any, ...]
    sampler: Sampler
    pad: int
    length: int
    batch_size: int

    def log_ratios(self, prompts: list[list[int]], count: int, seed: int) -> tuple[list[list[int]], Floats]:
        """Completions of the behavior, and the log-ratios ``(models, len(prompts), count)`` of the others to it."""
        completions = self.sampler.sample(prompts, count, length=self.length, seed=seed).completions
        rows = [prompt for prompt in prompts for _ in range(count)]
        scores = (score(model, rows, completions, pad=self.pad, batch_size=self.batch_size) for model in self.models)
        *ours, theirs = (np.array([steps.double().sum().item() for steps in one.log_probs]) for one in scores)
        return completions, (np.stack(ours) - theirs).reshape(-1, len(prompts), count)


def _sampled(drawn: _Drawn, asked: _Asked, group_size: int, samples: int, seed: int) -> Iterator[Pairs]:
    together = max(1, _TOGETHER // samples)
    for start in range(0, len(asked.rows), together):
        part = asked.rows[start : start + together]
        completions, log_ratio = drawn.log_ratios(asked.ids(part), samples, seed + start)
        for i, row in enumerate(part):
            rewards = asked.rewards(row, completions[i * samples : (i + 1) * samples])
            u, *twin = (one[i].reshape(-1, group_size) for one in log_ratio)
            yield Pairs(u, rewards.reshape(-1, group_size), None, *twin)


def _enumerated(models: tuple[Any, ...], behavior: Any, asked: _Asked, length: int) -> Iterator[Pairs]:
    ends, pad = required_tokens(asked.tokenizer, behavior)
    if len(ends) > 1:
        raise ValueError(f"exact: completions of this model end at any of the tokens {ends}, enumerated ones at one")
    completions = Completions(len(asked.tokenizer), ends[0], length, pad)
    ids = [row[:n] for row, n in zip(completions.tokens.tolist(), completions.lengths.tolist(), strict=True)]
    for row in asked.rows:
        (prompt,) = asked.ids([row])
        with torch.no_grad():
            every = [completions.log_probabilities(m, prompt).double().cpu().numpy() for m in (*models, behavior)]
        # Each is normalized: the rounding of a float32 model is no mass that went anywhere.
        *ours, theirs = (logs - np.logaddexp.reduce(logs) for logs in every)
        u, *twin = ((logs - theirs)[None] for logs in ours)
        yield Pairs(u, asked.rewards(row, ids)[None], np.exp(theirs)[None], *twin)
