"""Random bandits that are hard in one way each; rewards are probabilities, so that every objective takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Problem(NamedTuple):
    """Behavior, reward and reference of one bandit, each ``(K,)``; without a reference it is the behavior."""

    q: Array
    r: Array
    nu: Array | None = None


def _policy(rng: np.random.Generator, size: int) -> Array:
    p = 0.02 / size + rng.dirichlet(np.ones(size))
    return np.asarray(p / p.sum())


def generic(seed: int, size: int = 5) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(_policy(rng, size), rng.uniform(0.05, 0.95, size))


def tied(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(_policy(rng, 6), rng.permutation([0.0, 0.0, 0.5, 0.5, 1.0, 1.0]))


def two(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(_policy(rng, 2), rng.permutation([0.1, 0.8]))


def holes(seed: int) -> Problem:
    """Actions that the behavior never takes, one of them the best."""
    rng = np.random.default_rng(seed)
    q = np.insert(_policy(rng, 4), [0, 2], 0.0)
    r = np.insert(rng.uniform(0.05, 0.9, 4), [0, 2], [1.0, 0.3])
    return Problem(q, r)


def rare(seed: int, size: int = 40) -> Problem:
    """One success in many completions."""
    rng = np.random.default_rng(seed)
    return Problem(_policy(rng, size), np.eye(size)[rng.integers(size)])


def apart(seed: int, size: int = 5) -> Problem:
    """A reference that is not the behavior."""
    rng = np.random.default_rng(seed)
    return Problem(_policy(rng, size), rng.uniform(0.05, 0.95, size), _policy(rng, size))


KINDS = {"generic": generic, "tied": tied, "two": two, "holes": holes, "rare": rare, "apart": apart}
