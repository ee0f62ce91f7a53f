"""Models by hub id, folder or as small ones made here; what cannot be loaded is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.models.load import hub_reachable, model_path, readable, tiny_settings
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
