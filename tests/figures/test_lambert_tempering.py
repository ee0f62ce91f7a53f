"""What the curves show, read back from their artists."""

from __future__ import annotations

import pytest

from analysis.lambert_tempering import lambert_tempering
from figures.lambert_tempering import plot_ratio, plot_temperature


@pytest.mark.parametrize("given", [{}, {"low": -10.0}, {"high": 12.0}, {"kappas": (100.0,)}, {"kappas": (-1e-3, 0.0)}])
def test_no_ratio_and_no_temperature_of_w0_is_cut(given: dict[str, object]) -> None:
    frame = lambert_tempering(**{"n": 41, **given})  # type: ignore[arg-type]
    frame = frame[frame["point"] != "doubled"]
    low, high = plot_ratio(frame).get_ylim()
    assert low < frame["ratio"].min() <= frame["ratio"].max() < high
    mine = frame.loc[frame["branch"] == 0, "local_temperature"]
    low, high = plot_temperature(frame).get_ylim()
    assert low < mine.min() <= mine.max() < high


def test_limits_do_not_reach_for_a_doubling_beyond_the_curves() -> None:
    frame = lambert_tempering(kappas=(1.0, 10.0), n=41)
    curves = frame[frame["point"] == "curve"]
    assert frame["local_temperature"].max() > 2 * curves["local_temperature"].max()
    assert plot_temperature(frame).get_ylim()[1] < 1.2 * curves["local_temperature"].max()
