"""`pessimism compare`: the whole registry in a table that fits the terminal."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.losses.registry import parse_objective, short_setting
from tests.pessimism.cli.console import BANDIT, EXAMPLES, fail, run


def test_compare_covers_the_registry_at_one_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "compare", *BANDIT, "--beta", "0.25", "--json"))["comparison"]
    assert [row["objective"].partition("(")[0] for row in rows] == list(ps.objectives())
    assert rows[3]["objective"] == "kimi(beta=0.25)"
    policies = {row["objective"].partition("(")[0]: row["pi[0]"] for row in rows}
    nominal = [
        policies[n] for n in ("nominal", "a_star_po", "optimal_value", "tba", "rebel", "awr", "copg", "dpo", "ips")
    ]
    assert np.ptp(nominal) < 1e-12


def test_compare_takes_settings_per_objective(capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["kimi", "shifted_mean:shift=2", "a_star_po:beta1=0.3,sampling=off_policy"]
    out = run(capsys, "compare", *BANDIT, "--beta", "0.25", "--objectives", *specs)
    assert [line.split()[0] for line in out.splitlines()[1:4]] == specs
    assert "Settings not shown: the defaults (pessimism objectives), temperature 0.25." in out
    full = json.loads(run(capsys, "compare", *BANDIT, "--beta", "0.25", "--objectives", *specs, "--json"))
    settings = ["kimi(beta=0.25)", "shifted_mean(beta=0.25, shift=2.0)"]
    assert [row["objective"] for row in full["comparison"]][:2] == settings
    assert full["comparison"][2]["objective"].endswith("sampling='off_policy')")
    defaults = run(capsys, "compare", *BANDIT, "--objectives", "kimi", "oapl", "--csv")
    assert pd.read_csv(io.StringIO(defaults))["objective"].tolist() == [str(ps.Kimi()), str(ps.OAPL())]


def test_compare_with_a_reference_leaves_out_what_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ["--reference", "0.25,0.25,0.25,0.25"]
    rows = json.loads(run(capsys, "compare", *BANDIT, *reference, "--json"))["comparison"]
    names = [row["objective"].partition("(")[0] for row in rows]
    assert names == [name for name, cls in ps.objectives().items() if cls.takes_reference]


@pytest.mark.parametrize("beta", [None, 0.25])
@pytest.mark.parametrize("name", list(ps.objectives()))
def test_a_short_setting_is_the_objective_again(name: str, beta: float | None) -> None:
    """Also with every setting changed that has room: numbers halved or one up, switches turned."""
    plain = parse_objective(name, beta)
    assert short_setting(plain, beta) == name
    for f in fields(plain):
        value = getattr(plain, f.name)
        if (name, f.name) == ("gmpo", "length"):
            continue  # one token is all that it takes
        if isinstance(value, bool | float):
            other = not value if isinstance(value, bool) else value + 1.0 if f.name == "length" else 0.5 * value
            changed = dataclasses.replace(plain, **{f.name: other})
            assert parse_objective(short_setting(changed, beta), beta) == changed
    moments = ps.LogSmoothing(second_moment=(0.2, 0.3))
    assert parse_objective(short_setting(moments, None), None) == moments


@pytest.mark.parametrize(("columns", "left_out"), [(80, "max_w, policy"), (100, "max_w"), (120, "")])
@pytest.mark.parametrize("objectives", [(), ("kimi", "oapl:beta1=0.5", "shifted_mean:shift=2")])
def test_a_comparison_fits_the_terminal(
    columns: int,
    left_out: str,
    objectives: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    some = ["--objectives", *objectives] if objectives else []
    at = run(capsys, "compare", *BANDIT, *some, "--beta", "0.25")
    out = run(capsys, "compare", *BANDIT, *some)
    assert max(map(len, at.splitlines())) <= columns
    assert max(map(len, out.splitlines())) <= columns
    names = [line.split()[0].partition(":")[0] for line in out.splitlines()[1:-3]]
    assert names == ([spec.partition(":")[0] for spec in objectives] or list(ps.objectives()))
    if not objectives:
        assert f"Not shown: {left_out}. " in out or not left_out
        assert "vanishing" in out
        assert "set valued" in out
    csv = pd.read_csv(io.StringIO(run(capsys, "compare", *BANDIT, *some, "--csv")))
    assert {"max_ratio", "pessimism_factor", "leak", "status", *(f"pi[{i}]" for i in range(4))} <= set(csv)
    assert csv["objective"].str.contains(r"\(.*=.*\)", regex=True).all()


def test_the_numbers_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    def cells(*arguments: str) -> list[dict[str, str]]:
        lines = run(capsys, "compare", *arguments).splitlines()
        return [dict(zip(lines[0].split(), line.split(), strict=False)) for line in lines[1:-3]]

    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25)
    facts = target.conservatism().iloc[0]
    (row,) = cells(*BANDIT, "--objectives", "kimi:beta=0.25")
    assert row["factor"] == f"{facts['pessimism_factor']:.3g}"
    assert row["T_eff"] == f"{facts['effective_temperature']:.3g}"
    assert row["max_w"] == f"{facts['max_ratio']:.3g}"
    assert "leak" not in row
    assert "status" not in row
    leaking = cells(*BANDIT, "--unseen", "--objectives", "constant_baseline:value=0.9", "--beta", "0.25")
    z = np.exp((np.array([0.2, 0.4, 0.6, 0.8]) - 0.9) / 0.25) @ np.array([0.4, 0.3, 0.2, 0.1])
    assert leaking[0]["leak"] == f"{1 - z:.3g}"
    lost = run(capsys, "compare", *BANDIT, "--objectives", "pevi", "asym_re:shift=0.1").splitlines()
    assert lost[1].endswith("   0    0    0 1.00")
    assert "no target" in lost[2]


def test_a_log_is_summed_up_a_row_for_each_objective(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", str(EXAMPLES / "verl_rollouts"), "--objectives", "kimi", "topr", "--matched", "kl=0.1")
    rows = json.loads(run(capsys, *arguments, "--json"))["comparison"]
    expected = ps.compare(log=EXAMPLES / "verl_rollouts", objectives=["kimi", "topr"], matched={"kl": 0.1})
    assert [row["objective"] for row in rows] == expected["objective"].tolist()
    np.testing.assert_array_equal([row["kl"] for row in rows], expected["kl"])
    table = run(capsys, *arguments)
    assert "topr: not matched, having no temperature to move: pessimism match --over" in table
    assert "Medians and shares over 63 of 64 problems, whose rewards differ." in table


def test_bandits_are_sorted_and_matched(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", *BANDIT, "--objectives", "kimi", "nominal", "--sort=-value")
    assert [line.split()[0] for line in run(capsys, *arguments).splitlines()[1:3]] == ["nominal", "kimi"]
    like = run(capsys, *arguments, "--matched", "like=kimi:beta=0.5", "--csv")
    frame = pd.read_csv(io.StringIO(like))
    np.testing.assert_allclose(frame["kl"], frame["kl"][0], rtol=1e-9)
    message = fail(capsys, "compare", *BANDIT, "--matched", "klx=1")
    assert "--matched must be kl=, value=, max_ratio= or like=, got 'klx=1'" in message
    assert "--matched must be kl= a number, got 'kl=1_0'" in fail(capsys, "compare", *BANDIT, "--matched", "kl=1_0")
