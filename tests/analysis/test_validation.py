"""Names of objectives from the columns of a frame, and those columns in the frames that are kept."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import pessimism as ps
from analysis.validation import ends, labels
from tests.smoke import smoke


def test_objectives_are_named_without_their_temperature() -> None:
    frame = pd.DataFrame(
        {
            "objective": ["awr", "oapl", "shifted_mean"],
            "shift": [None, None, 1.0],
            "beta1": [None, 0.2, None],
            "beta2": [None, 0.1, None],
        },
        index=[3, 1, 2],
    )
    assert labels(frame).to_dict() == {3: "AWR", 1: "OAPL, β₁ = 2β₂", 2: "shifted mean, 1"}
    assert labels(frame[:1]).to_dict() == {3: "AWR"}
    assert labels(frame[:0]).empty


@pytest.mark.parametrize("name", ["shift", "beta1", "beta2"])
def test_the_kept_frame_has_the_parameters_that_its_settings_name(name: str) -> None:
    frame = smoke("validate_population")
    told = frame["setting"].str.extract(rf"\b{name}=([^,)]+)")[0].astype(float)
    pd.testing.assert_series_equal(frame[name], told, check_names=False)
    known = ps.objectives()
    assert all(hasattr(known[one], name) == rows[name].notna().all() for one, rows in frame.groupby("objective"))


def made_up(model: dict[str, float], table: dict[str, float], spread: float = 0.001) -> pd.DataFrame:
    """Two seeds of each objective at lag 4, whose values after a start of 0.2 differ by twice the spread."""
    rows: list[dict[str, Any]] = []
    for source, values in (("model", model), ("table", table)):
        for name, value in values.items():
            for seed, side in ((1, -spread), (2, spread)):
                for step, height in ((0, 0.2), (5, value + side), (10, value + side)):
                    row = {"source": source, "objective": name, "seed": seed, "step": step, "value": height}
                    rows.append(row | {"stage": "run", "lag": 4, "rate": 0.1, "entropy": 0.5, "kl": 0.3})
    return pd.DataFrame(rows)


def test_ends_are_means_over_seeds_with_their_errors() -> None:
    rows = ends(made_up({"kimi": 0.7}, {"kimi": 0.8}, spread=0.1)).set_index("source")
    assert rows.loc["model", "gain"] == pytest.approx(0.7)  # the start does not count
    assert rows.loc["table", "value"] == pytest.approx(0.8)
    assert rows.loc["model", "value_error"] == pytest.approx(0.1)
