"""Models by hub id, folder or as small ones made here; what cannot be loaded is named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from llm.__main__ import main
from llm.models.load import (
    dtype_of,
    hub_reachable,
    load_model,
    load_tokenizer,
    model_path,
    readable,
    tiny_settings,
)
from llm.sealed import MANIFEST
from tests.llm.conftest import SETTINGS


def test_a_hub_that_is_not_reached(tmp_path: Path) -> None:
    error = type("ConnectError", (Exception,), {"__module__": "httpx.made_here"})
    said = r"^the Hugging Face hub cannot be reached, for push_to_hub \(no route\)$"
    with pytest.raises(OSError, match=said), hub_reachable():
        raise error("no\nroute")
    with pytest.raises(OSError, match="^model org/name: cannot connect$"), readable("org/name"):
        raise OSError("cannot\nconnect")
    with pytest.raises(KeyError), hub_reachable():
        raise KeyError
    for kept in (FileNotFoundError(2, "gone"), OSError(f"{tmp_path} is no model")):
        with pytest.raises(OSError, match="gone|is no model") as found, readable(tmp_path):
            raise kept
        assert found.value is kept


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model \S+: this folder holds no config.json$"):
        model_path(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="model results/runs/none: no such folder$"):
        model_path("results/runs/none")
    (tmp_path / "adapter_config.json").touch()
    assert model_path(str(tmp_path)) == str(tmp_path)


def test_sources_of_models(tmp_path: Path) -> None:
    assert model_path("org/name", tmp_path) == "org/name"
    said = (
        "digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=200,batch=64,learning_rate=3e-3"
    )
    assert tiny_settings(f"tiny:{said}") == SETTINGS
    assert tiny_settings("tiny:steps=True,tied=False,noise=1") == tiny_settings("tiny:steps=true,tied=false,noise=1.0")
    assert tiny_settings("tiny:tied=False").tied is False
    assert tiny_settings("tiny:noise=1").name == tiny_settings("tiny:noise=1.0").name


BROUGHT = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
(Path(__file__).parent / "ran").touch()
Path("{ran}").touch()
class C(LlamaConfig): model_type = "brought"
class M(LlamaForCausalLM): config_class = C
class T(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def with_code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model whose folder brings code, and the file that this code makes when it runs."""
    model, ran = shutil.copytree(folder, tmp_path / "with_code"), tmp_path / "ran"
    (model / MANIFEST).unlink()
    (model / "brought.py").write_text(BROUGHT.format(ran=ran))
    maps = {"AutoConfig": "brought.C", "AutoModelForCausalLM": "brought.M"}
    for name, more in (
        ("config.json", {"model_type": "brought", "auto_map": maps}),
        ("tokenizer_config.json", {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": [None, "brought.T"]}}),
    ):
        said = json.loads((model / name).read_text()) | more
        (model / name).write_text(json.dumps(said))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # nobody is asked, who might say yes
    return model, ran


def test_code_that_a_model_brings_runs_only_if_asked_for(
    with_code: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, ran = with_code
    two = ["--policy", str(model), "--behavior", str(model), "--objective", "kimi", "--data", "addition:digits=1"]
    for command in (
        ["train", "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run"), "--use_cpu"],
        ["evaluate", "--model", str(model), "--data", "addition:digits=1"],
        ["measure", *two],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "trust_remote_code=True" in said
        assert said.count("\n") == 1
    for load in (load_model, load_tokenizer, dtype_of):
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            load(model)
    assert not ran.exists()
    assert type(load_model(model, trust_remote_code=True)).__name__ == "M"
    assert ran.exists()
    ran.unlink()
    assert type(load_tokenizer(model, trust_remote_code=True)).__name__ == "T"
    quick = ["--limit", "1", "--samples", "1", "--max_completion_length", "1", "--data", "addition:digits=1"]
    assert main(["evaluate", "--model", str(model), "--trust_remote_code", "true", *quick]) == 0


def test_a_model_that_was_damaged_is_refused(folder: Path, tmp_path: Path) -> None:
    """Weights of the right length that are not those that were written load without a word."""
    model = shutil.copytree(folder, tmp_path / "model")
    load_model(model)
    path = model / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-64] + bytes(b ^ 1 for b in good[-64:]))
    with pytest.raises(
        ValueError, match=rf"^model {model} is not whole: model.safetensors is not as it was written \("
    ):
        load_model(model)
    (model / MANIFEST).unlink()
    load_model(model)
