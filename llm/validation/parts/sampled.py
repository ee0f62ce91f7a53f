r"""Groups through the trainer on a frozen behavior: measured kappa against the prediction for groups of that size.

Only the columns that say so use that completions can be enumerated: the policy is trained on samples and measured on
fresh ones, as a large model would be.

Training saw few samples, and missed its target by noise. Runs with other seeds say by how much. Measured on the same
fresh completions, each run is the instrument for another (`llm.measurement.comparison.compare`), so that the noise does
not take anything off kappa. The scatter of the kappas of the runs is the error of training: one variance for all
prompts of an objective, from the median over the prompts (a prompt where a rare completion was sampled scatters by
that). The jackknife of `compare` gives the other part of the error, of few fresh samples, for each prompt.

No error contains what all runs have in common: that is what the comparison tests. Too few steps would show, for
example. Likely completions are learned first, and a policy on its way to its target shows too small a kappa, by
s^2 (kappa + 1 / (2 E[w^2])) for a log-ratio that misses it by s.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import chi2

import pessimism as ps
from analysis.names import display_name
from analysis.settings import at_temperature
from analysis.work import each
from llm.data.rewards import reward_function
from llm.measurement.measure import measure
from llm.models.load import model_path
from llm.storage import fingerprints
from llm.validation.problem import SMOKE_MODEL, drawn, load, one_thread
from llm.validation.training import trained

Weights = dict[str, NDArray[Any]]

SMOKE: dict[str, Any] = {
    "model": SMOKE_MODEL,
    "objectives": ("kimi",),
    "prompts": 4,
    "batch": 4,
    "steps": 200,
    "rate": 1e-3,
    "samples": 512,
}
FULL: dict[str, Any] = {"steps": 1800}
_COLUMNS = [
    *("objective", "kind", "prompt", "reward_mean", "regime", "kappa", "kappa_fit", "gap", "gap_error"),
    *("training_error", "error", "missing", "missing_error", "kappa_enumerated", "kappa_population", "note"),
]


def sampled(
    model: str = "tiny",
    objectives: tuple[str, ...] = ("kimi", "shifted_mean", "oapl", "optimal_value"),
    beta: float = 0.5,
    seeds: int = 2,
    prompts: int = 24,
    group: int = 16,
    batch: int = 24,
    steps: int = 600,
    rate: float = 5e-4,
    samples: int = 1024,
    reward: str = "llm.data.addition:digits_right",
) -> pd.DataFrame:
    """Kappa of trained policies, by prompt and pooled, beside the finite-group prediction.

    Parameters
    ----------
    model : str
        A small model that `llm.models.load` makes.
    objectives : tuple of str
        Squared regressions, whose target has a kappa; OAPL keeps its published beta1.
    beta : float
        Temperature of the regressions.
    seeds : int
        Independent runs, at least 2, on the same prompts.
    prompts, group : int
        Prompts in all, and completions of each drawn at a time.
    batch, steps, rate : int, int, float
        Prompts of a step, steps, and the learning rate, which falls to 0 linearly.
    samples : int
        Fresh completions of each prompt that kappa is measured on.
    reward : str
        As `llm.data.rewards.reward_function` takes it. With partial credit there are more than two points on the curve
        log w + kappa w = A/beta.

    Returns
    -------
    pandas.DataFrame
        A row per objective and prompt (`kind` "prompt"), means over the runs, and one of all prompts ("pooled", with
        the weights E[w^2] that prompts have in one fit): mean reward of the behavior, `regime` and `kappa` predicted
        for the group size, `kappa_fit` by least squares, the `gap` to the prediction and its `gap_error`, as
        `llm.measurement.comparison.compare` says with a twin; `training_error` of the mean over runs and `error` of
        both, see above (of "pooled" the spread over prompts is `error`, with all of it); `missing`, the mass on
        completions that the samples do not show; and from enumeration `kappa_enumerated`, the prediction for the exact
        probabilities, and `kappa_population`, that for groups without end.

    Raises
    ------
    ValueError
        If there are fewer than two seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, for the error of the training, got {seeds}")
    code = fingerprints.of_reward(reward_function(reward))
    asked = _Asked(model, reward, code, prompts, group, batch, steps, rate, samples)
    settings = at_temperature(beta, objectives)
    runs = [(asked, settings[name], seed) for name in objectives for seed in range(1, seeds + 1)]
    policies = each(policy_of, runs, desc="sampled")
    own = [policies[start : start + seeds] for start in range(0, len(policies), seeds)]
    work = [(asked, settings[name], mine) for name, mine in zip(objectives, own, strict=True)]
    frames = each(measured, work, desc="measured")
    parts = [averaged(frame).assign(objective=name) for name, frame in zip(objectives, frames, strict=True)]
    return pd.concat(parts, ignore_index=True).reindex(columns=_COLUMNS)


class _Asked(NamedTuple):
    """Settings that are the same for all runs."""

    model: str
    reward: str
    reward_sha256: str | None
    prompts: int
    group: int
    batch: int
    steps: int
    rate: float
    samples: int


