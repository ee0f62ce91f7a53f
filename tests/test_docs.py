"""README, CONTRIBUTING and docs/ name files, modules and targets of make that are there."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
MIGRATION = ROOT / "docs" / "migration.md"
FOLDERS = ("pessimism", "analysis", "figures", "llm", "tests", "docs", "examples", "benchmarks", ".ci", ".github")
TARGETS = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def quoted(text: str) -> list[str]:
    """What stands in backticks or in blocks of code; NAME in capitals stands for any name."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return blocks + re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", rest)


def missing(text: str, folder: Path) -> list[str]:
    """Paths, modules that `python -m` runs, and targets of make, that a page names and nobody finds."""
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    gone = [link for link in links if not (folder / link).exists()]
    for code in quoted(text):
        for word in re.findall(r"[\w./*-]+", code):
            if "NAME" in word:
                continue
            if "/" in word and word.split("/")[0] in FOLDERS:
                gone += [word] * (not any(ROOT.glob(word.rstrip("./"))))
            elif word.endswith((".py", ".md", ".toml", ".cff")):
                gone += [word] * (
                    not any(any((ROOT / at).rglob(word)) for at in FOLDERS) and not (ROOT / word).exists()
                )
        gone += [name for name in re.findall(r"python -m ([\w.]+)", code) if not find_spec(name)]
        gone += [name for name in re.findall(r"\bmake ([a-z][\w-]*)", code) if name not in TARGETS]
    return gone


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page == MIGRATION:  # the left column names what was there
        text = re.sub(r"^\| `.*?` \|", "|", text, flags=re.MULTILINE)
    assert missing(text, page.parent) == []


def test_what_is_gone_is_found() -> None:
    text = "[a](docs/gone.md) `pessimism/gone.py` `gone.py` `python -m llm.gone` and `make gone`; `figures/NAME.py`"
    assert missing(text, ROOT) == ["docs/gone.md", "pessimism/gone.py", "gone.py", "llm.gone", "gone"]


def table(title: str) -> list[tuple[str, list[str]]]:
    """Rows of the tables under a heading of the migration page: an old name and the new ones."""
    page = MIGRATION.read_text(encoding="utf-8")
    (part,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| `(.*?)` \| (.*) \|$", part, re.MULTILINE)
    return [(old, re.findall(r"`([^`]+)`", new)) for old, new in rows]


@pytest.mark.parametrize(("title", "package"), [("Modules", "pessimism"), ("Modules of the language models", "llm")])
def test_modules_have_moved_as_the_page_says(title: str, package: str) -> None:
    rows = table(title)
    assert len(rows) > 40
    paths = {path.relative_to(ROOT / package).with_suffix("") for path in (ROOT / package).rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    for old, new in rows:
        assert new
        for name in new:
            module, _, inside = name.rpartition(".")
            assert name in modules or hasattr(import_module(f"{package}.{module}"), inside), name
        assert old not in {str(path).replace("/", ".") for path in paths}, old


def test_the_imports_of_the_page_work() -> None:
    new = [line for _, names in table("Names that scripts use") for line in names if "..." not in line]
    assert len(new) == 5
    for line in new:
        exec(line, {})


def test_the_layout_lists_the_folders() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "pessimism").glob("*/__init__.py"))


def test_the_page_names_all_objectives_that_transform_the_reward() -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    section = page.partition("## Transformed rewards")[2].partition("`kimi` is the loss")[0]
    q, reward = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([[0.05, 0.1, 0.4, 0.3]])
    found = set()
    for name, cls in ps.objectives().items():
        objective = cls()
        advantage = objective.advantage(reward, q)
        if hasattr(objective, "own_advantage"):
            advantage = objective.own_advantage(np.zeros_like(reward), advantage, q)
        if np.ptp(advantage - reward) > 1e-9:
            found.add(name)
    assert set(re.findall(r"`(\w+)`", section)) == found


@pytest.mark.parametrize("name", ["std_normalized", "grpo", "kimi", "gpg", "opo", "max_rl"])
def test_a_group_of_one_has_no_advantage(name: str) -> None:
    np.testing.assert_array_equal(ps.objectives()[name]().advantage(np.array([[0.7]])), [[0.0]])


def test_numbers_of_the_page_on_tokens() -> None:
    page = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    shown = 0
    for line in block.splitlines():
        code, _, comment = line.partition("  # array")
        if comment:
            said = " ".join(repr(eval(code, scope)).replace(", dtype='<U9'", "").split())
            assert said == "array" + comment
            shown += 1
        else:
            exec(line, scope)
    assert shown == 2
    share, small = scope["target"].negative_share, scope["ps"].token_target(scope["tree"], "kimi", beta=0.2)  # type: ignore[attr-defined]
    assert share == 0.25
    assert small.status.tolist() == ["converged", "unstable", "converged"]
