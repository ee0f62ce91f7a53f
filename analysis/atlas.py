"""Every objective by every route on seeded bandits: the measurements behind docs/objectives.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.routes import compare_routes
from analysis.settings import at_temperature

BETAS = (0.1, 0.3, 1.0)


def seeded_bandit(seed: int, count: int = 50, least: int = 2, most: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Bandit `seed` of `count`: K grows geometrically from `least` to `most`, rewards are uniform on (0, 1)."""
    rng = np.random.default_rng(seed)
    width = round(least * (most / least) ** (seed / max(count - 1, 1)))
    return rng.dirichlet(np.ones(width)), rng.uniform(size=width)


def atlas(
    objectives: Iterable[str] | None = None,
    bandits: int = 50,
    betas: Sequence[float] = BETAS,
    most: int = 64,
) -> pd.DataFrame:
    """Errors of the generic fixed point, the convex program and the gradient flow against the returned target.

    One row per objective, temperature, bandit and route: `objective`, `beta`, `seed`, `actions`, `status`, `regime`,
    `certificate` (worst KKT residual), `route`, `error` (nan where the route does not apply), `why`. An objective
    without a temperature is solved once per bandit.
    """
    rows = []
    for name in ps.objectives() if objectives is None else objectives:
        for beta in betas:
            objective = at_temperature(beta, [name])[name]
            if objective.temperature is None and beta != betas[0]:
                continue
            for seed in range(bandits):
                behavior, reward = seeded_bandit(seed, bandits, most=most)
                target, found = compare_routes(behavior, reward, objective)
                facts = {
                    "objective": name,
                    "beta": beta,
                    "seed": seed,
                    "actions": len(reward),
                    "status": str(target.status),
                    "regime": str(target.regime),
                    "certificate": float(target.certificate()["worst"].iloc[0]),
                }
                rows += [facts | comparison._asdict() for comparison in found]
    return pd.DataFrame(rows)
