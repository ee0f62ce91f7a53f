"""The frames behind the figures at a few telling rows, as committed.

Closed forms and laws test the frames, each in the file of its study; these rows notice what nobody thought of. After a
wanted change: ``python -m tests.analysis.test_reference [NAME ...]``, then read the diff.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import studies
from tests.smoke import smoke

REFERENCE = Path(__file__).parent / "reference"
MOST = 12


def telling(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows to commit, with their position in the first column ``row``.

    The first and the last, then column by column from the left the first row of its least and of its largest number,
    until there are ``MOST``; in the order of the frame. The last row counts them all.
    """
    chosen = dict.fromkeys([0, len(frame) - 1])
    numbers = frame.replace("", float("nan")).infer_objects().select_dtypes("number")
    for values in numbers.to_numpy(dtype=float).T:
        if not np.isnan(values).all():
            chosen |= dict.fromkeys([int(np.nanargmin(values)), int(np.nanargmax(values))])
    rows = sorted(list(chosen)[:MOST])
    few = frame.iloc[rows].reset_index(drop=True)
    few.insert(0, "row", rows)
    return few


@pytest.mark.parametrize("name", studies.NAMES)
def test_telling_rows_equal_the_committed_ones(name: str) -> None:
    committed = pd.read_csv(REFERENCE / f"{name}.csv", index_col="row")
    frame = smoke(name).replace("", float("nan"))
    assert len(committed) <= MOST
    assert committed.index[0] == 0
    assert committed.index[-1] == len(frame) - 1
    found = frame.iloc[committed.index].set_index(committed.index)
    pd.testing.assert_frame_equal(found, committed, check_dtype=False, rtol=1e-8, atol=1e-12)


def test_the_rule_takes_ends_and_extremes() -> None:
    frame = pd.DataFrame({"name": list("abcde"), "x": [2.0, 5.0, 1.0, 5.0, 3.0], "y": [0, 0, 0, 0, 0]})
    assert telling(frame)["row"].tolist() == [0, 1, 2, 4]
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 30)))
    assert len(telling(wide)) == MOST
    assert {0, 99, int(wide[0].idxmin()), int(wide[0].idxmax())} <= set(telling(wide)["row"])


if __name__ == "__main__":
    for study in sys.argv[1:] or studies.NAMES:
        telling(smoke(study)).to_csv(REFERENCE / f"{study}.csv", index=False)
