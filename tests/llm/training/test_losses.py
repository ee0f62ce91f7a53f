"""The loss on samples against numpy and the tabular gradient, for every objective, and what descent on it leads to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import pessimism as ps
from analysis.lag_steps import group_gradient
from llm.training.losses import at_level, objective_loss, published_level, why_untrainable, with_lengths
from pessimism.core.objective import as_objective
from tests.helpers import accepted, cases

PROMPTS, GROUP = 3, 6
TRAINED = [name for name, o in cases().items() if why_untrainable(o, published_level(o)) is None]


def drawn(name: str, width: int, policy: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Log-policies ``(3, width)``, and groups of 6 with their rewards."""
    rng = np.random.default_rng(width)
    tables = {key: np.log(rng.dirichlet(np.full(width, 9.0), size=PROMPTS)) for key in ("policy", "data", "start")}
    if policy is not None:
        tables["policy"] = policy
    actions = rng.integers(width, size=(PROMPTS, GROUP))
    return tables | {"actions": actions, "reward": accepted(name, rng.normal(size=(PROMPTS, GROUP)).round(2))}


def looked_up(p: dict[str, np.ndarray], objective: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Log-probabilities ``(3, 6)`` of the reference, and log(reference / behavior), None where they are one."""
    data, start = (np.take_along_axis(p[key], p["actions"], axis=-1) for key in ("data", "start"))
    return (start, start - data) if objective.reference_policy == "initial" else (data, None)


def expected_loss(p: dict[str, np.ndarray], objective: Any) -> float:
    reference, share = looked_up(p, objective)
    u = np.take_along_axis(p["policy"], p["actions"], axis=-1) - reference
    options = {"log_share": share} if objective.takes_share else {}
    return float(np.mean(objective.loss(u, objective.advantage(p["reward"], None), None, **options)))


def expected_gradient(p: dict[str, np.ndarray], objective: Any) -> np.ndarray:
    """Of the loss, on the logits ``(3, width)``: -mean g (1{a} - policy), with the published score weight g."""
    reference, share = looked_up(p, objective)
    u = np.take_along_axis(p["policy"], p["actions"], axis=-1) - reference
    options = {"log_share": share} if objective.takes_share else {}
    g = objective.score_weight(u, objective.advantage(p["reward"], None), None, **options) / u.size
    chosen = p["actions"][..., None] == np.arange(p["policy"].shape[-1])
    gradient = -np.einsum("ni,nia->na", g, chosen - np.exp(p["policy"])[:, None, :])
    if not objective.on_policy:  # whose weight in the table holds the ratio that fresh data make 1
        first = p["start"] if objective.reference_policy == "initial" else p["data"]
        data = p["data"] if objective.takes_share else first
        ascent = group_gradient(objective, p["policy"], data, first, p["actions"], p["reward"])
        np.testing.assert_allclose(gradient, -ascent / PROMPTS, rtol=1e-12, atol=1e-12 * np.abs(gradient).max())
    return gradient


def found_loss(logits: torch.Tensor, p: dict[str, np.ndarray], objective: Any) -> torch.Tensor:
    """The loss of the trainer on completions of one token."""
    reference, share = looked_up(p, objective)
    logs = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(p["actions"]))
    advantage = objective.advantage(torch.tensor(p["reward"]), None).flatten()
    return objective_loss(
        objective,
        (logs - torch.tensor(reference)).flatten()[:, None],
        advantage,
        torch.ones(PROMPTS * GROUP, 1),
        level=published_level(objective),
        group=GROUP,
        log_share=None if share is None else torch.tensor(share).flatten()[:, None],
    )


def test_every_objective_is_here() -> None:
    """Those that do not train are known ones."""
    names = {cases()[name].name for name in TRAINED}
    assert set(ps.objectives()) - names == {
        *("luffy", "chord", "cql", "cql_huber", "divergence_augmented"),
        *("gmpo", "ppo_corrected", "dppo", "dppo_tv", "prime_ipo"),
    }


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("name", TRAINED)
def test_loss_and_gradient_are_the_tabular_ones(name: str, width: int) -> None:
    objective, p = cases()[name], drawn(name, width)
    logits = torch.tensor(p["policy"], requires_grad=True)
    loss = found_loss(logits, p, objective)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = expected_gradient(p, objective)
    np.testing.assert_allclose(loss.item(), expected_loss(p, objective), rtol=1e-10)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("name", TRAINED)
def test_a_transformer_of_two_tokens_gets_that_gradient(name: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=2, **sizes)).double()
    prompts = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 0, 1]])
    logits = model(input_ids=prompts).logits[:, -1].double()
    policy = torch.log_softmax(logits, dim=-1).detach().numpy()
    objective, p = cases()[name], drawn(name, 2, policy)
    loss, expected = found_loss(logits, p, objective), expected_gradient(p, objective)
    weights = list(model.parameters())
    found = torch.autograd.grad(loss, [logits, *weights], retain_graph=True)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    through = torch.autograd.grad(logits, weights, grad_outputs=torch.tensor(expected))
    assert max(float(g.abs().max()) for g in through) > 0
    for one, other in zip(found[1:], through, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


REACHED = [
    ps.Kimi(beta=0.5),
    ps.ShiftedMean(beta=0.5),
    ps.TBA(beta=0.5),
    ps.TruncatedIS(beta=0.5),
    ps.AWR(beta=0.5),
    ps.OAPL(beta1=1.0, beta2=0.5),
    ps.MixedChi2KL(beta=0.5),
    ps.Nominal(beta=0.5),
    ps.CoPG(beta=0.5),
    ps.QRPO(beta=0.5),
]


@pytest.mark.parametrize("counts", [[3, 1], [6, 3, 2, 4, 1]], ids=str)
@pytest.mark.parametrize("objective", REACHED, ids=str)
def test_descent_on_a_group_with_the_frequencies_of_the_behavior(objective: Any, counts: list[int]) -> None:
    q, reward = np.array(counts) / sum(counts), np.array([0.0, 1.0, 0.25, 0.5, 0.75])[: len(counts)]
    actions = torch.tensor(np.repeat(np.arange(len(counts)), counts))
    advantage = objective.advantage(torch.tensor(reward)[actions][None], None)[0]
    logits = torch.tensor(np.log(q), requires_grad=True)
    reference, mask = logits.detach().clone(), torch.ones(len(actions), 1)
    optimizer = torch.optim.SGD([logits], lr=1.0, momentum=0.9)
    for _ in range(600):
        u = (torch.log_softmax(logits, dim=-1) - reference)[actions][:, None]
        loss = objective_loss(objective, u, advantage, mask, level=published_level(objective), group=len(actions))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if logits.grad.abs().max() < 1e-9:
            break
    target = ps.induced_target(q, reward, objective)
    assert np.abs(target.policy - q).max() > 0.03  # there was a way to go
    np.testing.assert_allclose(torch.softmax(logits.detach(), dim=-1).numpy(), target.policy, rtol=0, atol=1e-6)


TOKENS = torch.tensor([[0.1, 0.3, 9.0], [-0.2, 0.4, 0.6]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("level", "expected"),
    [("token", [[0.1, 0.3, 0.0], [-0.2, 0.4, 0.6]]), ("sequence", [0.4, 0.8]), ("length_normalized", [0.2, 0.8 / 3])],
)
def test_levels(level: Any, expected: Any) -> None:
    torch.testing.assert_close(at_level(TOKENS, MASK, level), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("sequence", ((0.5 - 0.4) ** 2 + (-0.5 - 0.8) ** 2) / 2),
        ("length_normalized", ((0.5 - 0.2) ** 2 + (-0.5 - 0.8 / 3) ** 2) / 2),
        ("token", ((0.4**2 + 0.2**2) / 2 + (0.3**2 + 0.9**2 + 1.1**2) / 3) / 2),
    ],
)
def test_the_loss_at_a_level_by_hand(level: Any, expected: float) -> None:
    """Kimi's, (beta u - A)^2 at beta 1; what the mask leaves out moves nothing, however large."""
    advantage = torch.tensor([0.5, -0.5], dtype=torch.float64)
    u = TOKENS.clone().requires_grad_()
    loss = objective_loss(ps.Kimi(beta=1.0), u, advantage, MASK, level=level, group=2)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, u)
    assert torch.equal(gradient == 0, MASK == 0)


