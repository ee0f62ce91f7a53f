"""The clipped ratio by its settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

import pessimism as ps
from pessimism.trainers.clip import clipped, corrected, note_cut_estimate
from pessimism.trainers.config import from_config
from pessimism.trainers.settings import Settings


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


def test_where_the_estimate_of_the_penalty_is_cut() -> None:
    """exp(-u) - 1 + u is 10 at a ratio of about 1/14."""
    assert brentq(lambda u: math.exp(-u) - 1.0 + u - 10.0, -5.0, -1.0) == pytest.approx(-math.log(14.0), abs=0.05)
    for made, said in ((ps.GRPO(), 1), (ps.GRPO(beta=0.0), 0), (ps.DAPO(), 0), (None, 0)):
        settings = Settings({}, {}, "here")
        note_cut_estimate(settings, "coef", made)
        assert len(settings.finish(from_config({}, trainer="trl")).not_modelled) == said
