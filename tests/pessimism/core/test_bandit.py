"""Validation: every refusal names the argument, the place and the rule; inputs stay as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.bandit import make_bandit
from tests.helpers import Array, accepted, assert_log_policies_agree, assert_policy, cases, make_problem

HALF = [0.5, 0.5]
RULES: dict[str, tuple[Any, Any, Any, str]] = {
    "nan reward": (HALF, [0.0, np.nan], None, r"^reward\[1\] must be finite, got nan$"),
    "infinite reward": (HALF, [np.inf, 0.0], None, r"^reward\[0\] must be finite, got inf$"),
    "opposite infinities": (HALF, [np.inf, -np.inf], None, r"^reward\[0\] must be finite, got inf$"),
    "nan reward in a batch": (HALF, [[0.0, 1.0], [-np.inf, 0.0]], None, r"^reward\[1, 0\] must be finite, got -inf$"),
    "deep batch": (HALF, [[[0, 1]], [[0, np.nan]]], None, r"^reward\[1, 0, 1\] must be finite, got nan$"),
    "negative probability": ([1.5, -0.5], [0, 1], None, r"^behavior\[1\] must be a probability >= 0, got -0.5$"),
    "nan probability": ([np.nan, 1.0], [0, 1], None, r"^behavior\[0\] must be a probability >= 0, got nan$"),
    "infinite probability": ([np.inf, 0.0], [0, 1], None, r"^behavior must sum to 1 within 1e-06, got inf$"),
    "both infinities": ([np.inf, -np.inf], [0, 1], None, r"^behavior\[1\] must be a probability >= 0, got -inf$"),
    "sum": ([0.5, 0.6], [0, 1], None, r"^behavior must sum to 1 within 1e-06, got 1.1$"),
    "sum in a batch": ([HALF, [0.5, 0.4]], [0, 1], None, r"^behavior\[1\] must sum to 1 within 1e-06, got 0.9$"),
    "no mass": ([0.0, 0.0], [0, 1], None, r"^behavior must sum to 1 within 1e-06, got 0$"),
    "reference": (HALF, [0, 1], [0.7, 0.7], r"^reference must sum to 1 within 1e-06, got 1.4$"),
    "reference support": (HALF, [0, 1], [1.0, 0.0], r"^reference\[1\] must be positive wherever behavior is"),
    "scalar": (HALF, 1.0, None, r"^reward must have at least one dimension \(the actions\), got a scalar$"),
    "empty group": ([], [], None, r"^behavior has an empty group: the last axis must hold at least one action$"),
    "widths": (
        HALF,
        [0, 1, 2],
        None,
        r"^last axes must agree in the number of actions, got {'behavior': 2, 'reward': 3}$",
    ),
    "leading": ([HALF] * 2, [[0, 1]] * 3, None, r"^leading shapes must broadcast against each other, got "),
    "ragged": (HALF, [[0, 1], [0]], None, r"^reward must be a rectangular array of numbers: rows differ in length$"),
    "text": (HALF, ["a", "b"], None, r"^reward must be real numbers, got values of type <U1$"),
    "complex": (HALF, [1j, 0], None, r"^reward must be real numbers, got values of type complex128$"),
}


@pytest.mark.parametrize("rule", RULES)
def test_refusals_name_argument_place_and_rule(rule: str) -> None:
    behavior, reward, reference, message = RULES[rule]
    with pytest.raises(ValueError, match=message):
        make_bandit(behavior, reward, reference)
    with pytest.raises(ValueError, match=message):
        ps.induced_target(behavior, reward, "kimi", reference=reference)


def test_refusals_hold_for_tensors() -> None:
    with pytest.raises(ValueError, match=r"^behavior\[1\] must be a probability >= 0, got -0.5$"):
        make_bandit(torch.tensor([1.5, -0.5]), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"^reward\[1\] must be finite, got nan$"):
        make_bandit(torch.tensor(HALF), torch.tensor([0.0, torch.nan]))
    with pytest.raises(ValueError, match=r"^reward\[1, 0\] must be finite, got inf$"):
        make_bandit(torch.tensor(HALF), torch.tensor([[0.0, 1.0], [torch.inf, 0.0]], requires_grad=True))


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match='^on_error must be "raise" or "status", got \'ignore\'$'):
        make_bandit(HALF, [0, 1], on_error="ignore")
    for beta in (0.0, -1.0, np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match="^beta must be "):
            ps.nominal_target(HALF, [0, 1], beta)  # type: ignore[arg-type]
    for name in ("nominal", "awr", "asym_re", "truncated_is", "mixed_chi2_kl"):
        with pytest.raises(ValueError, match=f"^reference: objective {name}.* has no log-ratio to another reference"):
            ps.induced_target(HALF, [0, 1], name, reference=[0.4, 0.6])


def test_sums_within_the_tolerance_are_normalized() -> None:
    bandit = make_bandit([0.5, 0.5 + 9e-7], [0, 1])
    np.testing.assert_allclose(bandit.behavior.sum(), 1.0, atol=1e-15)
    with pytest.raises(ValueError, match="behavior must sum to 1"):
        make_bandit([0.5, 0.5 + 1.1e-6], [0, 1])


@pytest.mark.parametrize(
    ("behavior", "reward", "dtype"),
    [
        (HALF, [0, 1], np.float64),
        (np.array(HALF, dtype=np.float32), [0.0, 1.0], np.float32),
        (np.array(HALF, dtype=np.float32), np.array([0.0, 1.0]), np.float64),
        (np.array(HALF, dtype=np.float32), np.array([0, 1]), np.float32),
        (HALF, np.array([0, 1]), np.float64),
        (HALF, np.array([0, 1], dtype=np.int8), np.float64),
        (HALF, np.array([False, True]), np.float64),
        (None, np.array([0.0, 1.0], dtype=np.float32), np.float32),
    ],
)
def test_types_of_results(behavior: Any, reward: Any, dtype: Any) -> None:
    target = ps.induced_target(behavior, reward, "kimi", beta=0.5)
    for field in (
        "policy",
        "log_policy",
        "log_ratio",
        "kappa",
        "leak",
        "nominal",
        "baseline",
        "multiplier",
        "residual",
    ):
        assert getattr(target, field).dtype == dtype, field


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
    assert sorted(found.message) == [(3,), (4,), (5,), (6,)]
    assert found.message[(4,)] == "reward[4, 0] must be finite, got nan"
    assert found.message[(3,)] == "behavior[3] must sum to 1 within 1e-06, got 1.3"
    frame = found.conservatism()
    assert frame.loc[~valid, "kl"].isna().all()
    assert frame.loc[valid, "kl"].notna().all()
    assert np.isnan(found.certificate()["worst"].to_numpy())[~valid].all()


def test_messages_are_keyed_by_the_callers_index() -> None:
    reward = np.zeros((2, 3, 2))
    reward[1, 2, 0] = np.nan
    found = ps.induced_target(HALF, reward, "kimi", on_error="status")
    assert found.message == {(1, 2): "reward[1, 2, 0] must be finite, got nan"}
    single = ps.induced_target(HALF, reward[1, 2], "kimi", on_error="status")
    assert single.status == "invalid_input"
    assert single.message == {(): "reward[0] must be finite, got nan"}


def test_huge_rewards_of_one_row_do_not_spoil_the_batch() -> None:
    reward = np.array([[1e308, -1e308], [0.0, 1.0]])
    found = ps.induced_target(HALF, reward, "kimi", beta=0.5, on_error="status")
    expected = ps.induced_target(HALF, reward[1], "kimi", beta=0.5)
    assert_log_policies_agree(found.log_policy[1], expected.log_policy)


@pytest.mark.parametrize("name", cases())
def test_empty_batches_and_single_actions(name: str) -> None:
    empty = ps.induced_target(np.full((0, 3), 1 / 3), np.zeros((0, 3)), cases()[name])
    assert empty.policy.shape == (0, 3)
    assert empty.kappa.shape == empty.regime.shape == (0,)
    lone = ps.induced_target([1.0], [0.3], cases()[name])
    np.testing.assert_allclose(lone.policy, [1.0], rtol=1e-15)
    assert float(lone.residual) <= 1e-15


def test_sampled_baseline_is_the_one_subtracted() -> None:
    for behavior, reference in (([0.2, 0.3, 0.5], [0.1, 0.2, 0.7]), (None, [0.1, 0.2, 0.7]), (None, None)):
        objective = ps.AStarPO(beta1=0.5, beta2=0.3, sampling="off_policy")
        target = ps.induced_target(behavior, [0.0, 1.0, 2.0], objective, reference=reference)
        np.testing.assert_allclose(target.baseline, target.reward - target.advantage, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.complex128])
def test_other_number_types_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match="^behavior must be "):
        make_bandit(np.array(HALF, dtype=dtype), [0, 1])


def test_reward_is_required() -> None:
    with pytest.raises(ValueError, match="^reward must be given"):
        ps.induced_target(HALF, None, "kimi")


def test_many_bad_rows_are_marked_together() -> None:
    reward = np.where(np.arange(5000)[:, None] % 2 == 0, np.nan, [[0.0, 1.0]])
    target = ps.induced_target(HALF, reward, "kimi", beta=0.5, on_error="status")
    assert np.array_equal(target.status == "invalid_input", np.arange(5000) % 2 == 0)
    assert np.isnan(target.policy[::2]).all()
    assert np.isfinite(target.policy[1::2]).all()
    assert len(target.message) == 2500


def test_rewards_beyond_squaring_do_not_warn() -> None:
    target = ps.induced_target(HALF, [[1e200, -1e200], [0.0, 1.0]], "kimi", beta=1.0)
    np.testing.assert_allclose(target.policy[0], [1.0, 0.0], atol=1e-15)


def test_an_advantage_of_another_shape_is_refused() -> None:
    class Flat:
        def advantage(self, reward: Any, weights: Any = None) -> Any:
            return reward.mean(axis=-1)

        def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
            return advantage - log_ratio

        loss = score_weight

    with pytest.raises(ValueError, match="advantage must keep the shape of the rewards"):
        ps.induced_target(HALF, [0.0, 1.0], Flat())
    with pytest.raises(TypeError, match="got the class Flat: call it"):
        ps.induced_target(HALF, [0.0, 1.0], Flat)  # type: ignore[arg-type]