def test_a_share_is_taken_at_the_level_of_the_ratio() -> None:
    """GRPO's weight is that of the behavior, e^(u + share), its penalty on the reference, by hand at two levels."""
    objective, share = ps.GRPO(beta=0.5, eps_low=0.9, eps_high=9.0), torch.full((2, 3), 0.05, dtype=torch.float64)
    advantage = torch.tensor([2.0, -1.0], dtype=torch.float64)

    def by_hand(u: float, s: float, a: float) -> float:
        return 0.5 * (math.exp(-u) - 1.0 + u) - math.exp(u + s) * a

    whole = objective_loss(objective, TOKENS, advantage, MASK, level="sequence", group=2, log_share=share)
    assert whole.item() == pytest.approx((by_hand(0.4, 0.1, 2.0) + by_hand(0.8, 0.15, -1.0)) / 2, rel=1e-12)
    tokens = objective_loss(objective, TOKENS, advantage, MASK, level="token", group=2, log_share=share)
    first = sum(by_hand(u, 0.05, 2.0) for u in (0.1, 0.3)) / 2
    second = sum(by_hand(u, 0.05, -1.0) for u in (-0.2, 0.4, 0.6)) / 3
    assert tokens.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_a_completion_that_is_masked_whole_adds_no_gradient() -> None:
    u = TOKENS.clone().requires_grad_()
    mask = torch.tensor([[0, 0, 0], [1, 1, 1]])
    for level in ("token", "sequence", "length_normalized"):
        loss = objective_loss(ps.Kimi(beta=1.0), u, torch.tensor([0.5, -0.5]), mask, level=level, group=2)
        (gradient,) = torch.autograd.grad(loss, u)
        assert torch.isfinite(loss)
        assert torch.equal(gradient == 0, mask == 0)


