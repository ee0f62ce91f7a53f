"""Small token trees, the population loss of all their logits, and where gradient flow on these leads.

Losses are the published ones of this folder, read per token: what they take for an action's log-probability and
advantage is here that of a token. Nothing is known of prefixes that do not interact: all logits of a tree move
together, under the loss of whole completions. Formulas of single prefixes are here once more, by roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from scipy import integrate, optimize, special

from tests.audit.published import likelihood, masks, ratio, regression

Array = npt.NDArray[np.float64]
Prefix = tuple[int, ...]
Edge = tuple[Prefix, int]
Gains = dict[tuple[Prefix, Prefix], float]  # of a prefix and a completion below it


class Tree(NamedTuple):
    """A behavior as a table, and rewards of its completions."""

    policy: dict[Prefix, dict[int, float]]
    reward: dict[Prefix, float]

    @property
    def completions(self) -> list[Prefix]:
        return list(self.reward)

    @property
    def edges(self) -> list[Edge]:
        return [(s, a) for s, here in self.policy.items() for a in here]

    def probability(self, completion: Prefix) -> float:
        return float(np.prod([self.policy[completion[:t]][token] for t, token in enumerate(completion)]))

    def below(self, prefix: Prefix) -> list[Prefix]:
        return [y for y in self.reward if y[: len(prefix)] == prefix]

    def mean(self, prefix: Prefix, of: Callable[[Prefix], float]) -> float:
        """Mean over the completions below a prefix, under the behavior."""
        return sum(self.probability(y) * of(y) for y in self.below(prefix)) / self.probability(prefix)


def random_tree(seed: int, *, depth: int = 3, width: int = 3, most: int = 40, binary: bool = True) -> Tree:
    """A tree with completions of every length up to ``depth``, and at most about ``most`` of them."""
    rng = np.random.default_rng(seed)
    policy: dict[Prefix, dict[int, float]] = {}
    reward: dict[Prefix, float] = {}
    ahead: list[Prefix] = [()]
    while ahead:
        s = ahead.pop(int(rng.integers(len(ahead))))
        size = int(rng.integers(2, width + 1))
        p = 0.2 / size + 0.8 * rng.dirichlet(np.ones(size))
        policy[s] = dict(zip(range(size), (p / p.sum()).tolist(), strict=True))
        for a in policy[s]:
            longer = (*s, a)
            if len(longer) < depth and len(ahead) + len(reward) < most and (not s or rng.random() < 0.6):
                ahead.append(longer)
            else:
                reward[longer] = float(rng.random() < 0.4) if binary else float(rng.normal())
    if len(set(reward.values())) == 1:
        first = next(iter(reward))
        reward[first] = 1.0 - reward[first]
    return Tree(policy, reward)


def advantages(
    tree: Tree,
    advantage: Callable[[Array, Array], Array],
    baseline: str = "prompt",
    values: dict[Prefix, float] | None = None,
) -> Gains:
    """Advantage of each completion at each of its prefixes: among all or those below, or the reward less a value."""
    found: Gains = {}
    for prefix in tree.policy:
        group = tree.below(prefix if baseline == "prefix" else ())
        q = np.array([tree.probability(y) for y in group])
        r = np.array([tree.reward[y] for y in group])
        each = advantage(r, q / q.sum()) if values is None else r - values[prefix]
        found |= {(prefix, y): float(a) for y, a in zip(group, each, strict=True) if y[: len(prefix)] == prefix}
    return found


def one(y: Prefix) -> float:
    return 1.0


def per_length(y: Prefix) -> float:
    return 1.0 / len(y)


@contextmanager
def _per_token() -> Iterator[None]:
    """The published bandits without what makes an action of a token: no softmax, no group, no mean."""
    ours = {
        "log_policy": lambda p: p,
        "centered": lambda q, r: r,
        "deviation": lambda q, r: torch.ones(1, dtype=torch.float64),
        "soft_value": lambda q, r, beta: 0.0,
        "mean": lambda q, values: values,
    }
    with ExitStack() as stack:
        for module in (likelihood, masks, ratio, regression):
            known = {name: own for name, own in ours.items() if hasattr(module, name)}
            stack.enter_context(mock.patch.multiple(module, **known))
        yield


class Descent:
    """Population loss E_q[m(y) sum_t l(u_t, A(y))] of all logits of a tree, ``(..., E)``, and its flow.

    Parameters
    ----------
    loss : callable
        Published loss of a bandit, read per token.
    gain : dict
        Advantages.
    weight : callable
        Weight m of a completion.
    by_prefix : bool
        Whether ``loss`` sees the ratio of the prefix; what came before the token is a constant to the gradient.
    """

    def __init__(
        self,
        tree: Tree,
        loss: Callable[..., Any],
        gain: Gains,
        weight: Callable[[Prefix], float] = one,
        *,
        by_prefix: bool = False,
        **hyper: Any,
    ) -> None:
        self.tree, self.loss, self.hyper, self.by_prefix = tree, loss, hyper, by_prefix
        number = {edge: i for i, edge in enumerate(tree.edges)}
        nodes = list(tree.policy)
        self.node = torch.tensor([nodes.index(s) for s, _ in tree.edges])
        self.slot = torch.tensor([list(tree.policy[s]).index(a) for s, a in tree.edges])
        self.shape = (len(nodes), max(len(of) for of in tree.policy.values()))
        at = [(y, t) for y in tree.reward for t in range(len(y))]
        self.at = torch.tensor([number[y[:t], y[t]] for y, t in at])
        self.before = torch.tensor(  # (occurrences, E): tokens of the prefix
            np.array([[s == y[: len(s)] and len(s) < t and a == y[len(s)] for s, a in tree.edges] for y, t in at]),
            dtype=torch.float64,
        )
        self.mass, self.gain = (
            torch.tensor([of(y, t) for y, t in at], dtype=torch.float64)
            for of in (lambda y, t: tree.probability(y) * weight(y), lambda y, t: gain[y[:t], y])
        )
        self.log_q = torch.tensor([np.log(tree.policy[s][a]) for s, a in tree.edges], dtype=torch.float64)
        self.reach = np.array([tree.probability(s) for s, _ in tree.edges])

    def log_policy(self, logits: torch.Tensor) -> torch.Tensor:
        table = torch.full((*logits.shape[:-1], *self.shape), -torch.inf, dtype=torch.float64)
        table[..., self.node, self.slot] = logits
        return torch.log_softmax(table, -1)[..., self.node, self.slot]

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        """Loss, one for each row of logits."""
        log_p, log_q = self.log_policy(logits), self.log_q[self.at]
        own = log_p[..., self.at]
        if self.by_prefix:
            own = own + ((log_p - self.log_q) @ self.before.T).detach()
        with _per_token():
            each = self.loss(own, log_q.exp(), log_q.exp(), self.gain, **self.hyper)
        return (self.mass * each).sum(-1)

    def velocity(self, logits: Array) -> Array:
        """Downhill on all logits; a rate of its own for each prefix, the inverse of how often it is reached."""
        theta = torch.tensor(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.value(theta).sum(), theta)
        return np.asarray(-gradient.numpy() / self.reach)

    def jacobian(self, logits: Array, step: float = 1e-6) -> Array:
        moves = step * np.eye(len(logits))
        ahead, back = np.split(self.velocity(np.concatenate([logits + moves, logits - moves])), 2)
        return np.asarray((ahead - back).T / (2.0 * step))

    def flowed(self, until: float = 1e8) -> dict[Edge, float]:
        """Policy where gradient flow from the behavior ends."""
        return self._policy(self._end(self.log_q.numpy(), until))

    def slid(self, widths: tuple[float, ...] = (3e-3, 3e-4, 3e-5, 3e-6, 3e-7, 3e-8)) -> dict[Edge, float]:
        """The same for a field that jumps, along which a flow slides: by jumps that are wide at first.

        A policy on a jump is off it by some widths: at the last, by next to nothing.
        """
        logits = self.log_q.numpy()
        for width in widths:
            self.hyper["soft"] = width
            logits = self._end(logits, 1e8, step=min(1e-6, 1e-2 * width))
        self.hyper["soft"] = 0.0
        return self._policy(logits)

    def unrest(self, policy: Array) -> float:
        """Largest speed of any logit at a policy, in units of that at the behavior."""
        unit = np.abs(self.velocity(self.log_q.numpy())).max()
        return float(np.abs(self.velocity(np.log(np.maximum(policy, 1e-300)))).max() / unit)

    def _policy(self, logits: Array) -> dict[Edge, float]:
        p = self.log_policy(torch.tensor(logits)).exp().tolist()
        return dict(zip(self.tree.edges, p, strict=True))

    def _end(self, start: Array, until: float, step: float = 1e-6) -> Array:
        """Logits at the end of the flow: an integrator for stiff flows, then Newton's method on what keeps mass."""
        unit = np.abs(self.velocity(self.log_q.numpy())).max() or 1.0
        run = integrate.BDF(
            lambda _, x: self.velocity(x) / unit,
            0.0,
            start,
            until,
            jac=lambda _, x: self.jacobian(x, step) / unit,
            rtol=1e-7,
            atol=1e-9,
        )
        for _ in range(3000):
            if np.abs(self.velocity(run.y)).max() < 1e-9 * unit:
                break  # at rest the errors of steps are noise, and do not let them grow
            run.step()
            if run.status != "running":
                break
        logits = run.y
        speed = np.abs(self.velocity(logits)).max()
        for _ in range(20):
            kept = self.log_policy(torch.tensor(logits)).numpy() > np.log(1e-7)
            move = np.zeros_like(logits)
            slopes = self.jacobian(logits, step)[np.ix_(kept, kept)]
            move[kept] = np.linalg.lstsq(slopes, -self.velocity(logits)[kept], rcond=1e-10)[0]
            after = np.abs(self.velocity(logits + move)).max()
            if not after < speed or np.abs(move).max() > 1.0:
                break
            logits, speed = logits + move, after
        return np.asarray(logits)


