"""What the tests of the programs share: problems, optimality conditions on the simplex, agreement with a target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pessimism.convex import program
from pessimism.convex.program import Program
from tests.helpers import Array, accepted, make_problem

ERRORS = ["policy_error", "value_error", "dual_error", "leak_error"]
Q, R = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])


def slopes_agree(slope: Array, found: Program, *, tolerance: float = 1e-5) -> None:
    """One slope where there is mass, none above it elsewhere."""
    kept = found.policy > 1e-6
    assert kept.any()
    np.testing.assert_allclose(slope[kept], found.dual, atol=tolerance)
    assert np.all(slope[~kept] <= found.dual + tolerance)
    assert found.policy.sum() == pytest.approx(1.0, abs=1e-8)
    assert found.status in program.SOLVED
    assert found.accuracy < 1e-6


def problems(label: str, width: int = 6) -> tuple[Array, Array]:
    """Two random problems of one width."""
    behavior, reward = zip(*(make_problem(seed, width) for seed in (21, 22)), strict=True)
    return np.array(behavior), accepted(label, np.array(reward))


def assert_agrees(frame: pd.DataFrame) -> None:
    """Every row was verified, and every error that is defined is within the stated tolerance."""
    assert frame["agrees"].notna().all(), frame["reason"].tolist()
    assert frame["agrees"].all(), frame.T.to_string()
    errors = frame[ERRORS].to_numpy()
    assert np.all(np.isnan(errors) | (errors <= frame[["tolerance"]].to_numpy()))
    assert frame["solver_status"].isin(program.SOLVED).all()
    assert (frame["accuracy"] < 1e-4).all()
