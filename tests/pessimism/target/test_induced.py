"""The verb: objectives of one's own, methods that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from tests.flows import flow_to_rest
from tests.helpers import (
    assert_log_policies_agree,
    assert_policy,
    make_problem,
)
from tests.pessimism.fixed_point.own import Coupled, Uncoupled


@pytest.mark.parametrize("mine", [Uncoupled(), Coupled()])
def test_an_objective_of_ones_own_gets_its_target(mine: Any) -> None:
    behavior, reward = make_problem(9, 5)
    target = ps.induced_target(behavior, reward, mine)
    assert target.status == "converged"
    assert_policy(target.policy, behavior)
    pull = behavior * mine.score_weight(target.log_ratio, target.advantage, behavior)
    np.testing.assert_allclose(pull, pull.sum() * target.policy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(target.baseline, behavior @ reward, rtol=1e-12)
    np.testing.assert_allclose(target.multiplier, pull.sum(), rtol=1e-8)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    followed, rests = flow_to_rest(
        behavior, np.log(behavior), lambda u: mine.score_weight(u, target.advantage, behavior), np.log(behavior)
    )
    assert rests
    np.testing.assert_allclose(np.exp(followed), target.policy, atol=1e-6)
    frame = target.conservatism()
    assert len(frame) == 1
    assert frame["pessimism_factor"].iloc[0] >= 1.0


def test_an_objective_of_ones_own_on_torch_and_in_batches() -> None:
    behavior, reward = make_problem(9, 5)
    single = ps.induced_target(behavior, reward, Uncoupled())
    batch = ps.induced_target(torch.tensor(behavior), torch.tensor(np.stack([reward, 2 * reward])), Uncoupled())
    assert isinstance(batch.policy, torch.Tensor)
    assert_log_policies_agree(batch.log_policy.numpy()[0], single.log_policy)


def test_methods_that_do_not_exist_are_refused() -> None:
    behavior, reward = make_problem(0, 3)
    with pytest.raises(ValueError, match="^method: objective .* has no closed form$"):
        ps.induced_target(behavior, reward, Uncoupled(), method="closed_form")
    with pytest.raises(ValueError, match='^method must be None, "closed_form" or "fixed_point", got \'newton\'$'):
        ps.induced_target(behavior, reward, "kimi", method="newton")