def completions(tree: Tree, policy: dict[Edge, float]) -> dict[Prefix, float]:
    return {y: float(np.prod([policy[y[:t], a] for t, a in enumerate(y)])) for y in tree.reward}


class Node(NamedTuple):
    """A prefix: behavior, mean weight, mean advantage, and means of m A of each sign, one for each token."""

    q: Array
    weight: Array
    advantage: Array
    up: Array
    down: Array


def node(tree: Tree, s: Prefix, gain: Gains, weight: Callable[[Prefix], float] = one) -> Node:
    """Means over the completions below each token, by enumeration."""

    def means(of: Callable[[Prefix], float]) -> Array:
        return np.array([tree.mean((*s, a), of) for a in tree.policy[s]])

    m, pull = means(weight), means(lambda y: weight(y) * gain[s, y])
    up, down = (means(lambda y, sign=sign: weight(y) * max(sign * gain[s, y], 0.0)) for sign in (1.0, -1.0))
    return Node(np.array(list(tree.policy[s].values())), m, pull / m, up, down)


def squared(of: Node, beta: float) -> tuple[Array, float]:
    """Policy and kappa of u + kappa (q/q~) w = A/beta, in the positive regime: Lambert's W, and a root in kappa."""
    tilt = np.mean(of.weight @ of.q) / of.weight  # q/q~
    rate = of.advantage / beta

    def policy(kappa: float) -> Array:
        k = kappa * tilt
        return np.asarray(of.q * (special.lambertw(k * np.exp(rate)).real / k if kappa > 0.0 else np.exp(rate)))

    excess = policy(0.0).sum() - 1.0
    assert excess > 0.0, "the negative regime has several targets"
    kappa = optimize.brentq(lambda k: policy(k).sum() - 1.0, 0.0, 1.0 + excess * 1e3, xtol=1e-300, rtol=1e-14)
    return policy(kappa), float(kappa)


def tilted(of: Node, beta: float) -> Array:
    """Policy with u = (M A - lam)/(beta M), a root in lam."""

    def policy(lam: float) -> Array:
        return np.asarray(of.q * np.exp((of.advantage - lam / of.weight) / beta))

    pull = of.weight * of.advantage
    return policy(optimize.brentq(lambda x: np.log(policy(x).sum()), pull.min() - 1.0, pull.max() + 1.0, rtol=1e-14))


def best_surrogate(q: Array, up: Array, down: Array, low: Array | float, high: Array | float) -> float:
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
        bounds=np.column_stack(
            [
                np.concatenate([np.zeros(k), np.full(k, -np.inf), np.broadcast_to(1.0 - low, k)]),
                np.concatenate([np.full(k, np.inf), np.broadcast_to(1.0 + high, k), np.full(k, np.inf)]),
            ]
        ),
    )
    return -float(found.fun)


def surrogate(q: Array, up: Array, down: Array, low: Array | float, high: Array | float, policy: Any) -> float:
    """The same at a policy."""
    w = np.asarray(policy) / q
    return float(np.sum(q * (up * np.minimum(w, 1.0 + high) - down * np.maximum(w, 1.0 - low))))
