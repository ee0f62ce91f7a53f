"""Small token trees, the population loss of all their logits, and where gradient flow on these leads.

It knows nothing of prefixes that do not interact: all logits of a tree move together, under the loss of whole
completions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import integrate, optimize

Array = npt.NDArray[np.float64]
Prefix = tuple[int, ...]


class Tree(NamedTuple):
    """A behavior as a table, and rewards of its completions."""

    policy: dict[Prefix, dict[int, float]]
    reward: dict[Prefix, float]

    @property
    def completions(self) -> list[Prefix]:
        return list(self.reward)

    def probability(self, completion: Prefix) -> float:
        return float(np.prod([self.policy[completion[:t]][token] for t, token in enumerate(completion)]))

    def below(self, prefix: Prefix) -> list[Prefix]:
        return [y for y in self.reward if y[: len(prefix)] == prefix]


def random_tree(seed: int, depth: int = 3, width: int = 3, *, binary: bool = True) -> Tree:
    """A tree whose completions end at every depth."""
    rng = np.random.default_rng(seed)
    policy: dict[Prefix, dict[int, float]] = {}
    reward: dict[Prefix, float] = {}

    def grow(prefix: Prefix) -> None:
        count = int(rng.integers(2, width + 1))
        p = 0.8 * rng.dirichlet(np.ones(count)) + 0.2 / count
        policy[prefix] = dict(enumerate(p.tolist()))
        for token in policy[prefix]:
            longer = (*prefix, token)
            if len(longer) < depth and rng.random() < 0.6:
                grow(longer)
            else:
                reward[longer] = float(rng.random() < 0.4) if binary else float(rng.normal())

    grow(())
    if len(set(reward.values())) == 1:
        reward[next(iter(reward))] += 1.0
    return Tree(policy, reward)


def advantages(
    tree: Tree, advantage: Callable[[Array, Array], Array], baseline: str
) -> dict[tuple[Prefix, Prefix], float]:
    """Advantage of each completion at each of its prefixes: among all, or among those below the prefix."""
    found: dict[tuple[Prefix, Prefix], float] = {}
    for prefix in tree.policy:
        group = tree.below(prefix if baseline == "prefix" else ())
        q = np.array([tree.probability(y) for y in group])
        values = advantage(np.array([tree.reward[y] for y in group]), q / q.sum())
        found |= {(prefix, y): float(a) for y, a in zip(group, values, strict=True) if y[: len(prefix)] == prefix}
    return found


class Descent:
    """The population loss of a tree's logits, one vector for all prefixes."""

    def __init__(
        self,
        tree: Tree,
        loss: Callable[..., torch.Tensor],
        advantage: dict[tuple[Prefix, Prefix], float],
        weight: Callable[[Prefix], float],
    ) -> None:
        self.tree, self.loss = tree, loss
        self.prefixes = list(tree.policy)
        sizes = [len(tree.policy[s]) for s in self.prefixes]
        first = dict(zip(self.prefixes, np.cumsum([0, *sizes])[:-1].tolist(), strict=True))
        self.node = torch.tensor(np.repeat(np.arange(len(sizes)), sizes))
        steps = [
            (first[y[:t]] + list(tree.policy[y[:t]]).index(token), tree.probability(y) * weight(y), advantage[y[:t], y])
            for y in tree.reward
            for t, token in enumerate(y)
        ]
        self.edge = torch.tensor([edge for edge, *_ in steps])
        self.mass, self.advantage = (
            torch.tensor(column, dtype=torch.float64) for column in list(zip(*steps, strict=True))[1:]
        )
        self.log_q = torch.tensor(
            [np.log(p) for s in self.prefixes for p in tree.policy[s].values()], dtype=torch.float64
        )

    def log_policy(self, logits: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros((*logits.shape[:-1], len(self.prefixes)), dtype=torch.float64)
        return logits - zeros.index_add(-1, self.node, logits.exp()).log()[..., self.node]

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        u, q = (self.log_policy(logits) - self.log_q)[..., self.edge], self.log_q.exp()[self.edge]
        return (self.mass * self.loss(u, self.advantage, q)).sum(-1)

    def velocity(self, logits: Array) -> Array:
        theta = torch.tensor(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.value(theta).sum(), theta)
        return np.asarray(-gradient.numpy())

    def jacobian(self, logits: Array) -> Array:
        step = 1e-6 * np.eye(len(logits))
        both = self.velocity(np.concatenate([logits + step, logits - step]))
        return np.asarray((both[: len(logits)] - both[len(logits) :]).T / 2e-6)

    def flowed(self, until: float = 1e6) -> Array:
        """Logits where the flow from the behavior ends: integrated until it rests, then Newton's method."""
        start = self.log_q.numpy().copy()
        unit = np.abs(self.velocity(start)).max()

        def at_rest(_: float, x: Array) -> float:
            return float(np.abs(self.velocity(x)).max() / unit) - 1e-9

        at_rest.terminal = True  # type: ignore[attr-defined]
        run = integrate.solve_ivp(
            lambda _, x: self.velocity(x) / unit,
            (0.0, until),
            start,
            "BDF",
            jac=lambda _, x: self.jacobian(x) / unit,
            events=at_rest,
            rtol=1e-6,
            atol=1e-8,
        )
        logits = run.y[:, -1]
        for _ in range(20):
            move = np.linalg.lstsq(self.jacobian(logits), -self.velocity(logits), rcond=1e-9)[0]
            if not np.abs(self.velocity(logits + move)).max() < np.abs(self.velocity(logits)).max():
                break
            logits = logits + move
        return np.asarray(logits)

    def unrest(self, policy: Array) -> float:
        """How far q E[m g] = lam pi is from holding at a policy ``(E,)`` of positive probabilities.

        The pull of each token is taken by autograd just below and just above its log-ratio, where the loss may jump:
        at rest one multiplier at each prefix lies between the two of every token.
        """
        log_policy, ratios = torch.tensor(np.log(policy)), []
        for side in (-1e-8, 1e-8):
            u = (log_policy - self.log_q + side).requires_grad_()
            q = self.log_q.exp()[self.edge]
            (gradient,) = torch.autograd.grad((self.mass * self.loss(u[self.edge], self.advantage, q)).sum(), u)
            ratios.append(-gradient.numpy() / policy)
        node = self.node.numpy()
        low, high = np.minimum(*ratios), np.maximum(*ratios)
        return max(float(low[node == n].max() - high[node == n].min()) for n in range(len(self.prefixes)))

    def completions(self, logits: Array) -> dict[Prefix, float]:
        """Probability of each completion."""
        p = self.log_policy(torch.tensor(logits)).exp().numpy()
        of = dict(zip([(s, a) for s in self.prefixes for a in self.tree.policy[s]], p, strict=True))
        return {y: float(np.prod([of[y[:t], token] for t, token in enumerate(y)])) for y in self.tree.reward}


def best_surrogate(q: Array, up: Array, down: Array, low: float, high: float) -> float:
    """Largest sum of q (a+ min(w, 1 + high) - a- max(w, 1 - low)) over policies, by a linear program in (w, x, y)."""
    k = len(q)
    zero, one = np.zeros((k, k)), np.eye(k)
    cost = -np.concatenate([np.zeros(k), q * up, -q * down])
    rows = np.block([[-one, one, zero], [one, zero, -one]])  # x <= w and y >= w
    found = optimize.linprog(
        cost,
        rows,
        np.zeros(2 * k),
        np.concatenate([q, np.zeros(2 * k)])[None],
        [1.0],
        bounds=[(0.0, None)] * k + [(None, 1.0 + high)] * k + [(1.0 - low, None)] * k,
    )
    return -float(found.fun)


def surrogate(q: Array, up: Array, down: Array, low: float, high: float, policy: Any) -> float:
    """The same at a policy."""
    w = np.asarray(policy) / q
    return float(np.sum(q * (up * np.minimum(w, 1.0 + high) - down * np.maximum(w, 1.0 - low))))
