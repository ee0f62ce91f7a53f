"""Random token trees as tables, for the tests of this folder."""

from __future__ import annotations

import numpy as np

from pessimism import TokenTree

Policy = dict[tuple[int, ...], dict[int, float]]
Reward = dict[tuple[int, ...], float]


def random_table(seed: int, depth: int = 4, width: int = 3, *, binary: bool = True) -> tuple[Policy, Reward]:
    """A behavior and rewards whose completions end at every depth."""
    rng = np.random.default_rng(seed)
    policy: Policy = {}
    reward: Reward = {}

    def grow(prefix: tuple[int, ...]) -> None:
        count = int(rng.integers(2, width + 1))
        policy[prefix] = dict(
            zip(rng.choice(20, count, replace=False).tolist(), rng.dirichlet(np.ones(count)), strict=True)
        )
        for token in policy[prefix]:
            longer = (*prefix, token)
            if len(longer) < depth and (len(longer) < 2 or rng.random() < 0.6):
                grow(longer)
            else:
                reward[longer] = float(rng.random() < 0.4) if binary else float(rng.normal())

    grow(())
    return policy, reward


def random_tree(seed: int, depth: int = 4, width: int = 3, *, binary: bool = True) -> TokenTree:
    """The same as a tree."""
    return TokenTree.from_table(*random_table(seed, depth, width, binary=binary))
