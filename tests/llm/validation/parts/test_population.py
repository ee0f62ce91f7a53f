"""Part a of the validation: the study on the small model, and where its rows come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from analysis.work import kept_in
from llm.validation.parts import population as study
from llm.validation.parts.population import OBJECTIVES, finding, headline, population, settings
from llm.validation.report import table


def test_the_objectives_and_their_settings() -> None:
    found = settings(OBJECTIVES, 0.1)
    assert len(found) == 10
    assert {objective.temperature for objective in found} == {0.1}
    assert [one.shift for one in found if isinstance(one, ps.ShiftedMean)] == [0.3, 1.0]
    assert [one.beta1 > one.beta2 for one in found if isinstance(one, ps.OAPL)] == [True]
    with pytest.raises(ValueError, match="objectives: 'grpo' is not one of tba, kimi"):
        settings(("kimi", "grpo"), 0.1)


@pytest.fixture(scope="module")
def frame(folder: Path) -> pd.DataFrame:
    """The study with `kimi` alone, and of the negative regime two starts, on one prompt."""
    with pytest.MonkeyPatch.context() as patch, kept_in(None, jobs=1):
        patch.setattr(study, "model_path", lambda _: str(folder))
        return population("tiny", ("kimi",), (0.3,), (1.0,), ("behavior", "empty"), steps=150, shown=10)


@pytest.mark.slow
def test_every_row_says_where_training_went(frame: pd.DataFrame) -> None:
    targets = frame[frame["kind"] == "target"]
    assert len(targets) == 1
    assert (targets["tv"] <= 1e-3).all()
    assert (targets["tv_behavior"] > 0.02).all()
    np.testing.assert_allclose(targets["kappa_fit"], targets["kappa"], atol=0.01)
    assert targets["value"].to_numpy() == pytest.approx(targets["value_target"].to_numpy(), abs=1e-3)
    assert (targets["value"] > targets["value_behavior"]).all()


@pytest.mark.slow
def test_descents_are_compared_with_the_minima(frame: pd.DataFrame) -> None:
    descents, kept = (frame[frame["kind"] == kind] for kind in ("descent", "minimum"))
    assert descents["start"].tolist() == ["behavior", "empty"]
    assert (descents["minima"] > 100).all()
    assert (descents["regime"] == "negative").all()
    assert (descents["leak"] > 0).all()
    for (setting, prompt), part in descents.groupby(["setting", "prompt"]):
        mine = kept[(kept["setting"] == setting) & (kept["prompt"] == prompt)].set_index("rank")
        assert set(part["rank"]) <= set(mine.index)
        assert mine["loss"].is_monotonic_increasing
        for row in part.itertuples():
            assert row.loss == mine.loc[row.rank, "loss"]
            # No policy has a loss below the lowest minimum, and one in a minimum has that minimum's.
            assert row.policy_loss >= mine.loc[1, "loss"] * (1 - 1e-9)
            if row.tv < 1e-4:
                assert row.policy_loss == pytest.approx(row.loss, rel=1e-3)


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([1, 1, 1, 1], "no start leads to another minimum than the behavior does (2 losses)"),
        ([1, 2, 1, 1], "the start decides between minima for 1 of 2 losses"),
        ([1, 2, 3, 1], "the start decides between minima for 2 of 2 losses"),
    ],
)
def test_whether_the_start_decides(ranks: list[int], said: str) -> None:
    targets = pd.DataFrame({"kind": ["target"], "tv": [0.0], "kappa": [1.0], "kappa_fit": [1.0]})
    targets = targets.assign(setting="a", prompt="p", tv_behavior=0.5)
    descents = pd.DataFrame({"setting": ["a", "a", "b", "b"], "prompt": "p", "rank": ranks, "tv": 1e-3, "minima": 3})
    descents = descents.assign(kind="descent", branch="W_0", completion_behavior=np.nan)
    frame = pd.concat([targets, descents], ignore_index=True)
    assert headline(frame).endswith(f"; in the negative regime {said}")
    assert finding(frame).endswith(f"; {said}.")


@pytest.mark.slow
def test_what_is_said_of_it(frame: pd.DataFrame) -> None:
    assert headline(frame).startswith("1 of 1 ")
    assert f"{frame['minima'].max()} minima" in finding(frame)
    assert table(frame).count("\n") == 2
    worse = frame.assign(tv=frame["tv"].where(frame["kind"] != "target", 0.2))
    assert headline(worse).startswith("0 of 1 ")
    assert "2.0e-01" in finding(worse)
