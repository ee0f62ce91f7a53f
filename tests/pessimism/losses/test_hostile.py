"""Hostile problems for every registered objective: faint actions, ties, extreme rewards and hyper-parameters.

What comes back is a policy with an honest status, alone and beside others, or a refusal in one line.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
from tests.cases import CASES
from tests.hostile import Attack, attacks, judge, run

_SEEDS = st.integers(0, 2**32 - 1)
# One case of each objective; the others differ in settings, which an attack varies anyhow.
FIRST = {case.objective.name: label for label, case in reversed(CASES.items())}


@pytest.mark.parametrize("name", FIRST)
@settings(max_examples=2)
@given(seed=_SEEDS)
def test_a_hostile_problem_ends_in_a_policy_or_an_honest_status(name: str, seed: int) -> None:
    attack = next(attacks(FIRST[name], seed, rows=2, widths=(1, 2, 3, 5)))
    assert run(attack).faults == []


@pytest.mark.nightly
@pytest.mark.parametrize("label", CASES)
@settings(max_examples=60)
@given(seed=_SEEDS)
def test_many_hostile_problems_end_in_a_policy_or_an_honest_status(label: str, seed: int) -> None:
    assert run(next(attacks(label, seed))).faults == []


def test_the_judge_finds_a_wrong_policy() -> None:
    behavior, reward = np.array([[0.3, 0.7], [0.2, 0.8]]), np.array([[0.0, 1.0], [0.5, 1.0]])
    attack = Attack("kimi", ps.Kimi(beta=0.5), behavior, reward, False)
    target = ps.induced_target(behavior, reward, ps.Kimi(beta=0.5))
    assert judge(attack, target) == ["", ""]
    solution, beside = target.solution, np.log(1.0 + np.array([1e-4, -1e-4]) / target.policy[1])
    tilted = solution.log_ratio + np.stack([[1e-4, 0.0], beside])  # the second sums to one
    first, second = judge(attack, replace(target, solution=solution._replace(log_ratio=tilted)))
    assert first.startswith("converged: sum")
    assert second.startswith("converged: certificate")


# Found by such an attack: the policies are those of 50 digits, or follow from the text of the objective.
def test_faint_actions_keep_what_is_theirs() -> None:
    # What the first action must give up, at its lower clip, goes to one of 5e-16, the only one that may have it.
    q = np.array([1.0 - 5e-16, 5e-16])
    clipped = ps.induced_target(q, [-1.0, 0.0], "ppo", eps_low=1e-6, eps_high=0.3)
    np.testing.assert_allclose(clipped.policy, [1.0 - 1e-6, 1e-6], rtol=1e-9)
    # Equal rewards: q_a (1 - pi_a) is the same for both, so that pi_2/q_2 = 1/(1 + q_2).
    balanced = ps.induced_target([1.0, 1e-160], [0.7, 0.7], "chord", mu=0.95)
    np.testing.assert_allclose(balanced.policy, [1.0, 1e-160], rtol=1e-14)
    assert float(balanced.certificate()["worst"].iloc[0]) < 1e-12
    # V* of an action of e^-153 whose reward outweighs that.
    beta, rare = 6.35e-7, 2.5e-67
    target = ps.induced_target([1.0, rare], [0.0, 1.0], "optimal_value", beta=beta)
    np.testing.assert_allclose(target.baseline, 1.0 + beta * np.log(rare), rtol=1e-14)


def test_sequences_longer_than_700_tokens_have_a_certificate() -> None:
    target = ps.induced_target([0.4, 0.3, 0.3], [-0.2, 0.3, 0.6], "luspo", length=2656.0, eps_low=0.3, eps_high=0.46)
    assert target.status == "vanishing_support"
    assert float(target.certificate()["worst"].iloc[0]) < 1e-12


@pytest.mark.parametrize("scale", [1e-47, 1e-10, 1e10, 1e51])
def test_standardized_rewards_of_any_size_are_one_problem(scale: float) -> None:
    one = ps.induced_target(None, [1.0, -1.0, 0.3], "apa", beta=0.8, eps=1e-4)
    target = ps.induced_target(None, np.array([1.0, -1.0, 0.3]) * scale, "apa", beta=0.8, eps=1e-4 * scale**2)
    assert target.status == "converged"
    np.testing.assert_allclose(target.policy, one.policy, rtol=1e-12)


@pytest.mark.parametrize(
    ("hyper", "reward", "behavior", "message"),
    [
        ({}, [0.7, 1e300], [0.3, 0.7], r"reward[1] must be at most 1e+100 in size, got 1e+300"),
        ({}, [0.7, 0.1], [5e-324, 1.0], r"behavior[0] must be 0 or at least 1e-301: a ratio to less overflows, got"),
        ({"beta": 1e-300}, [0.7, 0.1], [0.3, 0.7], r"kimi: beta must be at least 1e-100, got 1e-300"),
        ({"beta": 1e300}, [0.7, 0.1], [0.3, 0.7], r"kimi: beta must be at most 1e+100 in size, got 1e+300"),
        ({"beta": 1e-3}, [1e99, 0.1], [0.3, 0.7], r"reward: the advantage of kimi(beta=0.001) must be at most 1e+100"),
    ],
)
def test_what_float64_cannot_work_with_is_refused(
    hyper: dict[str, float], reward: list[float], behavior: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)) as caught:
        ps.induced_target(behavior, reward, "kimi", **hyper)
    assert "\n" not in str(caught.value)
