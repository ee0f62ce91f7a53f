"""Losses of tokens, descended on all logits of random trees, end where `pessimism.token_target` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

import pessimism as ps
from tests.audit.harness import against, minimized, policy
from tests.audit.programs import OptimalSet, clipped_lines
from tests.audit.published import likelihood, masks, preferences, ratio, regression
from tests.audit.trees import (
    Descent,
    Edge,
    Node,
    Prefix,
    Tree,
    advantages,
    best_surrogate,
    node,
    one,
    per_length,
    random_tree,
    squared,
    surrogate,
    tilted,
)

Array = npt.NDArray[np.float64]
Advantage = Callable[[Array, Array], Array]
Case = tuple[str, Callable[..., Any], Advantage, dict[str, Any]]


def centered(r: Array, q: Array) -> Array:
    return np.asarray(r - q @ r)


def less(value: float) -> Advantage:
    """Reward less the mean plus a number."""
    return lambda r, q: centered(r, q) - value


def standardized(r: Array, q: Array) -> Array:
    return np.asarray(centered(r, q) / (np.sqrt(q @ centered(r, q) ** 2) + 1e-6))


def soft(r: Array, q: Array) -> Array:
    return np.asarray(r - 2.0 * special.logsumexp(r / 2.0, b=q))


_OFF = {"placement": "reward", "sampling": "off_policy"}
# name: (objective of the package, published loss, advantage of a group, hyper-parameters of the published loss)
LOSSES: dict[str, Case] = {
    "kimi": ("kimi:beta=2.5", regression.kimi, centered, {"beta": 2.5}),
    "kimi, small beta": ("kimi:beta=0.4", regression.kimi, centered, {"beta": 0.4}),
    "dro": ("dro:beta=1.5", regression.dro, centered, {"beta": 1.5}),
    "shifted": ("shifted_mean:beta=0.5,shift=1.5", regression.kimi, less(-0.75), {"beta": 0.5}),
    "oapl": ("oapl:beta1=2,beta2=0.5", regression.kimi, soft, {"beta": 0.5}),
    "importance": ("nominal:beta=0.5", ratio.kl_regularized, centered, {"beta": 0.5, "estimator": "k1", **_OFF}),
    "k3": (
        "kl_regularized:beta=0.5,estimator=k3,placement=loss,sampling=off_policy",
        ratio.kl_regularized,
        centered,
        {"beta": 0.5, "estimator": "k3", "placement": "loss", "sampling": "off_policy"},
    ),
    "truncated": ("truncated_is:beta=1.5,cap=1.1", regression.truncated_is, centered, {"beta": 1.5, "cap": 1.1}),
    "capped": ("cispo:cap=1.5", likelihood.cispo, standardized, {"cap": 1.5, "eps": 0.0}),
    "tapered": ("topr:value=0", likelihood.topr, lambda r, q: r, {"value": 0.0}),
    "likelihood": ("asym_re:shift=-2", likelihood.asym_re, less(-2.0), {"shift": 0.0}),
    "exponential": ("awr:beta=0.7,w_max=20", likelihood.awr, centered, {"beta": 0.7, "w_max": 20.0}),
    "sapo": ("sapo", ratio.sapo, standardized, {"eps": 0.0}),
}
JUMPS: dict[str, Case] = {
    "k25": ("kimi_k25:low=0.3,high=2.5,tau=0.4", masks.kimi_k25, centered, {"low": 0.3, "high": 2.5, "tau": 0.4}),
    "grpo": (
        "grpo:beta=0.2,eps_low=0.2,eps_high=0.3",
        ratio.grpo,
        standardized,
        {"beta": 0.2, "eps_low": 0.2, "eps_high": 0.3, "eps": 0.0},
    ),
    "dppo_tv": (
        "dppo_tv:low=0.1,high=0.15,tau=0.4",
        masks.dppo_tv,
        centered,
        {"low": 0.1, "high": 0.15, "tau": 0.4},
    ),
    "prime": ("prime_ipo:threshold=0.15,tau=0.4", masks.prime_ipo, centered, {"threshold": 0.15, "tau": 0.4}),
}
WEIGHTS: dict[str, Callable[[Prefix], float]] = {"sum": one, "sequence_mean": per_length}
WAYS = [(aggregation, baseline) for aggregation in WEIGHTS for baseline in ("prompt", "prefix")]


def disagreement(case: Case, tree: Tree, aggregation: str, baseline: str, *, jumps: bool = False) -> float:
    """Largest difference of a probability of completions, those below an unstable prefix taken as one.

    Where the targets of some prefix are a set, of which a flow finds one, how far ours is from resting.
    """
    spec, loss, advantage, hyper = case
    target = ps.token_target(as_tree(tree), spec, aggregation, baseline=baseline)
    descent = Descent(tree, loss, advantages(tree, advantage, baseline), WEIGHTS[aggregation], **hyper)
    if "set_valued" in target.status:
        return descent.unrest(np.concatenate([at(target, s) for s in tree.policy]))
    return apart(target, descent.slid() if jumps else descent.flowed())


def apart(target: ps.TokenTarget, policy: dict[Edge, float]) -> float:
    found = [float(np.prod([policy[y[:t], a] for t, a in enumerate(y)])) for y in target.tree.completions]
    ours, theirs = (target.merged(p) for p in (target.completion_policy, found))
    return float(np.abs(ours - theirs).max())


def at(target: ps.TokenTarget, prefix: Prefix) -> Array:
    """Policy after a prefix."""
    number = target.tree.prefixes.index(prefix)
    return target.policy[target.tree.start[number] : target.tree.start[number + 1]]


def as_tree(tree: Tree) -> ps.TokenTree:
    return ps.TokenTree.from_table(tree.policy, tree.reward)


@pytest.mark.parametrize(
    "name", [*LOSSES, "k25", *(pytest.param(name, marks=pytest.mark.slow) for name in JUMPS if name != "k25")]
)
def test_descent_on_all_logits_ends_at_the_target(name: str) -> None:
    seed, jumps = crc32(name.encode()), name in JUMPS
    tree = random_tree(seed, most=4 if jumps else 8)
    assert disagreement((LOSSES | JUMPS)[name], tree, *WAYS[seed % 4], jumps=jumps) < 1e-6


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=pytest.mark.slow if s < 10 else pytest.mark.nightly) for s in range(50)]
)
def test_descent_on_fifty_trees(name: str, seed: int) -> None:
    tree = random_tree(100 + seed, depth=6, width=5, most=20, binary=seed % 3 > 0)
    assert disagreement(LOSSES[name], tree, *WAYS[seed % 4]) < 1e-6


@pytest.mark.nightly
@pytest.mark.parametrize("name", JUMPS)
@pytest.mark.parametrize("seed", range(50))
def test_sliding_on_fifty_trees(name: str, seed: int) -> None:
    tree = random_tree(100 + seed, depth=5, width=4, most=12, binary=seed % 3 > 0)
    assert disagreement(JUMPS[name], tree, *WAYS[seed % 4], jumps=True) < 1e-6


def test_a_wrong_loss_is_found() -> None:
    """Another temperature, weight or baseline: the comparison must notice each."""
    tree, (spec, loss, advantage, _) = random_tree(8, most=10), LOSSES["kimi"]
    assert disagreement((spec, loss, advantage, {"beta": 2.6}), tree, "sum", "prompt") > 1e-4
    target = ps.token_target(as_tree(tree), spec, "sequence_mean")
    for weight, baseline in ((one, "prompt"), (per_length, "prefix")):
        descent = Descent(tree, loss, advantages(tree, advantage, baseline), weight, beta=2.5)
        assert apart(target, descent.flowed()) > 1e-4


def test_a_critic_is_the_baseline() -> None:
    tree = random_tree(5, most=10, binary=False)
    values = {s: 0.5 * tree.mean(s, tree.reward.__getitem__) - 0.4 for s in tree.policy}
    ours = as_tree(tree)
    target = ps.token_target(ours, "kimi", beta=0.8, baseline=[values[s] for s in ours.prefixes])
    descent = Descent(tree, regression.kimi, advantages(tree, centered, values=values), beta=0.8)
    assert apart(target, descent.flowed()) < 1e-6


def descent_of_tokens(name: str, tree: Tree) -> dict[Edge, float]:
    _, loss, advantage, hyper = LOSSES[name]
    return Descent(tree, loss, advantages(tree, advantage), **hyper).flowed()


@pytest.mark.parametrize("name", ["shifted", "importance"])
def test_a_loss_of_the_ratio_of_the_prefix_is_followed_down_the_tree(name: str) -> None:
    """What came before is a constant to the gradient of a token, but moves with the policy."""
    spec, loss, advantage, hyper = LOSSES[name]
    tree = random_tree(11, most=5)
    target = ps.token_target(as_tree(tree), spec, level="prefix")
    descent = Descent(tree, loss, advantages(tree, advantage), by_prefix=True, **hyper)
    assert apart(target, descent.flowed()) < 1e-6
    differs = apart(target, descent_of_tokens(name, tree)) > 1e-4
    assert differs == (name != "importance")  # a tilt by A - beta u, to which the prefix adds a constant


@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize("seed", range(3))
def test_formulas_of_prefixes_hold_on_deep_trees(aggregation: str, seed: int) -> None:
    """Lambert's W with a root in kappa where it is positive, a tilt with a root in lam, and what kappa is made of."""
    tree, weight, beta = random_tree(seed, depth=6, width=5, binary=seed % 2 > 0), WEIGHTS[aggregation], 0.6
    gain, plain = (advantages(tree, of) for of in (less(-0.6), centered))
    lambert, tilt = (
        ps.token_target(as_tree(tree), spec, aggregation)
        for spec in (f"shifted_mean:beta={beta},shift=1", f"nominal:beta={beta}")
    )
    count = 0
    for number, s in enumerate(lambert.tree.prefixes):
        here = node(tree, s, gain, weight)
        np.testing.assert_allclose(at(tilt, s), tilted(node(tree, s, plain, weight), beta), atol=1e-9)
        if here.q @ np.exp(here.advantage / beta) > 1.0 + 1e-9:
            policy, kappa = squared(here, beta)
            np.testing.assert_allclose(at(lambert, s), policy, atol=1e-9)
            data = here.q * here.weight / (here.q @ here.weight)
            made = data @ here.advantage / beta + data @ np.log(data / policy) - data @ np.log(data / here.q)
            assert (kappa, lambert.kappa[number]) == (pytest.approx(made, rel=1e-6), pytest.approx(made, rel=1e-6))
            count += 1
        else:
            assert lambert.regime[number] != "positive"
    assert count > 0


