"""What a problem must be: every refusal names the argument, the place and the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.bandit import make_bandit

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


def test_messages_are_keyed_by_the_callers_index() -> None:
    reward = np.zeros((2, 3, 2))
    reward[1, 2, 0] = np.nan
    found = ps.induced_target(HALF, reward, "kimi", on_error="status")
    assert found.message == {(1, 2): "reward[1, 2, 0] must be finite, got nan"}
    single = ps.induced_target(HALF, reward[1, 2], "kimi", on_error="status")
    assert single.status == "invalid_input"
    assert single.message == {(): "reward[0] must be finite, got nan"}


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
