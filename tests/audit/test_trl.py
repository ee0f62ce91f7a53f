"""The third witness: the gradient of TRL's own loss is that of the objective, ``-q g`` along grad log pi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import pessimism as ps
from tests.audit import trl_losses as trl

Array = npt.NDArray[np.float64]

COUNTS = np.array([4, 7, 1, 5, 3])
Q = COUNTS / COUNTS.sum()
REWARD = np.array([0.3, 0.0, 1.0, 0.7, 0.1])
OTHER = np.array([0.3, 0.1, 0.15, 0.25, 0.2])
# Ratios from .14 to 4.3: inside and beyond every clip on both sides.
POLICIES = [np.random.default_rng(seed).normal(size=5) * 0.9 for seed in range(6)]


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], logits: Array) -> Array:
    theta = torch.tensor(logits, requires_grad=True)
    loss(theta).backward()
    assert theta.grad is not None
    return np.asarray(theta.grad.numpy())


def expected(name: str, hyper: dict[str, Any], logits: Array, reference: Array | None) -> Array:
    objective = ps.objectives()[name](**hyper)
    nu = Q if reference is None else reference
    log_policy = logits - np.logaddexp.reduce(logits)
    share = {} if reference is None or not objective.takes_share else {"log_share": np.log(nu / Q)}
    own = nu if objective.baseline_under_reference else Q
    g = objective.score_weight(log_policy - np.log(nu), objective.advantage(REWARD, own), Q, **share)
    return np.asarray(-(Q * g - np.exp(log_policy) * (Q * g).sum()))


CLIPS = {"eps_low": 0.2, "eps_high": 0.28}
WAYS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "grpo": ("grpo", {"beta": 0.0, **CLIPS}, {"high": 0.28}),
    "bnpo": ("grpo", {"beta": 0.0, **CLIPS}, {"high": 0.28, "loss_type": "bnpo"}),
    "dapo": ("dapo", CLIPS, {"high": 0.28, "loss_type": "dapo"}),
    "dr_grpo": ("dr_grpo", CLIPS, {"high": 0.28, "loss_type": "dr_grpo"}),
    "max_rl": ("max_rl", CLIPS, {"high": 0.28, "loss_type": "dapo"}),
    "grpo, k3": ("grpo", {"beta": 0.3, "unbiased_kl": False}, {"beta": 0.3}),
    "grpo, unbiased k3": ("grpo", {"beta": 0.3, "unbiased_kl": True}, {"beta": 0.3, "unbiased_kl": True}),
    "grpo, delta": ("grpo", {"beta": 0.0, "dual_clip": 1.5}, {"delta": 1.5}),
    "cispo": ("cispo", {"cap": 1.3}, {"high": 1.3, "loss_type": "cispo"}),
    "sapo": (
        "sapo",
        {"tau_pos": 0.75, "tau_neg": 2.0},  # TRL holds them in single precision: numbers that it holds exactly
        {"loss_type": "sapo", "sapo_temperature_pos": 0.75, "sapo_temperature_neg": 2.0},
    ),
    "vespo": ("vespo", {}, {"loss_type": "vespo"}),
    "vespo, others": (
        "vespo",
        {"k_pos": 1.5, "lambda_pos": 0.5, "k_neg": 2.5, "lambda_neg": 1.25},
        {"loss_type": "vespo", "k_pos": 1.5, "lambda_pos": 0.5, "k_neg": 2.5, "lambda_neg": 1.25},
    ),
    "gspo": ("gspo", {"length": 3, **CLIPS}, {"tokens": 3, "level": "sequence", "high": 0.28}),
    "luspo": ("luspo", {"length": 3, **CLIPS}, {"tokens": 3, "level": "sequence", "loss_type": "luspo", "high": 0.28}),
    "gmpo": ("gmpo", {"clip_low": 0.3, "clip_high": 0.5}, {"low": 0.3, "high": 0.5}),
}


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
@pytest.mark.parametrize("way", WAYS)
def test_loss_of_trl_has_the_gradient_of_the_objective(way: str, logits: Array) -> None:
    name, hyper, settings = WAYS[way]
    advantage = ps.objectives()[name](**hyper).advantage(REWARD, Q)
    compute = trl.gmpo if way == "gmpo" else trl.grpo
    found = gradient(lambda x: compute(x, COUNTS, advantage, old=Q, **settings), logits)
    assert np.abs(found).max() > 1e-6
    np.testing.assert_allclose(found, expected(name, hyper, logits, None), atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_vespo_of_trl_sees_the_ratio_of_the_sequence(logits: Array) -> None:
    """Its mean is over the tokens of the batch, so that a completion of two counts half."""
    advantage = ps.objectives()["vespo"]().advantage(REWARD, Q)
    found = gradient(lambda x: trl.grpo(x, COUNTS, advantage, old=Q, loss_type="vespo", tokens=2), logits)
    np.testing.assert_allclose(2.0 * found, expected("vespo", {}, logits, None), atol=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_grpo_of_trl_with_a_reference_of_its_own(logits: Array, unbiased: bool) -> None:
    hyper = {"beta": 0.3, "unbiased_kl": unbiased}
    advantage = ps.objectives()["grpo"](**hyper).advantage(REWARD, Q)
    found = gradient(lambda x: trl.grpo(x, COUNTS, advantage, old=Q, reference=OTHER, **hyper), logits)
    np.testing.assert_allclose(found, expected("grpo", hyper, logits, OTHER), atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_truncated_rollout_weights_of_trl(logits: Array) -> None:
    """The engine samples from q, the trainer's old policy is another, its ratio to q is capped."""
    hyper = {"correction": "truncate", "cap": 1.2}
    advantage = ps.objectives()["ppo_corrected"](**hyper).advantage(REWARD, Q)
    found = gradient(lambda x: trl.grpo(x, COUNTS, advantage, old=OTHER, correction=np.minimum(OTHER / Q, 1.2)), logits)
    np.testing.assert_allclose(found, expected("ppo_corrected", hyper, logits, OTHER), atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_rloo_of_trl_is_a_clipped_ratio(logits: Array) -> None:
    advantage = ps.objectives()["rloo_clipped"](**CLIPS).advantage(REWARD, Q)
    found = gradient(lambda x: trl.rloo(x, COUNTS, advantage, old=Q, low=0.2, high=0.28), logits)
    np.testing.assert_allclose(found, expected("rloo_clipped", CLIPS, logits, None), atol=1e-12)


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_a2po_of_trl_on_samples_of_the_initial_model(logits: Array) -> None:
    hyper = {"beta1": 0.5, "beta2": 0.3, "sampling": "off_policy"}
    value = 0.5 * np.log(OTHER @ np.exp(REWARD / 0.5))
    found = gradient(lambda x: trl.a2po(x, COUNTS, REWARD, reference=OTHER, value=value, beta2=0.3), logits)
    np.testing.assert_allclose(found, expected("a_star_po", hyper, logits, OTHER), atol=1e-12)


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
def test_dpo_of_trl_on_all_pairs(logits: Array, loss_type: str) -> None:
    name = {"sigmoid": "dpo", "ipo": "ipo"}[loss_type]
    hyper = {"beta": 0.3, "preference": "deterministic"}
    found = gradient(lambda x: trl.dpo(x, COUNTS, REWARD, reference=OTHER, beta=0.3, loss_type=loss_type), logits)
    theirs = expected(name, hyper, logits, OTHER)
    np.testing.assert_allclose(found / np.abs(found).max(), theirs / np.abs(theirs).max(), atol=1e-12)