@pytest.mark.parametrize("seed", range(4))
def test_losses_of_completions_are_minimized_on_the_leaves(seed: int) -> None:
    """Pairs on the published loss; GSPO, with lengths of the tree, on its linear program."""
    tree = random_tree(seed, depth=5, most=7, binary=seed % 2 > 0)
    ours = as_tree(tree)
    q, r = (np.array([of(y) for y in ours.completions]) for of in (tree.probability, tree.reward.__getitem__))
    for spec, loss in (("ipo", preferences.ipo), ("kimi", regression.kimi)):
        target = ps.token_target(ours, spec, level="sequence", beta=0.3)
        best = policy(minimized(against(loss, q, q, r, beta=0.3), np.log(q)))
        np.testing.assert_allclose(target.completion_policy, best, atol=1e-8)
    gspo, gain = ps.token_target(ours, "gspo", eps_low=0.05, eps_high=0.08), centered(r, q)
    low, high = (bound ** np.array([len(y) for y in ours.completions]) for bound in (0.95, 1.08))
    assert (q * high)[gain > 0.0].sum() <= 1.0
    best_set, w = OptimalSet(q, clipped_lines(gain, low, high)), gspo.completion_policy / q
    reached = q @ np.maximum(-w * gain, -np.where(gain > 0.0, high, low) * gain)
    assert reached == pytest.approx(best_set.least, abs=1e-9)
    assert best_set.nearness(gspo.completion_policy, q, slack=1e-13) < 1e-7


