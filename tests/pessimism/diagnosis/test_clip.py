"""Where clips take hold, against the published clips written down by hand."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.diagnosis.clip import Clip, clip_of

U = np.concatenate([np.linspace(-4.0, 4.0, 1601) + 1e-4, [0.0]])
P = np.full_like(U, 0.3)
CLIPPED = {"ppo", "grpo", "dr_grpo", "dapo", "max_rl", "reinforce_pp", "ppo_corrected", "rloo_clipped", "gmpo"}
OTHERS = {
    "gspo",
    "luspo",
    "kimi_k25",
    "dppo",
    "dppo_tv",
    "prime_ipo",
    "cispo",
    "truncated_is",
    "topr",
    "weight_clipping",
}


def of_tokens(objective: ps.Objective) -> tuple[np.ndarray, np.ndarray]:
    clip = clip_of(objective)
    assert clip is not None
    return clip.of_tokens(U, P)


def test_which_objectives_have_one() -> None:
    assert {name for name, cls in ps.objectives().items() if clip_of(cls())} == CLIPPED | OTHERS


@pytest.mark.parametrize(
    ("objective", "low", "high"),
    [
        (ps.GRPO(), 0.8, 1.2),
        (ps.GRPO(beta=0.5), 0.8, 1.2),
        (ps.GRPO(beta=0.5, unbiased_kl=True), 0.8, 1.2),
        (ps.DAPO(eps_high=0.28), 0.8, 1.28),
        (ps.PPO(eps_low=0.1, eps_high=0.3), 0.9, 1.3),
        (ps.DrGRPO(), 0.8, 1.2),
    ],
)
def test_the_clip_of_ppo(objective: ps.Objective, low: float, high: float) -> None:
    up, down = of_tokens(objective)
    np.testing.assert_array_equal(up, np.exp(U) > high)
    np.testing.assert_array_equal(down, np.exp(U) < low)


def test_the_dual_clip() -> None:
    up, down = of_tokens(ps.PPO(dual_clip=3.0))
    np.testing.assert_array_equal(up, np.exp(U) > 1.2)
    np.testing.assert_array_equal(down, (np.exp(U) < 0.8) | (np.exp(U) > 3.0))


def test_caps_and_masks() -> None:
    up, down = of_tokens(ps.CISPO(cap=1.5))
    np.testing.assert_array_equal(up, np.exp(U) > 1.5)
    np.testing.assert_array_equal(down, up)
    floor, _ = of_tokens(ps.CISPO(cap=1.5, floor=0.5))
    np.testing.assert_array_equal(floor, (np.exp(U) > 1.5) | (np.exp(U) < 0.5))
    for sign in of_tokens(ps.objectives()["kimi_k25"]()):
        np.testing.assert_array_equal(sign, (np.exp(U) > 8.0) | (np.exp(U) < 0.125))
    never, below = of_tokens(ps.objectives()["topr"]())
    assert not never.any()
    np.testing.assert_array_equal(below, U > 0)


def test_the_change_of_a_probability() -> None:
    objective = ps.objectives()["prime_ipo"]()
    up, down = of_tokens(objective)
    np.testing.assert_array_equal(up, np.abs(0.3 * np.expm1(U)) > objective.threshold)
    np.testing.assert_array_equal(down, up)


def test_lengths_move_the_clip_of_a_sequence() -> None:
    lengths = np.array([1.0, 4.0])
    clip = Clip(ps.GSPO(eps_low=0.1, eps_high=0.1, length=lengths), True, True)
    for ratio, expected in (1.15, [True, False]), (1.5, [True, True]):
        assert clip.touches(np.full(2, np.log(ratio)), np.ones(2)).tolist() == expected
        assert clip.touches(np.full(2, np.log(ratio)), -np.ones(2)).tolist() == [False, False]


def test_no_advantage_and_no_mass_are_not_touched() -> None:
    clip = clip_of(ps.PPO())
    assert clip is not None
    assert not clip.touches(np.array([1.0, -1.0, -800.0]), np.array([0.0, 0.0, 1.0])).any()


def test_at_the_behavior_nothing_is_touched() -> None:
    for name in CLIPPED | OTHERS:
        clip = clip_of(ps.objectives()[name]())
        assert clip is not None
        assert not np.any(clip.of_tokens(np.zeros(3), np.array([0.1, 0.5, 0.9]))), name
