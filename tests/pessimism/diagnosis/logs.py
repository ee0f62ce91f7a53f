"""Rollout logs for the tests of the diagnosis: shipped, written by hand, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

EXAMPLES = Path(__file__).parents[3] / "examples"
TRL = EXAMPLES / "trl_completions"


def log_of(*groups: list[float], step: int = 0) -> pd.DataFrame:
    """One prompt p0, p1, ... per list of rewards."""
    return pd.DataFrame(
        [(step, f"p{i}", r) for i, g in enumerate(groups) for r in g], columns=["step", "prompt", "reward"]
    )


def random_log(seed: int = 0, groups: int = 40) -> pd.DataFrame:
    """Groups of mixed sizes, rows of different groups interleaved."""
    rng = np.random.default_rng(seed)
    drawn = [np.round(rng.normal(size=rng.integers(1, 9)), int(rng.integers(0, 3))).tolist() for _ in range(groups)]
    return log_of(*drawn).sample(frac=1.0, random_state=seed, ignore_index=True)
