"""The command that runs the experiment: which parts, what it writes, what it reads again, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llm.__main__ import main
from llm.validation.parts import lag as study
from llm.validation.parts.lag_runs import COMPARED
from llm.validation.run import PARTS, SCALES, ValidateConfig, hardware, parameters, run
from tests.llm.marks import slow_but


def made_up(**given: Any) -> pd.DataFrame:
    """A frame of part c, of all objectives at both lags."""
    rows = [
        {"objective": name, "lag": lag, "seed": seed, "source": source, "stage": "run", "rate": 0.1, "step": step}
        | {"value": 0.1 * place + 0.01 * seed + 0.001 * step, "entropy": 0.5, "kl": 0.2, "ended": False}
        for place, name in enumerate(given["objectives"])
        for lag in given["lags"]
        for seed in (1, 2)
        for source in ("model", "table")
        for step in (0, 4)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lag(objectives: tuple[str, ...] = COMPARED, lags: tuple[int, ...] = (1, 64)) -> pd.DataFrame:
        return made_up(objectives=objectives, lags=lags)

    monkeypatch.setattr(study, "lag", lag)
    monkeypatch.setattr(study, "SMOKE", {"lags": (1, 8)})
    monkeypatch.setattr(study, "FULL", {"lags": (1, 256)})


@pytest.mark.parametrize("part", PARTS)
def test_scales_are_of_the_same_study(part: str) -> None:
    default, *others = (parameters(part, scale) for scale in ("default", "smoke", "full"))
    assert all(list(other) == list(default) for other in others)
    assert parameters(part, "smoke") != default


def test_the_parameters_of_the_issue_of_lag() -> None:
    assert parameters("lag")["lags"] == (1, 64)
    assert parameters("lag")["seeds"] == 2
    assert parameters("lag")["rates"] == ()  # those of the full run
    assert parameters("lag", "full")["lags"] == (1, 16, 64, 256)
    assert parameters("lag", "full")["seeds"] == 5
    assert len(parameters("lag", "full")["rates"]) > 1


@pytest.mark.usefixtures("stubbed")
def test_what_a_part_writes(tmp_path: Path) -> None:
    paths = run("lag", "full", tmp_path, cache=None, formats=("png",))
    assert [path.name for path in paths] == ["validate_lag.png", "validate_lag.csv", "validate_lag.json"]
    frame, about = pd.read_csv(paths[1]), json.loads(paths[2].read_text())
    assert sorted(frame["lag"].unique()) == [1, 256]
    assert about["parameters"]["lags"] == [1, 256]
    assert about["scale"] == "full"
    assert "Kimi" in about["finding"]
    assert {"torch", "transformers", "trl", "numpy", "pessimism"} <= set(about["versions"])
    assert about["hardware"] == hardware()
    assert about["hardware"]["cores"] >= 1
    assert about["hardware"]["cpu"]


@pytest.mark.usefixtures("stubbed")
@pytest.mark.parametrize(
    ("flags", "lags"), slow_but([], [([], [1, 64]), (["--smoke"], [1, 8]), (["--full"], [1, 256])])
)
def test_the_command(flags: list[str], lags: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--parts", "lag", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--formats", "svg"]
    assert main(["validate", *given, *flags]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.suffix for path in written] == [".svg", ".csv", ".json"]
    assert sorted(pd.read_csv(written[1])["lag"].unique()) == lags


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--parts", "lagg"], "parts: unknown part 'lagg'; known: population, sampled, lag"),
        (["--smoke", "--full"], "smoke and full exclude each other"),
        (["--formats", "gif"], "gif"),
        (["--jobs", "0"], "jobs must be at least 1, got 0"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_a_mistake_is_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *given]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_unknown_scales_and_parts() -> None:
    with pytest.raises(ValueError, match="scale must be one of smoke, default, full, got 'huge'"):
        parameters("lag", "huge")
    with pytest.raises(ValueError, match="unknown part 'x'"):
        parameters("x")
    assert [ValidateConfig(smoke=True).scale, ValidateConfig().scale, ValidateConfig(full=True).scale] == list(SCALES)
