"""The clipped ratio by its settings."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pessimism as ps
from pessimism.trainers.clip import clipped, corrected


def test_the_name_follows_from_scale_and_penalty() -> None:
    assert clipped(0.1, 0.3, scale="none", dual_clip=3.0) == ps.DrGRPO(eps_low=0.1, eps_high=0.3, dual_clip=3.0)
    assert clipped(0.1, 0.3, beta=0.2, scale="none") == ps.GRPO(beta=0.2, eps_low=0.1, eps_high=0.3, scale="none")
    assert clipped(0.2, 0.2, unbiased_kl=True) == ps.GRPO(beta=0.0)


@pytest.mark.parametrize("made", [ps.GRPO(beta=0.0), ps.DAPO(), ps.DrGRPO()], ids=str)
def test_a_correction_keeps_clip_and_advantage(made: ps.Objective) -> None:
    """Without a policy of the trainer's own it is the same loss."""
    found = corrected(made, "mask", 0.5, math.inf)
    assert found is not None
    assert (found.correction, found.low, found.cap) == ("mask", 0.5, math.inf)
    reward, u = np.array([0.0, 1.0, 0.3]), np.array([-0.5, 0.1, 0.4])
    advantage = made.advantage(reward)
    np.testing.assert_array_equal(found.advantage(reward), advantage)
    np.testing.assert_array_equal(found.score_weight(u, advantage), made.score_weight(u, advantage))


def test_no_correction_for_others() -> None:
    for made in (ps.GRPO(), ps.GSPO(), ps.LUSPO(), ps.CISPO(), None):
        assert corrected(made, "mask", 0.0, 2.0) is None
