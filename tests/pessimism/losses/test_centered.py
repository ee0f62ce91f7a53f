"""Losses in gaps of the group: pairs by hand, win probabilities, no baseline that matters."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from tests.helpers import make_problem
from tests.pessimism.losses.published import win


def test_ipo_is_the_tilt_by_win_probabilities() -> None:
    q, reward = make_problem(16, 5)
    for preference in ("bradley_terry", "deterministic"):
        beats = np.array([sum(q[j] * win(reward[i] - reward[j], preference) for j in range(5)) for i in range(5)])
        weight = q * np.exp(beats / 0.2)
        target = ps.induced_target(q, reward, "ipo", beta=0.2, preference=preference)
        np.testing.assert_allclose(target.policy, weight / weight.sum(), rtol=1e-12)
        np.testing.assert_allclose(target.advantage, beats - 0.5, atol=1e-14)
        assert np.isnan(target.baseline)