def policy_of(asked: _Asked, objective: ps.Objective, seed: int) -> Weights:
    """Weights of the model trained on samples of itself."""
    policy, tokenizer, task = load(model_path(asked.model))
    length = task.completion_length + 1
    trained(
        *(policy, tokenizer, drawn(task, asked.prompts, seed=0), reward_function(asked.reward), objective),
        batch=asked.batch,
        group=asked.group,
        lag=asked.steps,
        max_completion_length=length,
        max_steps=asked.steps,
        learning_rate=asked.rate,
        lr_scheduler_type="linear",
        max_grad_norm=0.0,  # a clipped gradient has another mean, and with it training another end
        seed=seed,
    )
    return {name: tensor.numpy().copy() for name, tensor in policy.state_dict().items()}


def measured(asked: _Asked, objective: ps.Objective, policies: list[Weights]) -> pd.DataFrame:
    """Measure each run with the next one as its twin, on the same completions, and by enumeration."""
    behavior, tokenizer, task = load(model_path(asked.model))
    models = [_with(asked.model, weights) for weights in policies]
    examples, worth = drawn(task, asked.prompts, seed=0), reward_function(asked.reward)
    given: dict[str, Any] = {"length": task.completion_length + 1, "group_size": asked.group}
    with one_thread():
        # The prediction is of the behavior alone.
        of = behavior, behavior, tokenizer, examples, worth, objective
        exact = measure(*of, exact=True, **given)
        population = measure(*of, exact=True, **given | {"group_size": None})
        frames = [
            measure(model, *of[1:], twin=twin, samples=asked.samples, batch_size=512, **given)
            for model, twin in zip(models, [*models[1:], models[0]], strict=True)
        ]
    same = {
        "reward_mean": exact["reward_mean"],
        "kappa_enumerated": exact["predicted_kappa"],
        "kappa_population": population["predicted_kappa"],
    }
    return pd.concat([frame.assign(seed=seed, **same) for seed, frame in enumerate(frames, 1)], ignore_index=True)


def _with(source: str, weights: Weights) -> Any:
    model, *_ = load(model_path(source))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of the prompts over the runs, and add a row of all prompts, with their errors; see `sampled`."""
    runs = frame[frame["kind"] == "prompt"].rename(columns={"predicted_kappa": "kappa", "predicted_regime": "regime"})
    runs = runs.assign(weight=(1.0 - runs["missing"]) ** 2 / runs["ess"])  # E[w^2]
    groups = runs.groupby("prompt", sort=False)
    rows = groups.mean(numeric_only=True).join(groups[["kind", "regime", "note"]].first()).reset_index()
    count = runs["seed"].nunique()
    rows["training_error"] = np.sqrt(groups["gap"].var().median() / chi2.median(count - 1) * (count - 1) / count)
    rows["error"] = np.hypot(rows["gap_error"], rows["training_error"])
    weight = rows["weight"] / rows["weight"].sum()
    values = rows.select_dtypes("number")
    pooled: dict[Any, Any] = values.mul(weight, axis=0).sum().to_dict()
    spread = np.sqrt(len(rows) / (len(rows) - 1) * np.sum((weight * (rows["gap"] - pooled["gap"])) ** 2))
    regimes = set(rows["regime"])
    pooled |= dict.fromkeys(("gap_error", "training_error", "missing_error"), np.nan)
    last = pooled | {"kind": "pooled", "error": spread, "regime": regimes.pop() if len(regimes) == 1 else "mixed"}
    return pd.concat([rows, pd.DataFrame([last])], ignore_index=True)


def within(frame: pd.DataFrame, errors: float = 2.0) -> float:
    """Compute the share of prompts whose gap is within so many standard errors of zero."""
    part = frame[frame["kind"] == "prompt"]
    return float(np.mean(np.abs(part["gap"]) <= errors * part["error"]))


def pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the pooled rows by objective, with kappa as `measured`."""
    rows = frame[frame["kind"] == "pooled"].set_index("objective")[["kappa", "gap", "kappa_population", "error"]]
    return rows.assign(measured=rows["kappa"] + rows["gap"])


def headline(frame: pd.DataFrame) -> str:
    """Say how often a measured kappa is where groups of this size should put it."""
    count = int((frame["kind"] == "prompt").sum())
    return f"{within(frame):.0%} of {count} measured kappas are within 2 errors of the finite-group prediction"


def finding(frame: pd.DataFrame) -> str:
    """Say the same in a sentence, pooled, and beside the prediction without groups."""
    rows = pooled(frame)
    said = "; ".join(
        f"{display_name(name)} {measured:.4f} +- {error:.4f}, predicted {kappa:.4f} ({population:.4f} without groups)"
        for name, kappa, _, population, error, measured in rows.itertuples()
    )
    prompts = frame.loc[frame["kind"] == "prompt", "prompt"].nunique()
    return (
        f"Trained on sampled groups, {within(frame):.1%} of the kappas measured on {prompts} prompts are within two "
        f"standard errors of the prediction for groups of that size; pooled: {said}."
    )
