"""A validated bandit: inputs that stay as they were, empty batches, single actions, other refusals."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.core.bandit import make_bandit
from tests.helpers import accepted, cases, make_problem

HALF = [0.5, 0.5]


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match='^on_error must be "raise" or "status", got \'ignore\'$'):
        make_bandit(HALF, [0, 1], on_error="ignore")
    for beta in (0.0, -1.0, np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match="^beta must be "):
            ps.nominal_target(HALF, [0, 1], beta)  # type: ignore[arg-type]
    for name in ("nominal", "awr", "asym_re", "truncated_is", "mixed_chi2_kl"):
        with pytest.raises(ValueError, match=f"^reference: objective {name}.* has no log-ratio to another reference"):
            ps.induced_target(HALF, [0, 1], name, reference=[0.4, 0.6])


@pytest.mark.parametrize("name", cases())
def test_inputs_stay_as_they_were(name: str) -> None:
    behaviors, rewards = map(np.stack, zip(*(make_problem(seed, 5) for seed in range(4)), strict=True))
    rewards = accepted(name, rewards)
    before = behaviors.copy(), rewards.copy()
    for array in (behaviors, rewards):
        array.flags.writeable = False
    ps.induced_target(behaviors, rewards, cases()[name])
    ps.induced_target(behaviors[0], rewards, cases()[name], unseen=True)
    np.testing.assert_array_equal(behaviors, before[0])
    np.testing.assert_array_equal(rewards, before[1])


@pytest.mark.parametrize("name", cases())
def test_empty_batches_and_single_actions(name: str) -> None:
    empty = ps.induced_target(np.full((0, 3), 1 / 3), np.zeros((0, 3)), cases()[name])
    assert empty.policy.shape == (0, 3)
    assert empty.kappa.shape == empty.regime.shape == (0,)
    lone = ps.induced_target([1.0], [0.3], cases()[name])
    np.testing.assert_allclose(lone.policy, [1.0], rtol=1e-15)
    assert float(lone.residual) <= 1e-15