def _lines(here: Node, low: Array | float, high: Array | float) -> tuple[tuple[Array, Array], ...]:
    """Loss of a clipped ratio with advantages of both signs, as the largest of three lines in the ratio."""
    none = np.zeros_like(here.q)
    return (
        (here.down * (1.0 - low), -here.up),
        (none, here.down - here.up),
        (-here.up * (1.0 + high), here.down),
    )


CLIPS: dict[str, tuple[Advantage, Callable[[Array], tuple[Any, Any]]]] = {
    "ppo:eps_low=0.2,eps_high=0.2": (centered, lambda q: (0.2, 0.2)),
    "ppo:eps_low=0.3,eps_high=0.1": (centered, lambda q: (0.3, 0.1)),
    "dr_grpo:eps_high=0.5": (centered, lambda q: (0.2, 0.5)),
    "dapo": (standardized, lambda q: (0.2, 0.28)),
    "dppo:low=0.1,high=0.2,cap=1000000": (centered, lambda q: (np.minimum(0.1 / q, 1.0), 0.2 / q)),
}


@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize("baseline", ["prompt", "prefix"])
@pytest.mark.parametrize("spec", CLIPS)
def test_clipped_targets_are_best_and_the_nearest_of_the_best(spec: str, baseline: str, aggregation: str) -> None:
    advantage, band = CLIPS[spec]
    for seed in range(2):
        tree = random_tree(seed, depth=5, width=4, most=25, binary=seed % 2 > 0)
        target = ps.token_target(as_tree(tree), spec, aggregation, baseline=baseline)
        gain = advantages(tree, advantage, baseline)
        for s in tree.policy:
            here, ours = node(tree, s, gain, WEIGHTS[aggregation]), at(target, s)
            low, high = band(here.q)
            best = best_surrogate(here.q, here.up, here.down, low, high)
            assert surrogate(here.q, here.up, here.down, low, high, ours) == pytest.approx(best, abs=1e-9)
            assert OptimalSet(here.q, _lines(here, low, high)).nearness(ours, here.q, slack=1e-13) < 1e-7


