"""What a run returns: a row a time, recorded times, one problem at a time."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.dynamics.gradient_flow import gradient_flow
from tests.pessimism.dynamics.fields import PROBLEM


def test_frame_has_a_row_per_time() -> None:
    flow = gradient_flow(*PROBLEM, "nominal", beta=0.25)
    frame = flow.frame()
    assert list(frame) == ["time", "value", "entropy", "kl", "max_ratio", "max_probability", "field"]
    behavior, reward = map(np.array, PROBLEM)
    assert frame["time"].iloc[0] == 0.0
    assert frame["time"].is_monotonic_increasing
    assert abs(frame["kl"].iloc[0]) < 1e-15
    np.testing.assert_allclose(frame["value"].iloc[0], behavior @ reward)
    last = flow.policies[-1]
    np.testing.assert_allclose(frame["entropy"].iloc[-1], -(last * np.log(last)).sum())
    np.testing.assert_allclose(frame["kl"].iloc[-1], (last * np.log(last / behavior)).sum())
    np.testing.assert_allclose(frame["max_ratio"].iloc[-1], (last / behavior).max())
    # The nominal objective is a gradient ascent of value - beta KL, which rises all the way.
    assert np.all(np.diff(frame["value"] - 0.25 * frame["kl"]) > -1e-12)
    assert frame["field"].iloc[-1] < 1e-2 * frame["field"].iloc[0]
    assert flow.status == "converged"
    assert flow.message == ""
    np.testing.assert_allclose(flow.policy, ps.nominal_target(*PROBLEM, beta=0.25), rtol=1e-12)
    assert repr(flow).startswith(f"Trajectory(nominal(beta=0.25), status=converged, end={flow.times[-1]:.4g}, records=")
    assert "<tr><th>status</th><td>converged</td></tr>" in flow._repr_html_()


def test_recorded_times_do_not_change_the_flow() -> None:
    plain = gradient_flow(*PROBLEM, "kimi", beta=0.25)
    asked = gradient_flow(*PROBLEM, "kimi", beta=0.25, times=plain.times[[3, 20, -1]])
    np.testing.assert_array_equal(asked.times, plain.times[[3, 20, -1]])
    np.testing.assert_allclose(asked.policies, plain.policies[[3, 20, -1]], rtol=1e-7)
    np.testing.assert_allclose(asked.policy, plain.policy, rtol=1e-12)
    long = gradient_flow(*PROBLEM, "kimi", beta=0.25, times=[1e6])
    assert long.policies.shape == (1, 4)
    np.testing.assert_allclose(long.policies[0], plain.policy, rtol=1e-7)


def test_one_problem_at_a_time() -> None:
    with pytest.raises(
        ValueError, match=r"^behavior and reward must be one problem \(K,\), got a batch of shape \(2,\)$"
    ):
        gradient_flow([[0.5, 0.5]] * 2, [0.0, 1.0], "kimi")
