"""Every layout: its records are known as its own, and records damaged in any way are read or refused in one line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pessimism.rollouts.layouts.base import Where
from pessimism.rollouts.layouts.table import LAYOUTS, recognize
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.layouts import (
    test_areal,
    test_atropos,
    test_nemo_rl,
    test_nested,
    test_open_instruct,
    test_prime_rl,
    test_roll,
    test_skyrl,
    test_slime,
    test_swift,
    test_tinker,
    test_verifiers,
)
from tests.pessimism.rollouts.layouts.written import lines

SLIME = [{name: value for name, value in one.items() if "top_p" not in name} for one in test_slime.samples()]
RECORDS: dict[str, list[Any]] = {
    "ms-swift": [test_swift.table(1), test_swift.table(2)],
    "NeMo-RL": test_nemo_rl.records(),
    "open-instruct": test_open_instruct.records(),
    "prime-rl traces": test_prime_rl.episodes(),
    "prime-rl token exports": test_prime_rl.exports(3, rewards=True),
    "prime-rl token exports, whose rewards are the logged advantages": test_prime_rl.exports(3),
    "AReaL": test_areal.records(1, 3),
    "slime": SLIME,
    "SkyRL": test_skyrl.records(),
    "tinker-cookbook": test_tinker.records(),
    "verifiers": test_verifiers.records(),
    "ROLL": [test_roll.record(1), test_roll.record(2)],
    "Atropos": test_atropos.records(),
    "a prompt with its responses": test_nested.records(),
}
ODD: list[Any] = [
    None,
    True,
    -1,
    2.5,
    "",
    "x",
    [],
    [None],
    [[1]],
    {},
    {"role": "user"},
    [{}],
    10**400,
    "\ud800",
    [1, "x"],
]


def test_every_layout_is_known_by_its_records_alone() -> None:
    assert [layout.name for layout in LAYOUTS] == list(RECORDS)
    for name, records in RECORDS.items():
        found = [recognize(record, Where(Path("x"))) for record in records]
        assert {layout.name for layout in found if layout is not None} == {name}


def test_the_page_on_logs_has_every_layout_and_its_writer() -> None:
    page = (Path(__file__).parents[4] / "docs" / "rollout_logs.md").read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ]
    rows = {row[0]: row for row in cells if len(row) == 8}
    for layout in LAYOUTS:
        assert rows[layout.name][-1] == layout.writer
        assert all(f"`{name}`" in rows[layout.name][6] for name in layout.log_probs or () if name is not None)


def damaged(value: Any, draw: random.Random) -> Any:
    """Put something odd in the place of some value, drop a key, or add or lose an entry of a list."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        if draw.random() < 0.2:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: damaged(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.6:
        at = draw.randrange(len(value))
        if draw.random() < 0.3:
            return value[:at] + value[at + 1 :] if draw.random() < 0.5 else [*value, value[at]]
        return [*value[:at], damaged(value[at], draw), *value[at + 1 :]]
    return draw.choice(ODD)


def outcome(path: Path, **options: Any) -> str | None:
    """The error of reading, None where there is none and some row was read."""
    try:
        assert len(read_rollouts(path, **options))
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", RECORDS)
def test_damaged_records(name: str, tmp_path: Path) -> None:
    records, ends = RECORDS[name], set()
    for seed in range(60):
        draw = random.Random(seed)
        at = draw.randrange(len(records))
        path = lines(tmp_path / "log.jsonl", [*records[:at], damaged(records[at], draw), *records[at + 1 :]])
        for options in ({}, {"skip_bad": True}):
            said = outcome(path, **options)
            assert said is None or (str(path) in said and "\n" not in said and len(said) < 1000), (seed, said)
            ends.add("read" if said is None else "refused")
    assert ends == {"read", "refused"}
