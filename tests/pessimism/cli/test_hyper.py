"""Hyper-parameters on the command line: as options, after a colon, at the temperature of a comparison."""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import chain
from pathlib import Path

import pytest

import pessimism as ps
from pessimism.cli.hyper import PHRASES
from pessimism.losses.registry import parse_objective
from tests.pessimism.cli.console import BANDIT, EXAMPLES, run


def test_settings_after_a_colon_everywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = run(capsys, "target", *BANDIT, "--objective", "oapl", "--beta1", "0.5", "--beta2", "0.1", "--json")
    assert run(capsys, "target", *BANDIT, "--objective", "oapl:beta1=0.5,beta2=0.1", "--json") == options
    assert run(capsys, "target", *BANDIT, "--objective", "oapl:beta1=0.5", "--beta2", "0.1", "--json") == options
    log = str(EXAMPLES / "trl_completions")
    out = run(capsys, "diagnose", log, "--objective", "kimi:beta=0.1", "--out", str(tmp_path))
    assert "objective: kimi(beta=0.1)" in out
    assert (tmp_path / "diagnose_kimi.csv").is_file()


def test_temperature_of_a_comparison() -> None:
    assert parse_objective("oapl", 0.25) == ps.OAPL(beta2=0.25)
    assert parse_objective("oapl:beta2=0.5", 0.25) == ps.OAPL(beta2=0.5)
    assert parse_objective("rebel", 0.25) == ps.REBEL(eta=4.0)
    assert parse_objective("rebel:eta=2", 0.25) == ps.REBEL(eta=2.0)
    assert parse_objective("asym_re", 0.25) == ps.AsymRE()


@pytest.mark.parametrize(
    "name", ["kimi", "chord", "divergence_augmented", "kl_regularized", "gspo", "pevi", "a_star_po"]
)
def test_every_kind_of_hyper_parameter_is_read_from_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = [f for f in fields(ps.objectives()[name]) if f.default is not None]
    options = [(f"--{f.name.replace('_', '-')}", str(f.default)) for f in written]
    said = run(capsys, "target", *BANDIT, "--objective", name, *chain.from_iterable(options), "--json")
    assert json.loads(said)["objective"] == str(ps.objectives()[name]())
    spec = ",".join(f"{f.name}={f.default}" for f in written)
    said = run(capsys, "target", *BANDIT, "--objective", f"{name}:{spec}", "--json")
    assert json.loads(said)["objective"] == str(ps.objectives()[name]())


def test_lists_and_false_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "target", *BANDIT, "--objective", "chord", "--phi", "False", "--json")
    assert json.loads(said)["objective"] == str(ps.CHORD(phi=False))
    moments = ["--second-moment", "0.2,0.3,0.6,0.8"]
    said = run(capsys, "target", *BANDIT, "--objective", "log_smoothing", *moments, "--json")
    assert json.loads(said)["objective"] == str(ps.LogSmoothing(second_moment=(0.2, 0.3, 0.6, 0.8)))
    said = run(capsys, "target", *BANDIT, "--objective", "log_smoothing:second_moment=0.2/0.3/0.6/0.8", "--json")
    assert json.loads(said)["objective"] == str(ps.LogSmoothing(second_moment=(0.2, 0.3, 0.6, 0.8)))
    said = run(capsys, "target", *BANDIT, "--objective", "gspo", "--length", "1,2,3,4", "--json")
    assert json.loads(said)["objective"] == str(ps.GSPO(length=(1.0, 2.0, 3.0, 4.0)))
    said = run(capsys, "target", *BANDIT, "--objective", "gspo:length=7", "--json")
    assert json.loads(said)["objective"] == str(ps.GSPO(length=7.0))


def test_every_hyper_parameter_has_a_phrase_and_its_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    owners = {key: [n for n, cls in ps.objectives().items() if key in {f.name for f in fields(cls)}] for key in PHRASES}
    out = " ".join(run(capsys, "target", "--help").split()).replace("- ", "-")
    for key, phrase in PHRASES.items():
        assert 8 < len(phrase) <= 140
        assert not phrase.endswith(".")
        said = f"{phrase}. Used by {', '.join(owners[key][:4])}"
        assert said.replace("- ", "-") in out, key


def test_every_hyper_parameter_is_an_option() -> None:
    assert set(PHRASES) == {f.name for cls in ps.objectives().values() for f in fields(cls)}


@pytest.mark.parametrize("written", ["A*-PO", "a-star-po", "AStarPO", "a_star_po"])
def test_names_match_as_people_write_them(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    for objective in (f"{written}:beta1=0.5", f"{written} : beta1=0.5"):
        said = json.loads(run(capsys, "target", *BANDIT, "--objective", objective, "--beta2", "0.1", "--json"))
        assert said["objective"] == str(ps.AStarPO(beta1=0.5, beta2=0.1))


def test_a_choice_that_looks_like_a_number_is_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    expected = str(ps.DivergenceAugmented(divergence="inf"))
    for arguments in (["divergence_augmented:divergence=inf"], ["divergence_augmented", "--divergence", "inf"]):
        said = json.loads(run(capsys, "target", *BANDIT, "--objective", *arguments, "--json"))
        assert said["objective"] == expected
