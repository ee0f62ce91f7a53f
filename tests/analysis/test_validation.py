"""Names of objectives from the columns of a frame, and those columns in the frames that are kept."""

from __future__ import annotations

import pandas as pd
import pytest

import pessimism as ps
from analysis.validation import labels
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
    assert labels(frame).to_dict() == {3: "awr", 1: "oapl, β₁ = 2β₂", 2: "shifted_mean, 1"}
    assert labels(frame[:1]).to_dict() == {3: "awr"}
    assert labels(frame[:0]).empty


@pytest.mark.parametrize("name", ["shift", "beta1", "beta2"])
def test_the_kept_frame_has_the_parameters_that_its_settings_name(name: str) -> None:
    frame = smoke("validate_population")
    told = frame["setting"].str.extract(rf"\b{name}=([^,)]+)")[0].astype(float)
    pd.testing.assert_series_equal(frame[name], told, check_names=False)
    known = ps.objectives()
    assert all(hasattr(known[one], name) == rows[name].notna().all() for one, rows in frame.groupby("objective"))
