"""How the search for a target ended: every status is met, and those without a target say why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps

HALF = [0.5, 0.5]
MET: dict[str, tuple[Any, Any, Any]] = {
    "converged": (HALF, [0.0, 1.0], ps.Kimi(beta=0.5)),
    "local_minimum": (HALF, [0.0, 1.0], ps.ConstantBaseline(beta=0.5, value=2.0)),
    "vanishing_support": ([0.4, 0.3, 0.25, 0.05], [0.2, 0.4, 0.6, 0.8], ps.AsymRE(shift=-0.1)),
    "no_target": (HALF, [0.0, 1.0], ps.AsymRE(shift=0.1)),
    "invalid_input": ([0.5, 0.6], [0.0, 1.0], ps.Kimi(beta=0.5)),
    "set_valued": ([0.25, 0.25, 0.5], [1.0, 1.0, 0.0], ps.PEVI()),
}


@pytest.mark.parametrize("status", MET)
def test_every_status_is_met_and_has_a_message_where_there_is_no_policy(status: str) -> None:
    behavior, reward, objective = MET[status]
    target = ps.induced_target(behavior, reward, objective, on_error="status")
    assert target.status == status
    lost = np.isnan(np.asarray(target.policy)).any()
    assert lost == (status in ("no_target", "invalid_input"))
    assert (() in target.message) == (lost or status == "local_minimum")
    assert all(len(said) > 20 for said in target.message.values())


def test_a_batch_holds_a_status_for_each_problem() -> None:
    behavior = np.array([HALF, [0.5, 0.6], HALF])
    objective = ps.ConstantBaseline(beta=0.5, value=0.5)
    found = ps.induced_target(behavior, [[0.0, 1.0], [0.0, 1.0], [0.0, 0.1]], objective, on_error="status")
    assert found.status.tolist() == ["converged", "invalid_input", "local_minimum"]
    assert list(found.message) == [(1,), (2,)]
