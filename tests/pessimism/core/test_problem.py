"""A problem as every route takes it: advantages that fit, rows that are refused beside others that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import Array, assert_log_policies_agree, assert_policy, make_problem

HALF = [0.5, 0.5]


def mixed_batch() -> tuple[Array, Array, list[str]]:
    """Positive, boundary, negative (for a constant baseline of 0.5) and invalid problems in one batch."""
    good, _ = make_problem(0, 3)
    behavior = np.stack([good, good, good, [0.5, 0.6, 0.2], good, [np.nan, 0.5, 0.5], good, good])
    reward = np.array(
        [
            [3, 1, 2],
            [0.5, 0.5, 0.5],
            [0, 0.1, 0.2],
            [1, 2, 3],
            [np.nan, 0, 1],
            [1, 1, 1],
            [np.inf, -np.inf, 0],
            [1, 0, 1],
        ]
    )
    kinds = ["positive", "boundary", "negative", "undefined", "undefined", "undefined", "undefined", "positive"]
    return behavior, reward, kinds


@pytest.mark.parametrize("objective", [ps.ConstantBaseline(beta=0.3, value=0.5), ps.TruncatedIS(beta=0.3), ps.AsymRE()])
def test_invalid_rows_leave_their_neighbours_untouched(objective: Any) -> None:
    behavior, reward, kinds = mixed_batch()
    found = ps.induced_target(behavior, reward, objective, on_error="status")
    valid = np.array([kind != "undefined" for kind in kinds])
    # The same batch with harmless rows in place of the invalid ones: bit for bit.
    clean_behavior = np.where(valid[:, None], behavior, 1 / 3)
    clean_reward = np.where(valid[:, None], reward, 0.0)
    clean = ps.induced_target(clean_behavior, clean_reward, objective)
    for field in (
        "policy",
        "log_policy",
        "log_ratio",
        "kappa",
        "multiplier",
        "baseline",
        "advantage",
        "leak",
        "residual",
    ):
        values, expected = getattr(found, field), getattr(clean, field)
        np.testing.assert_array_equal(values[valid], expected[valid], err_msg=field)
        assert np.isnan(values[~valid]).all(), field
    assert (found.regime[~valid] == "undefined").all()
    assert (found.status[~valid] == "invalid_input").all()
    if isinstance(objective, ps.ConstantBaseline):
        assert found.regime.tolist() == kinds
        assert_policy(found.policy[valid], behavior[valid])
    several = [(row,) for row in np.flatnonzero(found.status == "local_minimum")]
    assert sorted(found.message) == sorted([*several, (3,), (4,), (5,), (6,)])
    assert found.message[(4,)] == "reward[4, 0] must be finite, got nan"
    assert found.message[(3,)] == "behavior[3] must sum to 1 within 1e-06, got 1.3"
    frame = found.conservatism()
    assert frame.loc[~valid, "kl"].isna().all()
    assert frame.loc[valid, "kl"].notna().all()
    assert np.isnan(found.certificate()["worst"].to_numpy())[~valid].all()


def test_huge_rewards_of_one_row_do_not_spoil_the_batch() -> None:
    reward = np.array([[1e308, -1e308], [0.0, 1.0]])
    found = ps.induced_target(HALF, reward, "kimi", beta=0.5, on_error="status")
    expected = ps.induced_target(HALF, reward[1], "kimi", beta=0.5)
    assert_log_policies_agree(found.log_policy[1], expected.log_policy)


def test_sampled_baseline_is_the_one_subtracted() -> None:
    for behavior, reference in (([0.2, 0.3, 0.5], [0.1, 0.2, 0.7]), (None, [0.1, 0.2, 0.7]), (None, None)):
        objective = ps.AStarPO(beta1=0.5, beta2=0.3, sampling="off_policy")
        target = ps.induced_target(behavior, [0.0, 1.0, 2.0], objective, reference=reference)
        np.testing.assert_allclose(target.baseline, target.reward - target.advantage, rtol=1e-13)


def test_the_largest_rewards_do_not_warn_and_larger_ones_are_refused() -> None:
    target = ps.induced_target(HALF, [[1e100, -1e100], [0.0, 1.0]], "kimi", beta=1.0)
    np.testing.assert_allclose(target.policy[0], [1.0, 0.0], atol=1e-15)
    with pytest.raises(ValueError, match=r"reward\[0, 0\] must be at most 1e\+100 in size, got 1e\+200"):
        ps.induced_target(HALF, [[1e200, -1e200], [0.0, 1.0]], "kimi", beta=1.0)


def test_an_advantage_of_another_shape_is_refused() -> None:
    class Flat:
        def advantage(self, reward: Any, weights: Any = None) -> Any:
            return reward.mean(axis=-1)

        def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
            return advantage - log_ratio

        loss = score_weight

    with pytest.raises(ValueError, match="advantage must keep the shape of the rewards"):
        ps.induced_target(HALF, [0.0, 1.0], Flat(), check=False)
    with pytest.raises(TypeError, match=r"got the class Flat: write Flat\(\)"):
        ps.induced_target(HALF, [0.0, 1.0], Flat)  # type: ignore[arg-type]
