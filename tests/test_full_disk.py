"""Every command that writes, on a disk that takes no more: the files before stay, nothing is left, a line names one."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import __main__ as analysis
from analysis import studies, verification
from analysis.command import exit_code
from analysis.imports import modules
from figures import __main__ as figures
from llm.commands.run import write
from llm.validation import report
from pessimism.cli.main import main as pessimism
from tests.pessimism.test_files import files_of_at_most

ROOT = Path(__file__).parents[1]
LOG = str(ROOT / "examples" / "verl_rollouts")


def _page(path: Path) -> int:
    report._between(path, "<!-- findings -->", "x" * 5000)
    return 0


def _csv(path: Path) -> int:
    write(pd.DataFrame({"x": range(1000)}), str(path))
    return 0


COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[Path], int]]] = {
    "diagnose": (
        ("diagnose_kimi.csv", "diagnose_kimi.json"),
        lambda out: pessimism(["diagnose", LOG, "--out", str(out)]),
    ),
    "analysis": (
        ("a.csv",),
        lambda out: analysis.main(["run", "targets", "--csv", str(out / "a.csv"), "--cache", "/dev/null"]),
    ),
    "figures": (
        tuple(f"targets.{suffix}" for suffix in ("pdf", "svg", "png", "csv", "json")),
        lambda out: figures.main(["targets", "--out", str(out), "--cache", "/dev/null"]),
    ),
    "llm": (("t.csv",), lambda out: exit_code(lambda: _csv(out / "t.csv"))),
    "report": (("page.md",), lambda out: exit_code(lambda: _page(out / "page.md"))),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_leaves_what_was_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, command = COMMANDS[name]
    old = "old" if name != "report" else "<!-- findings -->old<!-- end -->"
    for there in (files, files[:1]) if name == "report" else ((), files):
        for file in there:
            (tmp_path / file).write_text(old)
        with files_of_at_most(200):
            assert command(tmp_path) == 2
        lines = [
            line for line in capsys.readouterr().err.splitlines() if not line.startswith(("not kept", "/dev/null"))
        ]
        assert len(lines) == 1
        named = "|".join(re.escape(str(tmp_path / file)) for file in files)
        assert re.fullmatch(rf"(error|pessimism): ({named}) cannot be written \(File too large\)", lines[0])
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(there, old)
    assert command(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*files}


def test_the_pages_of_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that `make verify` and `make findings` write."""
    for of, name in ((verification, "PAGE"), (verification, "DATA"), (studies, "PAGE")):
        page = tmp_path / getattr(of, name).name
        page.write_text(getattr(of, name).read_text())
        monkeypatch.setattr(of, name, page)
    monkeypatch.setattr(studies, "findings", lambda _: "x" * 300)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(200):
        with pytest.raises(OSError, match=r"verified.json cannot be written \(File too large\)"):
            verification.write_index({"kimi": {"why": "x" * 300}})
        assert analysis.main(["findings"]) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# What writes a file by itself, or reads one that may hold code, and where that is right.
WRITERS = {
    "write_text",
    "write_bytes",
    "to_csv",
    "to_parquet",
    "to_json",
    "savefig",
    "save_pretrained",
    "copy",
    "copyfile",
}
CODE = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "Memory"}
STAGED = {  # into a folder that is renamed, or thrown away, as a whole
    "llm.models.tiny": {"save_pretrained", "write_text"},
    "llm.generation.vllm": {"save_pretrained"},
    "analysis.entries": {"to_parquet"},  # to memory, as the next
    "figures.save": {"savefig"},
}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Calls of methods in a tree but those on what `pessimism.files` hands out, which is called `part`."""
    found = [
        (node.func.attr, node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return [
        (name, call)
        for name, call in found
        if not any(isinstance(n, ast.Name) and n.id == "part" for n in (call.func.value, *call.args))
    ]


@pytest.mark.parametrize("package", ["pessimism", "analysis", "figures", "llm"])
def test_nothing_is_written_by_the_way(package: str) -> None:
    """Files go through `pessimism.files`; copies are made of pandas and numpy objects alone, without arguments."""
    found = []
    for name, path in modules(ROOT, package).items():
        for method, call in calls(ast.parse(path.read_text())):
            bad = method in WRITERS - STAGED.get(name, set()) and (method != "copy" or len(call.args) > 1)
            opened = method == "open" and any(
                isinstance(a, ast.Constant) and isinstance(a.value, str) and {*a.value} & {*"wax+"} for a in call.args
            )
            # Standard input is copied to a temporary file of its own, which goes whatever happens.
            if bad or (opened and name not in ("pessimism.files", "pessimism.cli.standard_input")):
                found.append(f"{name}:{call.lineno} {method}")
    assert found == []


@pytest.mark.parametrize("package", ["pessimism", "analysis", "figures", "llm"])
def test_nothing_that_is_read_is_run(package: str) -> None:
    found = []
    for name, path in modules(ROOT, package).items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {one.name.partition(".")[0] for one in node.names} | {getattr(node, "module", None)}
                found += [f"{name}:{node.lineno} {one}" for one in sorted(names & CODE, key=str)]
        for _, call in calls(tree):
            options = {one.arg: ast.unparse(one.value) for one in call.keywords}
            of = ast.unparse(call.func)
            if of == "torch.load" and options.get("weights_only") != "True":
                found.append(f"{name}:{call.lineno} {of}")
            if of in ("np.load", "np.save") and options.get("allow_pickle") != "False":
                found.append(f"{name}:{call.lineno} {of}")
            if of in ("pd.read_pickle", "joblib.load", "yaml.load") or options.get("allow_pickle") == "True":
                found.append(f"{name}:{call.lineno} {of}")
    assert found == []
