r"""Groups through the trainer, the behavior frozen: measured kappa against the prediction for groups of that size.

Nothing here uses that completions could be enumerated but the columns that say so: the policy is trained on samples and
measured on fresh ones, as a large model would be.

The error of a measured kappa has two parts. Fresh samples are few: the jackknife of `llm.comparison.compare` gives that
part, with the rewards' own frequencies, for each prompt. Training saw few samples too, and stopped: that part shows in
how independent runs differ. One variance for it, the same for all prompts of an objective, is what must be added to the
first part so that the runs scatter around the mean of each prompt as they should, with a chi-square of its degrees of
freedom (Paule and Mandel 1982); none if they scatter less than that already. A formula for what finite data do to an
exact minimizer would not do: it is two to three times too small for Adam with a rate that decays. What all runs have in
common, such as too few steps, is in no error; it is what the comparison tests. Noise in the log-ratios is in the
regressor, too, and takes about half its variance off kappa: steps are enough where that is small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import pessimism as ps
from analysis.settings import at_temperature
from analysis.work import each
from llm.measure import measure
from llm.models import model_path
from llm.rewards import reward_function
from llm.validation.problem import SMOKE_MODEL, TRAINING, drawn, load
from llm.validation.training import trained

SMOKE: dict[str, Any] = {
    "model": SMOKE_MODEL,
    "objectives": ("kimi",),
    "prompts": 4,
    "batch": 4,
    "steps": 200,
    "rate": 1e-3,
    "samples": 512,
}
_OURS = (
    *("settings.py", *TRAINING, "llm/validation/sampled.py"),
    *("llm/comparison.py", "llm/generation.py", "llm/measure.py", "llm/readings.py", "llm/scoring.py"),
)
_COLUMNS = [
    *("objective", "seed", "kind", "prompt", "reward_mean", "regime", "kappa", "kappa_fit", "kappa_fit_error", "gap"),
    *("gap_error", "training_error", "error", "missing", "missing_error", "kappa_enumerated", "kappa_population"),
    "note",
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
    reward: str = "llm.tasks:digits_right",
) -> pd.DataFrame:
    """Kappa of trained policies, by prompt and pooled, beside the finite-group prediction.

    Parameters
    ----------
    model : str
        A small model that `llm.models` makes.
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
        As `llm.rewards.reward_function` takes it. With partial credit there are more than two points on the curve
        log w + kappa w = A/beta.

    Returns
    -------
    pandas.DataFrame
        A row per objective, seed and prompt (`kind` "prompt"), and one of all prompts ("pooled"): mean reward of the
        behavior, `regime` and `kappa` predicted for the group size, `kappa_fit` measured by least squares, the `gap`
        between them with `gap_error`, as `llm.comparison.compare` says, `training_error` of a kappa and `error` of
        both, see above (of "pooled", `gap_error` is that of the spread over prompts, with all of it, and is `error`);
        `missing`, the mass on completions that the samples do not show; and from enumeration `kappa_enumerated`, the
        prediction for the exact probabilities, and `kappa_population`, that for groups without end.

    Raises
    ------
    ValueError
        If there are fewer than two seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, for the error of the training, got {seeds}")
    settings = at_temperature(beta, objectives)
    setting = {"prompts": prompts, "group": group, "batch": batch, "steps": steps, "samples": samples}
    each_seed = range(1, seeds + 1)
    work = [(model, settings[name], name, seed, rate, reward, setting) for name in objectives for seed in each_seed]
    frame: pd.DataFrame = pd.concat(each(one_run, work, desc="sampled", ours=_OURS), ignore_index=True)
    spread = {name: training_error(part) for name, part in frame[frame["kind"] == "prompt"].groupby("objective")}
    frame["training_error"] = frame["objective"].map(spread)
    both = np.hypot(frame["gap_error"], frame["training_error"])
    frame["error"] = frame["gap_error"].where(frame["kind"] == "pooled", both)
    return frame.reindex(columns=_COLUMNS)


