"""Settings in files, scripts and lists of arguments."""

from __future__ import annotations

import builtins
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pessimism.trainers.sources import arguments, flat, read_source

NESTED = {"actor": {"clip": 0.2, "loss": {"mode": "gspo"}}, "n": 8}
FLAT = {"actor.clip": 0.2, "actor.loss.mode": "gspo", "n": 8}
FILES = {
    "c.json": json.dumps(NESTED),
    "c.toml": 'n = 8\n[actor]\nclip = 0.2\n[actor.loss]\nmode = "gspo"\n',
    "c.yaml": "n: 8\nactor:\n  clip: 0.2\n  loss: {mode: gspo}\n",
    "C.YML": "actor: {clip: 0.2, loss: {mode: gspo}}\nn: 8\n",
}
SCRIPT = """\
#!/bin/bash
# --beta 9
export N=8 ; LOW="0.1"
LOW="0.1"
BOTH=$LOW
python -m trainer.main \\
    --clip ${BOTH} 0.3 --use-kl \\
    --name=x \\
    actor.loss.mode=gspo +actor.n=$LOW ~actor.off $@ 2>&1 | tee log.txt
"""


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    if not name.endswith(("json", "toml")):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(FILES[name])
    found = read_source(tmp_path / name)
    assert found.settings == FLAT
    assert (found.place, found.suffix) == (str(tmp_path / name), Path(name).suffix.lower())


def test_a_script_is_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(SCRIPT)
    found = read_source(str(tmp_path / "run.sh"))
    assert found.settings == {
        "clip": ["0.1", "0.3"],
        "use_kl": True,
        "name": "x",
        "actor.loss.mode": "gspo",
        "actor.n": "0.1",
        "actor.off": None,
    }
    assert "trainer.main" in found.words


def test_variables_with_a_default_quoted_commands_and_lines_in_quotes(tmp_path: Path) -> None:
    script = """N=${N_SAMPLES:-8}
echo 'two
lines' "it's"
bash -c "x && python3 -m y \\
  --n $N --name ${NAME-none} --flag"
"""
    (tmp_path / "run.sh").write_text(script)
    assert read_source(tmp_path / "run.sh").settings == {"n": "8", "name": "none", "flag": True}
    (tmp_path / "odd.sh").write_text("cat <<EOF\na single ' here\nEOF\n")
    with pytest.raises(ValueError, match="does not read as a command"):
        read_source(tmp_path / "odd.sh")


def test_variables_that_would_fill_the_memory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(f"A={'x' * 90}\npython x.py --name {'$A' * 20_000}\n")
    assert read_source(tmp_path / "run.sh").settings["name"] == "$A" * 20_000


def test_arguments() -> None:
    found = arguments(["trl", "grpo", "--beta", "-0.1", "--flag", "--a-b=1", "--beta", "2", ")"], "arguments", Path())
    assert found.settings == {"beta": "2", "flag": True, "a_b": "1"}
    assert found.words == ("trl", "grpo")


def test_a_config_among_arguments_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"beta": 1, "epsilon": 0.3}')
    (tmp_path / "run.sh").write_text("trl grpo --config c.json --beta 2\n")
    assert read_source(tmp_path / "run.sh").settings == {"beta": "2", "epsilon": 0.3}


def test_a_config_that_names_itself(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("trl grpo --config run.sh\n")
    with pytest.raises(ValueError, match="must be YAML, JSON or TOML by its name, as what --config names$"):
        read_source(tmp_path / "run.sh")
    (tmp_path / "c.json").write_text('["--config", "c.json"]')
    with pytest.raises(ValueError, match="must hold settings by name"):
        read_source(tmp_path / "c.json")


def test_objects() -> None:
    @dataclass
    class Config:
        beta: float = 0.1

    assert read_source(Config())[:3] == ({"beta": 0.1}, ("Config",), "Config")
    assert read_source(NESTED).settings == flat(NESTED) == FLAT
    assert read_source(["a.b=1"]).settings == {"a.b": "1"}


@pytest.mark.parametrize("source", [3, None, [1], Path, {"a"}], ids=str)
def test_other_things_are_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="^settings must be a file, a list of arguments, a mapping or a dataclass"):
        read_source(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", b"{", "is not JSON: "),
        ("c.json", b"[" * 100_000, "is not JSON: "),
        ("c.json", b"3", "must hold settings by name, got 3"),
        ("c.json", b'{"a":' * 50 + b"1" + b"}" * 50, "nested deeper than 20 sections"),
        ("c.json", b'{"beta": 1, "beta": 2}', "is not JSON: the key 'beta' stands there twice"),
        ("c.toml", b"x", "is not TOML: "),
        ("c.yaml", b"a: [", "is not YAML: "),
        ("c.yaml", b"!!python/object/apply:os.system ['true']", "is not YAML: "),
        ("c.sh", b"--a 'b", "does not read as a command: No closing quotation"),
        ("c.sh", b"\xff\xfe", "is not text in UTF-8"),
        ("c.json", b" " * (2**20 + 1), ": has more than 1048576 bytes"),
    ],
)
def test_files_that_do_not_parse(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="^" + str(tmp_path)) as error:
        read_source(tmp_path / name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


BOMBS = {
    "sections": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 19)),
    "lists": "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 99)),
    "without end": "beta: &a [*a]\n",
    "on top": "- &a0 [1]\n" + "".join(f"- &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 99)),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_few_lines_that_stand_for_billions(text: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match="c.yaml:[0-9]+: more than 10000 values, aliases counted"):
        read_source(tmp_path / "c.yaml")
    with pytest.raises(ValueError, match="settings have more than 10000 values$"):
        read_source({"n": [0] * 10_001})


def test_a_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name, kind in (
        (".", "is a folder"),
        ("none.yaml", "no such file"),
        ("pipe.json", "is a pipe"),
        ("\0", "cannot be"),
    ):
        with pytest.raises(ValueError, match=kind):
            read_source(tmp_path / name)


def test_yaml_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "c.yaml").write_text("a: 1")
    with pytest.raises(ValueError, match=r"is YAML, which needs PyYAML \(pip install pyyaml\)"):
        read_source(tmp_path / "c.yaml")


def test_a_script_of_empty_lines_is_read_in_one_pass(tmp_path: Path) -> None:
    blank = "\n" * 400_000 + " " * 400_000  # hours where each is tried with all that follow
    (tmp_path / "run.sh").write_text(f"export N=8 \r\n{blank}\npython x.py --n $N\n")
    assert read_source(tmp_path / "run.sh").settings == {"n": "8"}


def test_merges_of_merges_are_refused_before_they_are_built(tmp_path: Path) -> None:
    """Of thirty lines each doubles the keys before it."""
    pytest.importorskip("yaml")
    merged = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))
    path = tmp_path / "c.yaml"
    path.write_text("a0: &a0 {x: 1}\n" + merged)
    with pytest.raises(ValueError, match=r"c.yaml:11: more than 10000 values, aliases counted as what they stand for$"):
        read_source(path)