def test_groups_lie_together() -> None:
    """Two groups in one batch are the mean of each by itself; exchanging members of two is another loss."""
    objective, rng = ps.TBA(beta=0.3), torch.Generator().manual_seed(0)
    u, advantage = (torch.randn(8, generator=rng, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(8, 1)

    def loss(order: list[int], group: int) -> float:
        found = objective_loss(objective, u[order, None], advantage[order], mask[order], level="sequence", group=group)
        return float(found)

    both = loss(list(range(8)), 4)
    assert both == pytest.approx((loss([0, 1, 2, 3], 4) + loss([4, 5, 6, 7], 4)) / 2, rel=1e-12)
    assert both == pytest.approx(loss([4, 5, 6, 7, 3, 2, 1, 0], 4), rel=1e-12)
    assert both != pytest.approx(loss([4, 1, 2, 3, 0, 5, 6, 7], 4), rel=1e-3)


@pytest.mark.parametrize("name", list(ps.objectives()))
def test_the_published_level_is_that_of_the_registry(name: str) -> None:
    objective = ps.objectives()[name]()
    expected = "length_normalized" if name == "gspo" else objective.level
    assert published_level(objective) == ("sequence" if objective.coupled else expected)


def test_why_an_objective_does_not_train() -> None:
    assert "one stream of completions" in str(why_untrainable(ps.LUFFY(), "token"))
    assert "the probability of every action" in str(why_untrainable(ps.CQL(), "sequence"))
    assert "whose tokens do not correspond" in str(why_untrainable(ps.TBA(), "token"))
    assert why_untrainable(ps.TBA(), "length_normalized") is None


class Plain:
    """An objective of a user's own, with nothing but the three methods."""

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - 0.5

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - log_ratio

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 0.5 * (advantage - log_ratio) ** 2


def test_an_objective_of_three_methods() -> None:
    plain = as_objective(Plain())
    assert (published_level(plain), why_untrainable(plain, "token"), plain.coupled) == ("sequence", None, False)
    loss = objective_loss(plain, TOKENS, torch.tensor([1.0, 0.0]), MASK, level="sequence", group=2)
    assert loss.item() == pytest.approx((0.5 * 0.6**2 + 0.5 * 0.8**2) / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["gspo", "luspo"])
def test_completions_of_a_batch_have_their_own_lengths(name: str) -> None:
    """At the level of the sequence: the objective with the lengths of the batch; GSPO's other level is the same."""
    objective, advantage = ps.objectives()[name](eps_low=0.1, eps_high=0.2), torch.tensor([0.5, -0.7])
    found = objective_loss(objective, TOKENS, advantage, MASK, level="sequence", group=2)
    lengths = MASK.sum(dim=1).double()
    s = torch.exp((TOKENS * MASK).sum(dim=1) / lengths)
    each = -torch.minimum(s * advantage, torch.clamp(s, 0.9, 1.2) * advantage)
    torch.testing.assert_close(found, (each * lengths if name == "luspo" else each).mean())
    if name == "gspo":
        other = objective_loss(objective, TOKENS, advantage, MASK, level="length_normalized", group=2)
        torch.testing.assert_close(found, other)


def test_a_baseline_weighs_rewards_by_lengths() -> None:
    reward = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    lengths = torch.tensor([[4, 1, 0], [2, 2, 4]])
    found = with_lengths(ps.OPO(), lengths).advantage(reward)
    torch.testing.assert_close(found, reward - torch.tensor([[2.0 / 6.0], [2.0 / 8.0]], dtype=torch.float64))
    given = ps.OPO(length=(1.0, 2.0, 3.0))
    assert with_lengths(given, lengths) is given


def test_what_needs_tokens_or_a_third_policy_does_not_train() -> None:
    assert "each clipped inside one ratio" in str(why_untrainable(ps.GMPO(), "token"))
    assert "data here have one behavior" in str(why_untrainable(ps.CorrectedPPO(), "token"))