@pytest.mark.parametrize("beta", [0.1, 0.4])
def test_prefixes_without_anything_to_gain_are_unstable_where_they_are_far_below_the_mean(beta: float) -> None:
    """All completions below share one reward, Q: unstable if and only if V - Q > beta, and else the behavior stays."""
    seen = set()
    for seed in range(20):
        tree = random_tree(seed)
        target = ps.token_target(as_tree(tree), "kimi", beta=beta)
        value = tree.mean((), tree.reward.__getitem__)
        for number, s in enumerate(target.tree.prefixes):
            rewards = {tree.reward[y] for y in tree.below(s)}
            if len(rewards) == 1:
                unstable = value - rewards.pop() > beta
                assert (target.status[number] == "unstable") == unstable
                np.testing.assert_allclose(at(target, s), list(tree.policy[s].values()), atol=1e-12)
                seen.add(unstable)
    assert seen == {True, False}


def test_a_lost_prefix_is_unstable_at_small_beta_alone() -> None:
    policy = {(): {0: 0.5, 1: 0.5}, (0,): {0: 0.5, 1: 0.3, 2: 0.2}, (1,): {0: 0.4, 1: 0.6}}
    tree = Tree(policy, {(0, 0): 0.0, (0, 1): 0.0, (0, 2): 0.0, (1, 0): 1.0, (1, 1): 0.2})
    value = 0.5 * (0.4 + 0.6 * 0.2)  # V - Q below the prefix (0,), which earns nothing
    for factor, status in ((0.95, "unstable"), (1.05, "local_minimum")):
        beta = factor * value
        target = ps.token_target(as_tree(tree), "kimi", beta=beta)
        assert str(target.status[target.tree.prefixes.index((0,))]) == status
        descent = Descent(tree, regression.dro, advantages(tree, centered), beta=beta)
        start = descent.log_q.numpy() + 1e-3 * (np.arange(len(descent.log_q)) == 2)
        moves, p = descent.velocity(start)[2:5], np.exp(start[2:5]) / np.exp(start[2:5]).sum()
        assert (moves[0] - p @ moves > 0) == (status == "unstable")  # away from the behavior, or back to it
