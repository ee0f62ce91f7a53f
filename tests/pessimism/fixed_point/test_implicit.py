"""Torch: gradients by the implicit formula, device and dtype, repeated use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

import pessimism as ps
from tests.helpers import accepted, cases, having, make_problem

CASES = cases()
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def tensors(seed: int = 0, width: int = 4, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    behaviors, rewards = map(np.stack, zip(*(make_problem(seed + i, width) for i in range(batch)), strict=True))
    return torch.tensor(behaviors), torch.tensor(rewards, requires_grad=True)


@pytest.mark.parametrize("name", [*having("gradient"), "oapl-published"])
@pytest.mark.parametrize("sampled", [False, True])
def test_gradient_of_the_policy(name: str, sampled: bool) -> None:
    behavior, reward = tensors()
    reward = torch.tensor(accepted(name, reward.detach().numpy()), requires_grad=True)
    if name == "oapl-published":
        reward = (reward.detach() * 1e-2).requires_grad_()  # away from policies that are one-hot in float64

    def policy(r: torch.Tensor) -> Any:
        return ps.induced_target(None if sampled else behavior, r, CASES[name]).policy

    size = 1e-7 if name == "oapl-published" else 1e-6
    assert torch.autograd.gradcheck(policy, (reward,), eps=size, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["kimi", "constant_baseline-negative", "nominal"])
@pytest.mark.parametrize("unseen", [False, True])
def test_gradient_with_a_leak_or_one_of_several_minima(name: str, unseen: bool) -> None:
    behavior, reward = tensors()
    assert torch.autograd.gradcheck(
        lambda r: ps.induced_target(behavior, r, CASES[name], unseen=unseen).policy,
        (reward,),
        eps=1e-6,
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["kimi", "oapl", "tba", "shifted_mean"])
def test_gradient_with_another_reference_and_empty_actions(name: str) -> None:
    reward = torch.tensor([0.3, -9.0, 1.0, -0.2], dtype=torch.float64, requires_grad=True)
    behavior = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    reference = torch.tensor([0.3, 0.1, 0.3, 0.3], dtype=torch.float64)

    def policy(r: torch.Tensor) -> Any:
        return ps.induced_target(behavior, r, CASES[name], reference=reference).policy

    assert torch.autograd.gradcheck(policy, (reward,), eps=1e-6, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(policy(reward)[0], reward)
    assert float(gradient[1]) == 0.0


def test_gradcheck_rejects_a_detached_policy() -> None:
    behavior, reward = tensors()

    def policy(r: torch.Tensor) -> Any:
        return ps.induced_target(behavior, r, "kimi", beta=0.3).policy.detach() + 0.0 * r

    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(policy, (reward,), eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["kimi", "mixed_chi2_kl", "truncated_is", "asym_re", "awr"])
def test_attaching_a_gradient_leaves_the_values(name: str) -> None:
    behavior, reward = tensors(width=6)
    with_gradient = ps.induced_target(behavior, reward, CASES[name])
    without = ps.induced_target(behavior, reward.detach(), CASES[name])
    assert with_gradient.policy.requires_grad
    assert not without.policy.requires_grad
    torch.testing.assert_close(with_gradient.policy.detach(), without.policy, rtol=1e-14, atol=0)


def test_a_second_use_gives_the_same_gradient() -> None:
    behavior, reward = tensors()
    gradients = []
    for _ in range(2):
        target = ps.induced_target(behavior, reward, "kimi", beta=0.3)
        value = (target.policy * reward.detach()).sum()
        gradients.append(torch.autograd.grad(value, reward, retain_graph=True)[0])
        gradients.append(torch.autograd.grad(value, reward)[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=0)
    assert reward.grad is None


def test_gradients_of_a_batch_stay_in_their_rows() -> None:
    behavior, reward = tensors(batch=3)
    policy = ps.induced_target(behavior, reward, "oapl", beta1=0.9, beta2=0.3).policy
    (gradient,) = torch.autograd.grad(policy[1, 0], reward)
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_device_and_type_are_kept(name: str, dtype: torch.dtype, device: str) -> None:
    behavior, reward = (t.detach() for t in tensors())
    reward = torch.tensor(accepted(name, reward.numpy()))
    behavior, reward = (t.to(device=device, dtype=dtype) for t in (behavior, reward))
    target = ps.induced_target(behavior, reward, CASES[name])
    for field in (
        "policy",
        "log_policy",
        "kappa",
        "multiplier",
        "baseline",
        "advantage",
        "leak",
        "residual",
        "nominal",
    ):
        value = getattr(target, field)
        assert (value.dtype, value.device) == (dtype, reward.device), field
    assert len(target.certificate()) == len(target.conservatism()) == 2


def test_a_list_beside_a_tensor_follows_it() -> None:
    target = ps.induced_target([0.5, 0.5], torch.tensor([0.0, 1.0]), "kimi", beta=0.3)
    assert isinstance(target.policy, torch.Tensor)
    assert target.policy.dtype == torch.float32


@pytest.mark.parametrize("name", ["tba", "rebel"])
def test_gradient_through_a_coupled_fixed_point(name: str) -> None:
    behavior, reward = tensors()

    def log_policy(r: torch.Tensor) -> Any:
        return ps.induced_target(behavior, r, CASES[name], method="fixed_point").log_policy

    assert torch.autograd.gradcheck(log_policy, (reward,), eps=1e-6, atol=1e-5, rtol=1e-5)


def test_gradients_are_of_the_reward_alone() -> None:
    behavior = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="^behavior must not require gradients"):
        ps.induced_target(behavior, torch.tensor([0.0, 1.0], dtype=torch.float64), "kimi")


def test_half_precision_is_refused() -> None:
    behavior = torch.softmax(torch.tensor([0.1, 0.2], dtype=torch.bfloat16), -1)
    with pytest.raises(ValueError, match="^behavior must be float32 or float64"):
        ps.induced_target(behavior, [0.0, 1.0], "kimi")


def test_a_bad_row_beside_a_gradient() -> None:
    reward = torch.tensor([[0.0, 1.0], [float("nan"), 1.0]], dtype=torch.float64, requires_grad=True)
    target = ps.induced_target([0.5, 0.5], reward, "kimi", beta=0.5, on_error="status")
    assert list(target.status) == ["converged", "invalid_input"]
    (gradient,) = torch.autograd.grad(target.policy[0, 0], reward)
    assert gradient[0, 0] > 0


def test_integers_have_no_say_in_the_type() -> None:
    reward = torch.tensor([0, 1])
    assert ps.induced_target([0.5, 0.5], reward, "kimi", beta=0.5).policy.dtype == torch.float64
    single = torch.tensor([0.5, 0.5], dtype=torch.float32)
    assert ps.induced_target(single, reward, "kimi", beta=0.5).policy.dtype == torch.float32
