"""The page: verdict first, every part with its source, tables that fit, nothing that steers a terminal."""

from __future__ import annotations

import re

import pytest

import pessimism as ps
from pessimism.advice.page import WIDTH, plain_lines
from tests.pessimism.diagnosis.logs import TRL, log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 0)))


@pytest.fixture(scope="module", params=["kimi:beta=1", "optimal_value:beta=0.2", "grpo"])
def found(request: pytest.FixtureRequest) -> ps.Advice:
    trainer = {"loss_type": "grpo", "num_generations": 8, "steps_per_generation": 4, "top_p": 0.9}
    return ps.advise(TRL, trainer=trainer, objective=request.param, kl_per_step=1e-3)


def test_the_verdict_is_first_and_lines_fit(found: ps.Advice) -> None:
    page = found.text
    assert page.startswith("verdict: ")
    assert max(map(len, page.splitlines())) <= WIDTH
    heads = [line for line in page.splitlines() if re.match(r"\d\. ", line)]
    assert [head[0] for head in heads] == ["1", "2", "3", "4", "5"]
    assert "not modelled: " in page
    assert "nan" not in page.lower().split()


def test_every_part_names_its_computation(found: ps.Advice) -> None:
    sources = [line for line in found.text.splitlines() if line.startswith("  [")]
    assert len(sources) == 6
    tried = "tried on" if found.report.summary["recommendation"]["options"] else "from the log: targets of its groups"
    assert sources[1].startswith(f"  [{tried}")
    for part in ("from the log", "targets of the in-sample", "population at n = 8", "tabular dynamics"):
        assert any(part in source for source in sources)
    told = re.findall(r"^    \[.*; docs/.*\]$", found.text.partition("\n5. ")[2], flags=re.MULTILINE)
    assert len(told) == len(found.habits) > 0


def test_numbers_of_the_page_are_those_of_the_tables() -> None:
    found = ps.advise(LOG, objective="optimal_value:beta=0.2", candidates=["nominal"], kl_per_step=1e-2)
    shift = found.least[found.least["change"] == "shift"].set_index("drop_equal")["setting"]
    assert f"baseline lower by more than {shift[False]:.3g} temperatures" in found.text
    assert f"{found.candidates['kl'][1]:.3g}" in found.text
    assert "the mean of the group as baseline: 0% are negative" in found.text


def test_a_run_that_does_not_get_there_says_so() -> None:
    found = ps.advise(LOG, objective="kimi:beta=1", candidates=["nominal"], kl_per_step=1e-9)
    assert "not in 1024" in found.text


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert plain_lines("a\x1b[31m\nb") == "a\\x1b[31m\nb"
