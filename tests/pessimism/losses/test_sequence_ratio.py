"""LUSPO and GMPO against concave programs, the losses as published and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.convex.verify import verify
from pessimism.fixed_point.flow import flow_target


@pytest.mark.parametrize("seed", range(8))
def test_luspo_weighs_completions_by_their_length(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, reward, length = rng.dirichlet(np.full(5, 2.0)), rng.integers(0, 3, 5) / 2, rng.integers(1, 6, 5)
    target = ps.induced_target(q, reward, "luspo", length=length, eps_low=0.3, eps_high=rng.uniform(0.02, 1.5))
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    row = verify(target).iloc[0]
    assert row["agrees"], row


def test_luspo_ends_where_its_flow_does_and_elsewhere_than_gspo() -> None:
    q, reward, length = np.array([0.4, 0.25, 0.2, 0.15]), np.array([0.0, 1.0, 0.7, 0.9]), np.array([2.0, 3.0, 1.5, 4.0])
    luspo, gspo = (ps.induced_target(q, reward, name, length=length, eps_high=3.0) for name in ("luspo", "gspo"))
    flow = flow_target(luspo.bandit, luspo.row_objective, luspo.advantage_rows)
    np.testing.assert_allclose(q * np.exp(flow.log_ratio[0]), luspo.policy, atol=1e-9)
    assert np.abs(luspo.policy - gspo.policy).max() > 0.01
    one = [ps.induced_target(q, reward, name, length=3.0, eps_high=3.0).policy for name in ("luspo", "gspo")]
    np.testing.assert_allclose(*one, rtol=1e-13)


def test_luspo_is_trls_sum_over_the_tokens() -> None:
    """One clipped ratio for all tokens, summed over them, as `GRPOTrainer._compute_loss` does."""
    u, A, length = torch.tensor([0.3, -0.2, 0.9]), torch.tensor([1.0, -0.5, 2.0]), torch.tensor([3.0, 1.0, 5.0])
    s = torch.exp(u / length)
    expected = -torch.minimum(s * A, torch.clamp(s, 0.9, 1.1) * A) * length
    found = ps.LUSPO(length=length.tolist(), eps_low=0.1, eps_high=0.1).loss(u, A)
    torch.testing.assert_close(found, expected)


def test_gmpo_of_one_token_is_a_clipped_ratio() -> None:
    """The published loss: exp of the mean over tokens of sgn(A) min(sgn(A) u, clip(sgn(A) u, -e, e))."""
    u, A = torch.linspace(-1.0, 1.0, 21, dtype=torch.float64), torch.tensor([1.0, -1.0]).repeat(11)[:21].double()
    sign = torch.sign(A)
    held = sign * torch.minimum(sign * u, torch.clamp(sign * u, -0.4, 0.4))
    torch.testing.assert_close(ps.GMPO().loss(u, A), -A * torch.exp(held))
    q, reward = [0.5, 0.3, 0.2], [0.0, 1.0, 0.3]
    ppo = ps.induced_target(q, reward, "dapo", eps_low=-np.expm1(-0.4), eps_high=np.expm1(0.4))
    np.testing.assert_allclose(ps.induced_target(q, reward, "gmpo").policy, ppo.policy, rtol=1e-13)
    with pytest.raises(ValueError, match="^gmpo: length must be 1: it clips every token inside one ratio"):
        ps.GMPO(length=7)
