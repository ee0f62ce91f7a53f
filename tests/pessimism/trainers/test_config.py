"""Whose settings they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective, parse_spec
from pessimism.trainers import clip, openrlhf, prime_rl, trl, verl
from pessimism.trainers.config import READERS, from_config

SOURCES: list[tuple[Any, str]] = [
    ({"loss_type": "grpo"}, "trl"),
    ({"num_generations": 4, "learning_rate": 1e-6}, "trl"),
    (["trl", "grpo", "--beta", "0.1"], "trl"),
    (["python", "examples/train_rloo.py", "--beta", "0.1"], "trl-rloo"),
    ({"normalize_advantages": True}, "trl-rloo"),
    ({"beta2": 0.1}, "trl-a2po"),
    (["gmpo.py", "--epsilon", "0.3"], "trl-gmpo"),
    ({"max_staleness": 3}, "trl-async"),
    (["python", "-m", "verl.trainer.main_ppo", "algorithm.adv_estimator=grpo"], "verl"),
    ({"actor_rollout_ref": {"actor": {"clip_ratio_high": 0.28}}, "trainer": {"nnodes": 1}}, "verl"),
    ({"trainer": {"loss": {"kl_tau": 0.01}}}, "prime-rl"),
    ({"loss": {"type": "ipo"}}, "prime-rl"),
    ({"orchestrator": {"group_size": 4}}, "prime-rl"),
    (["--trainer.loss.kl-tau", "0.1"], "prime-rl"),
    (["--algo.advantage.estimator", "gae"], "openrlhf"),
    (["--advantage_estimator", "gae", "--train_batch_size", "128"], "openrlhf"),
]


@pytest.mark.parametrize(("source", "trainer"), SOURCES, ids=str)
def test_the_trainer_is_recognized(source: Any, trainer: str) -> None:
    assert ps.from_config(source).trainer == trainer


@pytest.mark.parametrize("trainer", READERS)
def test_nothing_given_is_every_default(trainer: str) -> None:
    found = from_config({}, trainer=trainer)
    assert found.trainer == trainer
    assert make_objective(found.spec) == found.objective


def test_a_toml_file_is_of_prime_rl(tmp_path: Path) -> None:
    (tmp_path / "rl.toml").write_text("max_steps = 20\n")
    assert from_config(tmp_path / "rl.toml").trainer == "prime-rl"


def test_what_is_not_recognized() -> None:
    with pytest.raises(ValueError, match="is of no trainer"):
        from_config(["main_generation.py", "rollout.top_p=0.7"])  # of verl, without a loss
    with pytest.raises(ValueError, match=r"^settings is of no trainer that is known here, or sets nothing .*openrlhf$"):
        from_config({"learning_rate": 1e-6})
    with pytest.raises(ValueError, match="^trainer must be one of trl, .*, got 'areal'$"):
        from_config({}, trainer="areal")


def test_settings_that_name_an_objective_are_not_read_as_another() -> None:
    with pytest.raises(ValueError, match="^settings names its objective itself, 'kimi', whatever"):
        from_config({"objective": "kimi", "loss_type": "dapo"})


PAGE = Path(__file__).parents[3] / "docs" / "trainers.md"
COLUMNS: dict[str, dict[str, Any]] = {
    "trl": trl.GRPO_DEFAULTS,
    "verl": verl.DEFAULTS,
    "prime-rl": prime_rl.DEFAULTS,
    "openrlhf": openrlhf.DEFAULTS,
}
CLASSES = {"RLOOConfig": "trl-rloo", "GMPOConfig": "trl-gmpo", "A2POConfig": "trl-a2po"}


def cells() -> list[tuple[str, str, str, str]]:
    """Objective, trainer, settings, and where these differ from the objective, of each cell of the page's map."""
    page = PAGE.read_text(encoding="utf-8").partition("| objective |")[2].partition("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines()[2:]]
    filled = [(row[0], trainer, cell) for row in rows for trainer, cell in zip(COLUMNS, row[1:], strict=True) if cell]
    parts = [(spec, trainer, cell.partition("`: `")) for spec, trainer, cell in filled]
    return [(spec, trainer, settings, other) for spec, trainer, (settings, _, other) in parts]


def whole(name: str, trainer: str) -> str:
    """Full name of a setting of which the page has the end."""
    (found,) = (key for key in COLUMNS[trainer] if f".{key}".endswith(f".{name}"))
    return found


@pytest.mark.parametrize(("spec", "trainer", "cell", "other"), cells(), ids=str)
def test_every_cell_of_the_page(spec: str, trainer: str, cell: str, other: str) -> None:
    """The whole setting of the objective: that of the row, but for what the cell says, and that differs."""
    if cell in CLASSES:
        found = from_config({}, trainer=CLASSES[cell])
    else:
        settings = (setting.partition("=") for setting in cell.split())
        found = from_config({whole(name, trainer): value for name, _, value in settings}, trainer=trainer)
    row, differs = make_objective(spec), parse_spec(f"{spec.partition(':')[0]}:{other}")[1] if other else {}
    assert found.objective is not None
    assert type(found.objective) is type(row)
    assert dict(found.objective.settings) == {**row.settings, **differs}
    assert all(row.settings[key] != value for key, value in differs.items())


def test_the_page_has_every_objective_that_is_read() -> None:
    used = [value for module in (trl, verl, prime_rl, openrlhf, clip) for value in vars(module).values()]
    made = {cls.name for cls in ps.objectives().values() if any(value is cls for value in used)}
    assert {parse_spec(spec)[0] for spec, *_ in cells()} == made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": -1}, "settings: dapo: eps_low must be > 0, got -1.0"),
        ({"loss_type": "grpo", "beta": "inf"}, "settings: grpo: beta must be a finite number, got inf"),
    ],
)
def test_what_an_objective_refuses_is_said_with_its_place(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^settings: ") as error:
        from_config(settings)
    assert str(error.value) == message
