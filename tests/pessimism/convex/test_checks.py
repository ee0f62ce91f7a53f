"""Programs with the multipliers that a target predicts for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import pessimism as ps
from pessimism.convex.verify import verify
from tests.helpers import cases
from tests.pessimism.convex.conditions import assert_agrees, problems

CASES = cases()


def test_multiplier_is_that_of_the_target() -> None:
    for label in ("nominal", "kimi", "shifted_mean", "awr", "mixed_chi2_kl", "a_star_po-off_policy"):
        target = ps.induced_target(*problems(label), CASES[label])
        frame = verify(target)
        np.testing.assert_allclose(frame["multiplier"], target.multiplier, rtol=1e-12)
        np.testing.assert_allclose(frame["dual"], target.multiplier, atol=1e-5)
    kimi = ps.induced_target(*problems("kimi"), CASES["kimi"])
    np.testing.assert_allclose(verify(kimi)["dual"], 2 * 0.3**2 * kimi.kappa, atol=1e-5)


def test_a_wrong_kappa_of_truncated_weights_shows_in_the_multiplier() -> None:
    target = ps.induced_target(*problems("truncated_is"), CASES["truncated_is"])
    wrong = verify(replace(target, solution=target.solution._replace(kappa=target.solution.kappa * 1.01)))
    assert (wrong["dual_error"] > 1e-4).all()
    assert not wrong["agrees"].any()


def test_close_advantages_beside_a_distant_one() -> None:
    target = ps.induced_target([1e-30, 0.5, 0.5 - 1e-30], [0.9, 0.5, 0.1], "pevi")
    assert_agrees(verify(target))
    assert target.policy.tolist() == [0.0, 1.0, 0.0]
