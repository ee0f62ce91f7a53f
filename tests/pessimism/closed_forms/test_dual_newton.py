"""One scalar unknown a row: large batches, extreme rows, and starts far from the solution."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import (
    assert_log_policies_agree,
    assert_policy,
    cases,
)

CASES = cases()


@pytest.mark.parametrize(
    ("behavior", "reward", "beta", "cap"),
    [
        ([0.64, 0.14, 0.22], [0.9, -0.3, 1.3], 0.05, 10.0),
        ([0.62, 0.02, 0.36], [-2.3, -0.3, -0.9], 0.05, 3.0),
        ([0.11, 0.4, 0.49], [-0.5, -0.1, 1.7], 0.05, 10.0),
    ],
)
def test_truncated_target_from_a_far_start(behavior: list[float], reward: list[float], beta: float, cap: float) -> None:
    """The first step of the joint iteration overshoots to no mass at all here; it must not count as solved."""
    target = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=cap)
    assert_policy(target.policy, np.array(behavior))
    generic = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=cap, method="fixed_point")
    assert_log_policies_agree(target.log_policy, generic.log_policy, tolerance=1e-10)


@pytest.mark.parametrize(
    "name", ["kimi", "oapl", "oapl-published", "truncated_is", "truncated_is-small_cap", "mixed_chi2_kl"]
)
def test_every_row_of_a_large_batch_is_solved(name: str) -> None:
    """Random widths of spread and sparsity: no row is left, and each passes its certificate."""
    rng = np.random.default_rng(13)
    behavior = rng.dirichlet(np.full(9, 0.3), size=4000)
    behavior[rng.random(behavior.shape) < 0.15] = 0.0
    behavior = behavior[behavior.sum(axis=-1) > 0.1]
    behavior /= behavior.sum(axis=-1, keepdims=True)
    reward = rng.normal(size=behavior.shape) * np.exp(rng.uniform(-6, 3, size=(len(behavior), 1)))
    target = ps.induced_target(behavior, reward, CASES[name])
    wrong = np.flatnonzero((target.status != "converged") | (target.residual > 1e-12))
    assert not wrong.size, [(behavior[i].tolist(), reward[i].tolist()) for i in wrong[:3]]
    assert target.certificate()["worst"].max() <= 1e-10


@pytest.mark.parametrize(
    "name", ["kimi", "shifted_mean", "oapl", "constant_baseline", "std_normalized", "truncated_is"]
)
@pytest.mark.parametrize("beta", [1e-5, 1e-2, 1.0, 1e3])
def test_extreme_rows_are_solved(name: str, beta: float) -> None:
    """Probabilities down to 1e-300 and heavy-tailed rewards, where Z overflows or a rare action decides."""
    rng = np.random.default_rng(29)
    behavior = 10.0 ** -rng.uniform(0, 300, size=(500, 12))
    behavior[:, 0] = 1.0
    behavior /= behavior.sum(axis=-1, keepdims=True)
    reward = np.where(rng.random((500, 1)) < 0.5, rng.standard_cauchy((500, 12)), rng.random((500, 12)) < 0.3)
    objective = CASES[name].at_temperature(beta)
    target = ps.induced_target(behavior, reward, objective, unseen=True)
    wrong = np.flatnonzero((target.status != "converged") | (target.residual > 1e-10))
    assert not wrong.size, [(behavior[i].tolist(), reward[i].tolist()) for i in wrong[:3]]
    if name == "truncated_is":
        return
    # Every action keeps its digits, however large kappa and small its ratio.
    np.testing.assert_array_equal(np.isnan(target.kappa), target.leak > 0)
    # What stays where mass leaks obeys u = z.
    u, z, kappa = target.log_ratio, target.advantage / beta, np.nan_to_num(target.kappa)[:, None]
    pull = kappa * np.exp(u)
    assert np.all(np.abs(u + pull - z) / (1 + pull) <= 1e-12 + 16 * np.finfo(float).eps * np.abs(u))


@pytest.mark.parametrize("width", [3, 8, 64])
@pytest.mark.parametrize("name", ["kimi", "shifted_mean"])
def test_a_row_alone_is_the_row_in_a_batch(name: str, width: int) -> None:
    """To the last bit: neither the layout of a chunk nor a hard neighbor shows in a row."""
    rng = np.random.default_rng(1)
    behavior, reward = rng.dirichlet(np.ones(width), 60), rng.normal(size=(60, width))
    batch = ps.induced_target(behavior, reward, CASES[name]).log_ratio
    alone = [ps.induced_target(q, r, CASES[name]).log_ratio for q, r in zip(behavior, reward, strict=True)]
    np.testing.assert_array_equal(batch, np.stack(alone))
