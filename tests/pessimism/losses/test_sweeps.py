"""Hyper-parameters that are arrays over the batch: one call is the loop over them, and torch has their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps

BEHAVIOR, REWARD = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.9, 0.6, 0.0])
VALUES = {
    "beta": [0.05, 0.3, 2.0],
    "beta1": [0.1, 0.5, 4.0],
    "beta2": [0.05, 0.3, 1.0],
    "shift": [-0.3, -0.1, -0.6],
    "value": [-0.5, 0.1, 0.4],
}
SWEPT = [(name, field) for name, cls in ps.objectives().items() for field in cls.sweeps]


def single(name: str, **hyper: float) -> Any:
    return ps.induced_target(BEHAVIOR, REWARD, name, **hyper)


def test_temperatures_and_baselines_of_the_regressions_sweep() -> None:
    expected = {
        *(("kimi", "beta"), ("shifted_mean", "beta"), ("shifted_mean", "shift"), ("nominal", "beta")),
        *(("oapl", "beta1"), ("oapl", "beta2"), ("a_star_po", "beta1"), ("a_star_po", "beta2")),
        *(("constant_baseline", "beta"), ("constant_baseline", "value"), ("optimal_value", "beta")),
    }
    assert expected <= set(SWEPT)


@pytest.mark.parametrize(("name", "field"), SWEPT)
def test_a_sweep_is_the_loop(name: str, field: str) -> None:
    swept = ps.induced_target(BEHAVIOR, REWARD, name, **{field: VALUES[field]})
    assert swept.policy.shape == (3, 4)
    loop = [single(name, **{field: value}) for value in VALUES[field]]
    for fact in ("log_policy", "kappa", "multiplier", "baseline", "leak", "advantage", "nominal"):
        together, alone = getattr(swept, fact), np.array([getattr(target, fact) for target in loop])
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-14, err_msg=fact)
    assert list(swept.regime) == [target.regime for target in loop]
    assert list(swept.status) == [target.status for target in loop]
    numbers = swept.conservatism().drop(columns="regime").to_numpy(float)
    alone = np.concatenate([target.conservatism().drop(columns="regime").to_numpy(float) for target in loop])
    np.testing.assert_allclose(numbers, alone, rtol=1e-8, atol=1e-12)
    residuals = swept.certificate()["worst"].to_numpy()
    np.testing.assert_allclose(residuals, [t.certificate()["worst"][0] for t in loop], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(("name", "field"), [("kimi", "beta"), ("oapl", "beta1"), ("topr", "value"), ("tba", "beta")])
def test_the_generic_route_sweeps_too(name: str, field: str) -> None:
    swept = ps.induced_target(BEHAVIOR, REWARD, name, method="fixed_point", **{field: VALUES[field]})
    for row, value in enumerate(VALUES[field]):
        alone = ps.induced_target(BEHAVIOR, REWARD, name, method="fixed_point", **{field: value})
        np.testing.assert_array_equal(swept.policy[row], alone.policy)


def test_arrays_broadcast_against_the_batch_and_each_other() -> None:
    rewards = np.stack([REWARD, REWARD[::-1]])[:, None, :]  # (2, 1, K)
    target = ps.induced_target(BEHAVIOR, rewards, "shifted_mean", beta=np.array([[0.1], [0.2]]), shift=[0.0, 1.0, 2.0])
    assert target.policy.shape == (2, 3, 4)
    alone = ps.induced_target(BEHAVIOR, rewards[1, 0], "shifted_mean", beta=0.2, shift=2.0)
    np.testing.assert_allclose(target.policy[1, 2], alone.policy, rtol=1e-12)
    np.testing.assert_allclose(ps.nominal_target(BEHAVIOR, REWARD, [0.1, 0.2])[1], single("nominal", beta=0.2).policy)
    around = ps.nominal_target(BEHAVIOR, REWARD, [0.1, 0.2], reference=BEHAVIOR[::-1])
    np.testing.assert_allclose(around[1], ps.nominal_target(BEHAVIOR, REWARD, 0.2, reference=BEHAVIOR[::-1]))


def test_verify_takes_each_row_with_its_own() -> None:
    assert ps.verify(ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=[0.1, 0.5]))["agrees"].all()


@pytest.mark.parametrize(("name", "field"), SWEPT)
def test_torch_carries_the_gradient_of_a_hyper_parameter(name: str, field: str) -> None:
    values = VALUES[field]
    leaf = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    target = ps.induced_target(torch.tensor(BEHAVIOR), torch.tensor(REWARD), name, **{field: leaf})
    probe = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((target.policy @ probe).sum(), leaf)
    step = 1e-6
    for row, value in enumerate(values):
        ends = [single(name, **{field: value + sign * step}).policy @ probe.numpy() for sign in (1, -1)]
        assert gradient[row].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_a_single_tensor_is_differentiated_too() -> None:
    beta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    target = ps.induced_target(BEHAVIOR.tolist(), REWARD.tolist(), ps.Kimi(beta=beta))  # type: ignore[arg-type]
    assert target.policy.shape == (4,)
    target.policy[1].backward()
    assert beta.grad is not None
    ends = [single("kimi", beta=0.3 + step).policy[1] for step in (1e-6, -1e-6)]
    assert beta.grad.item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_a_bad_row_is_marked_alone() -> None:
    rewards = np.stack([REWARD, [0.0, np.nan, 0.0, 1.0], REWARD])
    target = ps.induced_target(BEHAVIOR, rewards, "kimi", beta=[0.1, 0.2, 0.3], on_error="status")
    assert list(target.status) == ["converged", "invalid_input", "converged"]
    np.testing.assert_allclose(target.policy[2], single("kimi", beta=0.3).policy, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ps.Kimi(beta=[0.1, -0.2]), r"kimi: beta\[1\] must be > 0, got -0.2$"),  # type: ignore[arg-type]
        (lambda: ps.Kimi(beta=[0.1, np.nan]), r"kimi: beta\[1\] must be a finite number, got nan$"),  # type: ignore[arg-type]
        (lambda: ps.TRPO(delta=np.array([0.1, 0.2])), "trpo: delta must be one number, not an array over the batch$"),  # type: ignore[arg-type]
        (
            lambda: ps.MixedChi2KL(gamma=np.ones(2)),  # type: ignore[arg-type]
            "mixed_chi2_kl: gamma must be one number, not an array over the batch, which beta may be",
        ),
        (
            lambda: ps.induced_target(np.full((2, 2), 0.5), [0.0, 1.0], "kimi", beta=[0.1, 0.2, 0.3]),
            "leading shapes must broadcast against each other, got ",
        ),
        (
            lambda: ps.induced_target([0.5, 0.5], [0.0, 1.0], "shifted_mean", beta=[0.1, 0.2], shift=[1.0, 2.0, 3.0]),
            "hyper-parameters of shifted_mean must broadcast against each other, got ",
        ),
        (
            lambda: ps.gradient_flow([0.5, 0.5], [0.0, 1.0], "kimi", beta=[0.1, 0.2]),
            "kimi: beta must be one number here; induced_target takes arrays",
        ),
        (
            lambda: ps.finite_group(ps.Kimi(beta=np.array([0.1, 0.2])), 4, pass_rate=0.5),  # type: ignore[arg-type]
            "kimi: beta must be one number here",
        ),
    ],
)
def test_what_does_not_sweep_says_so(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        call()


@pytest.mark.parametrize("given", [list, np.asarray], ids=["list", "numpy"])
def test_a_tensor_of_temperatures_keeps_its_gradient_and_all_digits(given: Any) -> None:
    beta = torch.tensor([0.1, 0.3], dtype=torch.float64, requires_grad=True)
    policy = ps.induced_target(given(BEHAVIOR), given(REWARD), "kimi", beta=beta).policy
    assert policy.dtype == torch.float64
    assert torch.autograd.grad(policy[0, 1], beta)[0][0] != 0.0
    expected = ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=[0.1, 0.3]).policy
    np.testing.assert_allclose(policy.detach().numpy(), expected, rtol=1e-14)


def test_a_sweep_that_is_no_array() -> None:
    with pytest.raises(ValueError, match=r"^kimi: beta must be a finite number, got \[\[0.1\], \[0.2, 0.3\]\]$"):
        ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=[[0.1], [0.2, 0.3]])


@pytest.mark.parametrize("name", ["awr", "kimi"])
def test_both_routes_have_the_gradient_of_a_temperature(name: str) -> None:
    """That of AWR appears in a weight that knows no log-ratio."""
    found = []
    for method in ("closed_form", "fixed_point"):
        beta = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
        policy = ps.induced_target(BEHAVIOR, REWARD, name, beta=beta, method=method).policy
        found.append(torch.autograd.grad(policy[:, 1].sum(), beta)[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-7)
    assert np.all(found[0] != 0.0)
