"""Advantages that a log carries: every form of TRL and verl is known again, and what is none is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.advantage_check import check_advantages
from pessimism.diagnosis.logged_groups import LoggedGroups

RNG = np.random.default_rng(7)
REWARD = np.round(RNG.normal(1.0, 0.5, size=(6, 5)), 2)
REWARD[2] = 0.5  # equal rewards


def found(advantage: Any, reward: Any = REWARD, dtype: Any = float) -> Any:
    groups, n = np.shape(reward)
    log = pd.DataFrame(
        {
            "step": np.repeat(np.arange(groups) // 3, n),
            "prompt": np.repeat([f"p{i}" for i in range(groups)], n),
            "reward": np.ravel(reward),
            "advantage": np.ravel(advantage).astype(dtype).astype(float),
        }
    )
    return check_advantages(LoggedGroups.of(ps.read_rollouts(log)))


def by_loop(form: str) -> np.ndarray[Any, Any]:
    """The forms a second time, completion by completion, with the library's own means and spreads."""
    out = np.zeros_like(REWARD)
    for i, group in enumerate(REWARD):
        step = REWARD[3 * (i // 3) : 3 * (i // 3) + 3]
        batch, left = step.ravel(), np.concatenate([one - np.mean(one) for one in step])
        for k, r in enumerate(group):
            others = np.delete(group, k)
            out[i, k] = {
                "dr_grpo": r - np.mean(group),
                "trl": (r - np.mean(group)) / (np.std(group, ddof=1) + 1e-4),
                "verl": (r - np.mean(group)) / (np.std(group, ddof=1) + 1e-6),
                "population": (r - np.mean(group)) / (np.std(group) + 1e-8),
                "batch": (r - np.mean(group)) / (np.std(batch, ddof=1) + 1e-4),
                "whitened": (r - np.mean(batch)) / np.sqrt(np.var(batch, ddof=1) + 1e-8),
                "whitened_n": (r - np.mean(batch)) / np.sqrt(max(np.var(batch), 1e-8)),
                "left": (r - np.mean(group) - np.mean(left)) / np.sqrt(np.var(left, ddof=1) + 1e-8),
                "left_n": (r - np.mean(group) - np.mean(left)) / np.sqrt(max(np.var(left), 1e-8)),
                "rloo": r - np.mean(others),
                "rloo_std": (r - np.mean(others)) / (np.std(others, ddof=1) + 1e-4),
                "max_rl": (r - np.mean(group)) / (np.mean(group) + 1e-6),
            }[form]
    return out


FORMS = {
    "dr_grpo": "dr_grpo, the reward minus the mean of the group",
    "trl": "grpo, the mean and std of the group with 1e-04 added (TRL)",
    "verl": "grpo, the mean and std of the group with 1e-06 added (verl)",
    "population": "grpo, the mean and std (of n, not n - 1) of the group with 1e-08 added",
    "batch": "grpo, the mean of the group and std of the batch with 1e-04 added (TRL)",
    # verl's reinforce_plus_plus(_baseline) adds a constant to the variance, OpenRLHF's reinforce(_baseline) clamps it.
    "whitened": "reinforce_pp, whitened over the completions of the batch (verl)",
    "whitened_n": "reinforce_pp, whitened over the completions of the batch with a variance of n, not n - 1 (OpenRLHF)",
    "left": "reinforce_pp with the mean of the group as baseline, whitened over the completions of the batch (verl)",
    "left_n": "reinforce_pp with the mean of the group as baseline, whitened over the completions of the batch with a "
    "variance of n, not n - 1 (OpenRLHF)",
    "rloo": "rloo, the reward minus the mean of the other completions",
    "rloo_std": "rloo over the std of the other completions with 1e-04 added",
    "max_rl": "max_rl, the reward minus the mean of the group over that mean with 1e-06 added",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_each_form_is_known_again(form: str, dtype: Any) -> None:
    check = found(by_loop(form), dtype=dtype)
    assert check.fits
    # Beside 0 no single precision shows 1e-8.
    assert check.form in (FORMS[form], *([FORMS[form][: -len(" with 1e-08 added")]] if dtype is np.float32 else []))
    assert (check.agree, check.of) == (6, 6)
    assert check.error <= (1e-6 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize(("unbiased", "whose"), [(True, "(verl)"), (False, "n - 1 (OpenRLHF)")])
def test_whitening_is_over_the_tokens_where_lengths_are_known(unbiased: bool, whose: str) -> None:
    length = RNG.integers(1, 40, size=REWARD.shape)
    out = np.zeros_like(REWARD)
    for step in (slice(0, 3), slice(3, 6)):
        tokens = np.repeat(REWARD[step].ravel(), length[step].ravel())  # each token has the reward of its completion
        out[step] = (REWARD[step] - tokens.mean()) / np.sqrt(np.var(tokens, ddof=int(unbiased)) + 1e-8 * unbiased)
    facts = {"step": np.repeat([0, 1], 15), "prompt": np.repeat([f"p{i}" for i in range(6)], 5)}
    log = pd.DataFrame(facts | {"reward": REWARD.ravel(), "advantage": out.ravel(), "length": length.ravel()})
    check = check_advantages(LoggedGroups.of(ps.read_rollouts(log, length_column="length")))
    assert check is not None
    assert check.form is not None
    assert check.form.startswith("reinforce_pp, whitened over the tokens of the batch")
    assert check.form.endswith(whose)
    assert check.fits
    blind = check_advantages(LoggedGroups.of(ps.read_rollouts(log)))
    assert blind is not None
    assert not blind.fits


def test_four_decimals_are_enough_to_know_the_form() -> None:
    check = found(np.round(by_loop("trl"), 4))
    assert check.fits
    assert check.form.startswith("grpo, the mean and std of the group")
    assert check.error <= 5.1e-5 + 1e-12


def test_zeros_in_place_of_advantages_are_a_mismatch() -> None:
    check = found(np.zeros_like(REWARD))
    assert not check.fits
    assert check.form is None
    assert check.text.startswith("the logged advantages are all 0 and fit no form that is known here on these groups: ")
    assert "step 0, prompt 'p0' with rewards " in check.text


def test_the_first_group_that_disagrees_is_named() -> None:
    advantage = by_loop("trl")
    advantage[4] *= 2.0
    check = found(advantage)
    assert (check.fits, check.agree, check.of) == (False, 5, 6)
    assert " in 5 of 6 groups only; the first that disagrees: step 1, prompt 'p4' " in check.text


def test_groups_that_were_read_wrongly_disagree() -> None:
    """Two problems under one prompt: the advantages are those of the problems."""
    merged = np.concatenate([REWARD[:3], REWARD[3:]], axis=-1)
    check = found(np.concatenate([by_loop("trl")[:3], by_loop("trl")[3:]], axis=-1), merged)
    assert not check.fits


def test_groups_without_a_signal() -> None:
    equal = np.full((2, 4), 0.3)
    check = found(np.zeros((2, 4)), equal)
    assert check.fits
    assert check.text == "no group has a signal, and the logged advantages are 0, as they have to be (2 groups)"
    check = found(np.array([[0.0] * 4, [1.0, -1.0, 0.0, 0.0]]), equal)
    assert not check.fits
    assert check.text.startswith("no group has a signal, but in 1 of 2 groups the logged advantages are not 0")


def test_logs_without_advantages_are_not_checked() -> None:
    log = pd.DataFrame({"prompt": ["a"] * 4, "reward": [0, 1, 1, 0]})
    assert check_advantages(LoggedGroups.of(ps.read_rollouts(log))) is None
    lists = log.assign(advantage=[[0.0], [1.0], [1.0], [0.0]])
    assert check_advantages(LoggedGroups.of(ps.read_rollouts(lists))) is None
    single = pd.DataFrame({"prompt": ["a", "b"], "reward": [0, 1], "advantage": [0.0, 1.0]})
    assert check_advantages(LoggedGroups.of(ps.read_rollouts(single))) is None
