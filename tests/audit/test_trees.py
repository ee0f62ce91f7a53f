"""Losses of tokens, descended on all logits of random trees, end where `pessimism.token_target` says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import pessimism as ps
from tests.audit.published import tokens
from tests.audit.trees import Descent, Prefix, Tree, advantages, best_surrogate, random_tree, surrogate

Array = npt.NDArray[np.float64]
SHIFT = 0.9


def centered(r: Array, q: Array) -> Array:
    return np.asarray(r - q @ r)


def shifted(beta: float) -> Callable[[Array, Array], Array]:
    return lambda r, q: centered(r, q) + SHIFT * beta


def standardized(r: Array, q: Array) -> Array:
    return np.asarray(centered(r, q) / (np.sqrt(q @ centered(r, q) ** 2) + 1e-4))


# name: (objective of the package, loss of a token, advantage of a group)
LOSSES: dict[str, tuple[str, Callable[..., Any], Callable[[Array, Array], Array]]] = {
    "dro": ("kimi:beta=2.5", partial(tokens.dro, beta=2.5), centered),
    "dro, small beta": ("kimi:beta=0.4", partial(tokens.dro, beta=0.4), centered),
    "shifted": (f"shifted_mean:beta=0.8,shift={SHIFT}", partial(tokens.dro, beta=0.8), shifted(0.8)),
    "importance": ("nominal:beta=0.5", partial(tokens.importance_weighted, beta=0.5), centered),
    "truncated": ("truncated_is:beta=1.5,cap=1.1", partial(tokens.truncated, beta=1.5, cap=1.1), centered),
    "exponential": ("awr:beta=0.7,w_max=inf", partial(tokens.exponential, beta=0.7), centered),
}
JUMPS: dict[str, tuple[str, Callable[..., Any], Callable[[Array, Array], Array]]] = {
    "k25": ("kimi_k25:low=0.3,high=3.0,tau=0.6", partial(tokens.k25, low=0.3, high=3.0, tau=0.6), centered),
    "k3": (
        "grpo:beta=0.2,eps_low=0.2,eps_high=0.3,eps=0.0001",
        partial(tokens.clipped_with_k3, low=0.2, high=0.3, beta=0.2),
        standardized,
    ),
}
WEIGHTS: dict[str, Callable[[Prefix], float]] = {"sum": lambda y: 1.0, "sequence_mean": lambda y: 1.0 / len(y)}


def disagreement(name: str, seed: int, *, aggregation: str, baseline: str, binary: bool) -> float:
    """Largest difference of a probability of completions, those below an unstable prefix taken as one."""
    spec, loss, advantage = LOSSES[name]
    tree = random_tree(seed, binary=binary)
    target = ps.token_target(as_tree(tree), spec, aggregation, baseline=baseline)
    descent = Descent(tree, loss, advantages(tree, advantage, baseline), WEIGHTS[aggregation])
    found = descent.completions(descent.flowed())
    ours, theirs = (target.merged(p) for p in (target.completion_policy, [found[y] for y in target.tree.completions]))
    return float(np.abs(ours - theirs).max())


def as_tree(tree: Tree) -> ps.TokenTree:
    return ps.TokenTree.from_table(tree.policy, tree.reward)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize("baseline", ["prompt", "prefix"])
def test_descent_on_all_logits_ends_at_the_target(name: str, aggregation: str, baseline: str) -> None:
    assert disagreement(name, 8, aggregation=aggregation, baseline=baseline, binary=True) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(50))
def test_descent_on_fifty_trees(name: str, seed: int) -> None:
    way = {"aggregation": ["sum", "sequence_mean"][seed % 2], "baseline": ["prompt", "prefix"][seed // 2 % 2]}
    assert disagreement(name, 100 + seed, **way, binary=seed % 3 > 0) < 1e-6


@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize(
    "spec", ["ppo:eps_low=0.2,eps_high=0.2", "ppo:eps_low=0.3,eps_high=0.1", "dr_grpo:eps_high=0.5"]
)
def test_clipped_targets_are_best(spec: str, aggregation: str) -> None:
    low, high = {"p": (0.2, 0.2), "3": (0.3, 0.1), "d": (0.2, 0.5)}["3" if "0.3" in spec else spec[0]]
    for seed in range(25):
        tree = random_tree(seed, depth=4, width=4, binary=seed % 2 > 0)
        target = ps.token_target(as_tree(tree), spec, aggregation)
        gain = advantages(tree, centered, "prompt")
        for node, prefix in enumerate(target.tree.prefixes):
            here = tree.policy[prefix]
            sides = np.zeros((2, len(here)))
            for i, token in enumerate(here):
                group = tree.below((*prefix, token))
                q = np.array([tree.probability(y) for y in group])
                pull = np.array([WEIGHTS[aggregation](y) * gain[(), y] for y in group])
                sides[:, i] = [q @ np.maximum(s * pull, 0.0) / q.sum() for s in (1.0, -1.0)]
            q = np.array(list(here.values()))
            ours = target.policy[target.tree.start[node] : target.tree.start[node + 1]]
            best = best_surrogate(q, *sides, low, high)
            assert surrogate(q, *sides, low, high, ours) == pytest.approx(best, abs=1e-9)


def test_a_lost_prefix_is_unstable_at_small_beta_alone() -> None:
    policy = {(): {0: 0.5, 1: 0.5}, (0,): {0: 0.5, 1: 0.3, 2: 0.2}, (1,): {0: 0.4, 1: 0.6}}
    tree = Tree(policy, {(0, 0): 0.0, (0, 1): 0.0, (0, 2): 0.0, (1, 0): 1.0, (1, 1): 0.2})
    value = 0.5 * (0.4 + 0.6 * 0.2)  # V - Q below the prefix (0,), which earns nothing
    for factor, status in ((0.95, "unstable"), (1.05, "local_minimum")):
        beta = factor * value
        target = ps.token_target(as_tree(tree), "kimi", beta=beta)
        assert str(target.status[target.tree.prefixes.index((0,))]) == status
        descent = Descent(tree, partial(tokens.dro, beta=beta), advantages(tree, centered, "prompt"), WEIGHTS["sum"])
        start = descent.log_q.numpy() + 1e-3 * (np.arange(len(descent.log_q)) == 2)
        moves, p = descent.velocity(start)[2:5], np.exp(start[2:5]) / np.exp(start[2:5]).sum()
        assert (moves[0] - p @ moves > 0) == (status == "unstable")  # away from the behavior, or back to it
