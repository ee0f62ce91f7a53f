"""What the figures of the validation show, read back from their artists, and that their frames say what is kept."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from analysis.validation import ends, labels
from figures.sheet import OTHERS
from figures.validate_lag import plot_agreement, plot_kl, plot_model
from figures.validate_population import plot_distance, plot_kappa, plot_reached
from figures.validate_sampled import plot_errors, plot_pooled, plot_prompts
from tests.smoke import KEPT, smoke

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_kept_says_how_it_was_made_and_what_it_found(name: str) -> None:
    about = json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8"))
    assert about["scale"] != "smoke"
    assert {"torch", "transformers", "trl"} <= set(about["versions"])
    assert about["hardware"]["cores"] >= 1
    found = import_module(f"llm.validation.parts.{name.removeprefix('validate_')}").finding(smoke(name))
    assert about["finding"] == found
    assert found in (ROOT / "docs" / "language_models.md").read_text(encoding="utf-8").replace("\n", " ")


def test_distances_are_those_of_the_frame() -> None:
    rows = smoke("validate_population")
    rows = rows[rows["kind"] == "target"]
    ax = plot_distance(rows)
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert shown == list(dict.fromkeys(labels(rows)))
    found = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in ax.get_lines()])
    for column in ("tv", "tv_behavior", "tv_nominal"):
        drawn = np.maximum(rows[column], 1e-6) if column == "tv" else rows[column][rows[column] > 1e-6]
        assert np.isin(drawn.round(12), found.round(12)).all()


def test_kappas_lie_where_they_are_predicted_and_measured() -> None:
    frame = smoke("validate_population")
    rows = frame[(frame["kind"] == "target") & frame["kappa_fit"].notna()]
    ax = plot_kappa(rows)
    points = [container.lines[0].get_xydata() for container in ax.containers]
    drawn = np.concatenate([np.asarray(some) for some in points if len(some)])
    assert len(drawn) == len(rows)
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(rows["kappa"]))
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(rows["kappa_fit"]))


def test_minima_reached_are_named() -> None:
    frame = smoke("validate_population")
    descents = frame[frame["kind"] == "descent"]
    said = [text.get_text() for text in plot_reached(frame).texts]
    alone = descents[descents["branch"] == "W_-1"]["completion"].tolist()
    assert sorted(said) == sorted([*alone, *["W₀"] * (len(descents) - len(alone))])


def test_gaps_are_counted_in_errors() -> None:
    frame = smoke("validate_sampled")
    rows = frame[frame["kind"] == "prompt"]
    ax = plot_errors(frame)
    for (_, part), line in zip(rows.groupby("objective", sort=False), ax.get_lines()[1:], strict=True):
        below = np.mean(part["gap"] / part["error"] <= 1.0)
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert y[x <= 1.0][-1] == pytest.approx(below)


def test_measured_is_predicted_and_the_gap() -> None:
    frame = smoke("validate_sampled")
    rows = frame[frame["kind"] == "prompt"]
    points = np.concatenate([np.asarray(c.lines[0].get_xydata()) for c in plot_prompts(frame).containers])
    np.testing.assert_allclose(np.sort(points[:, 1] - points[:, 0]), np.sort(rows["gap"]), atol=1e-12)
    pooled = frame[(frame["kind"] == "pooled") & (frame["kappa_population"] > 1e-6)]
    ratios = np.concatenate([np.asarray(c.lines[0].get_xydata())[:, 0] for c in plot_pooled(frame).containers])
    np.testing.assert_allclose(np.sort(ratios), np.sort(1.0 + pooled["gap"] / pooled["kappa"]))


def test_curves_of_lag_are_means_over_the_seeds() -> None:
    frame = smoke("validate_lag")
    runs = frame[(frame["stage"] == "run") & (frame["source"] == "model") & (frame["lag"] == frame["lag"].max())]
    ax = plot_model(frame)
    for name, line in zip(runs["objective"].unique(), ax.get_lines(), strict=False):
        mine = runs[runs["objective"] == name].groupby("step")["value"].mean()
        np.testing.assert_allclose(np.asarray(line.get_ydata()), mine)
    rows = ends(frame)
    model = rows[rows["source"] == "model"]
    heights = np.concatenate([np.asarray(c.lines[0].get_xydata())[:, 1] for c in plot_kl(frame).containers])
    np.testing.assert_allclose(np.sort(heights), np.sort(model["kl"]))


def test_agreement_has_a_mark_for_each_objective_and_lag() -> None:
    frame = smoke("validate_lag")
    (marks,) = plot_agreement(frame).collections
    wide = ends(frame).pivot(index=["lag", "objective"], columns="source", values="gain")
    assert len(marks.get_paths()) == len(marks.get_sizes()) == len(wide)
    np.testing.assert_allclose(marks.get_offsets(), wide[["table", "model"]])
    assert (np.diff(marks.get_sizes()) >= 0).all()  # the rows go from the least lag to the largest