def training_error(frame: pd.DataFrame) -> float:
    """Standard deviation that training adds to the gaps of independent runs, rows with `prompt`, `gap`, `gap_error`.

    Examples
    --------
    >>> gaps = pd.DataFrame({"prompt": ["a", "a", "b", "b"], "gap": [0.3, -0.3, 0.4, 0.0], "gap_error": 0.1})
    >>> training_error(gaps)  # the variance within prompts is .13, of which .01 is known
    0.3464...
    """
    prompt, names = pd.factorize(frame["prompt"])
    gap, known = (frame[name].to_numpy(dtype=float) for name in ("gap", "gap_error"))
    freedom = len(gap) - len(names)

    def excess(variance: float) -> float:
        weight = 1.0 / (known**2 + variance)
        mean = np.bincount(prompt, weight * gap) / np.bincount(prompt, weight)
        return float(np.sum(weight * (gap - mean[prompt]) ** 2)) - freedom

    if excess(0.0) <= 0.0:
        return 0.0
    return float(np.sqrt(brentq(excess, 0.0, 2.0 * len(gap) * float(np.ptp(gap)) ** 2, xtol=1e-16, rtol=1e-12)))


def one_run(
    model: str, objective: ps.Objective, name: str, seed: int, rate: float, reward: str, setting: dict[str, int]
) -> pd.DataFrame:
    """Train on samples of the frozen model, measure on others, and enumerate."""
    folder = model_path(model)
    (policy, tokenizer, task), (behavior, *_) = load(folder), load(folder)
    examples = drawn(task, setting["prompts"], seed=0)
    length = task.completion_length + 1
    worth = reward_function(reward)
    given = (policy, behavior, tokenizer, examples, worth, objective)
    options: dict[str, Any] = {"length": length, "group_size": setting["group"]}
    trained(
        *(policy, tokenizer, examples, worth, objective),
        batch=setting["batch"],
        group=setting["group"],
        lag=setting["steps"],
        max_completion_length=length,
        max_steps=setting["steps"],
        learning_rate=rate,
        lr_scheduler_type="linear",
        seed=seed,
    )
    fresh = measure(*given, samples=setting["samples"], seed=2**20 * seed, batch_size=512, **options)
    exact = measure(*given, exact=True, **options)
    population = measure(*given, exact=True, length=length)
    weight = ((1.0 - fresh["missing"]) ** 2 / fresh["ess"])[:-1]  # E[w^2], as the measured kappa is pooled

    def enumerated(frame: pd.DataFrame) -> pd.Series[float]:
        known = frame["predicted_kappa"].copy()
        known.iloc[-1] = np.average(known[:-1], weights=weight)
        return known

    return fresh.assign(
        objective=name,
        seed=seed,
        reward_mean=exact["reward_mean"],
        kappa=fresh["predicted_kappa"],
        regime=fresh["predicted_regime"],
        kappa_enumerated=enumerated(exact),
        kappa_population=enumerated(population),
    )


def within(frame: pd.DataFrame, errors: float = 2.0) -> float:
    """Share of prompts whose gap is within so many standard errors of zero."""
    part = frame[frame["kind"] == "prompt"]
    return float(np.mean(np.abs(part["gap"]) <= errors * part["error"]))


def pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of the pooled rows, a row per objective, its error that of independent runs."""
    groups = frame[frame["kind"] == "pooled"].groupby("objective", sort=False)
    found = groups[["kappa", "gap", "kappa_population"]].mean()
    found["error"] = groups["error"].agg(lambda errors: np.sqrt(np.mean(errors**2) / len(errors)))
    return found.assign(measured=found["kappa"] + found["gap"])


def headline(frame: pd.DataFrame) -> str:
    """How often a measured kappa is where groups of this size should put it."""
    count = int((frame["kind"] == "prompt").sum())
    return f"{within(frame):.0%} of {count} measured kappas are within 2 errors of the finite-group prediction"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, pooled, and beside the prediction that knows nothing of groups."""
    rows = pooled(frame)
    said = "; ".join(
        f"{name} {measured:.4f} +- {error:.4f}, predicted {kappa:.4f} ({population:.4f} without groups)"
        for name, kappa, _, population, error, measured in rows.itertuples()
    )
    prompts = frame.loc[frame["kind"] == "prompt", "prompt"].nunique()
    return (
        f"Trained on sampled groups, {within(frame):.1%} of the kappas measured on {prompts} prompts are within two "
        f"standard errors of the prediction for groups of that size; pooled: {said}."
    )
