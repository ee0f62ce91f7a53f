"""Run parts of the validation: for each a tidy frame, its figure and its settings, kept piece by piece."""

from __future__ import annotations

import inspect
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.work import CACHE, kept_in
from figures.save import FORMATS, check, save, versions
from figures.sheet import OTHERS, sheet
from figures.style import context

# Each is a module of this package with a function of its name, `headline`, `finding`, `SMOKE` and, where the whole grid
# is more than the defaults, `FULL`; its figure is figures/validate_NAME.py.
PARTS = tuple(name.removeprefix("validate_") for name in OTHERS)
SCALES = ("smoke", "default", "full")
_DISTRIBUTIONS = ("torch", "transformers", "trl", "accelerate", "datasets")


@dataclass
class ValidateConfig:
    """Settings of `python -m llm validate`."""

    parts: list[str] = field(
        default_factory=lambda: list(PARTS), metadata={"help": f"Parts to run, of {', '.join(PARTS)}."}
    )
    smoke: bool = field(default=False, metadata={"help": "Run quickly, on a smaller model."})
    full: bool = field(
        default=False, metadata={"help": "Run the whole grid, which takes hours; learning rates are tuned anew."}
    )
    out: str = field(default="results", metadata={"help": "Folder to write the frames and figures to."})
    cache: str = field(default=str(CACHE), metadata={"help": "Folder where finished work is kept."})
    formats: str = field(default=",".join(FORMATS), metadata={"help": "Formats of the figures, separated by commas."})
    jobs: int = field(default=2, metadata={"help": "Number of processes."})

    def __post_init__(self) -> None:
        for part in self.parts:
            _known(part)
        check(self.formats.split(","))
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")
        if self.smoke and self.full:
            raise ValueError("smoke and full exclude each other")

    @property
    def scale(self) -> str:
        """Name of the scale, one of `SCALES`."""
        return "smoke" if self.smoke else "full" if self.full else "default"


def _known(part: str) -> str:
    if part not in PARTS:
        raise ValueError(f"parts: unknown part {part!r}; known: {', '.join(PARTS)}")
    return part


def _module(part: str) -> Any:
    return import_module(f"llm.validation.parts.{_known(part)}")


def parameters(part: str, scale: str = "default") -> dict[str, Any]:
    """List all parameters of a part at a scale.

    Parameters
    ----------
    part : str
        One of `PARTS`.
    scale : str, default "default"
        One of `SCALES`.

    Returns
    -------
    dict
        Values of the parameters by name.

    Raises
    ------
    ValueError
        If there is no such part or scale.

    Examples
    --------
    >>> parameters("population")["betas"]
    (0.1, 0.5)
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    module = _module(part)
    given = {"smoke": module.SMOKE, "default": {}, "full": getattr(module, "FULL", {})}[scale]
    bound = inspect.signature(getattr(module, part)).bind(**given)
    bound.apply_defaults()
    return bound.arguments


def hardware() -> dict[str, Any]:
    """Name the processor, the number of its cores and the GPU, if there is one.

    Returns
    -------
    dict
        Keys ``cpu``, ``cores`` and ``gpu``.

    Examples
    --------
    >>> sorted(hardware())
    ['cores', 'cpu', 'gpu']
    """
    listed, name = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if listed.is_file():
        models = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name, "cores": os.cpu_count(), "gpu": gpu}


def run(
    part: str,
    scale: str = "default",
    out: Path = Path("results"),
    cache: Path | None = CACHE,
    formats: Sequence[str] = FORMATS,
    jobs: int = 2,
) -> list[Path]:
    """Run one part and write its figure, frame and parameters; what was finished before is read from the cache.

    Parameters
    ----------
    part : str
        One of `PARTS`.
    scale : str, default "default"
        One of `SCALES`.
    out : Path, optional
        Folder of the files.
    cache : Path, optional
        Folder where finished work is kept; None keeps nothing.
    formats : sequence of str, optional
        Formats of the figure.
    jobs : int, default 2
        Number of processes.

    Returns
    -------
    list of Path
        The files written: pictures, csv, json.

    Raises
    ------
    ValueError
        As `parameters`, `figures.save.check` and the part itself.
    """
    check(formats)
    given, module, name = parameters(part, scale), _module(part), f"validate_{part}"
    if not sys.stderr.isatty():  # which shows bars
        print(f"{part}, {scale} scale", file=sys.stderr, flush=True)
    with kept_in(cache, jobs):
        frame: pd.DataFrame = getattr(module, part)(**given)
    about = {
        "scale": scale,
        "finding": module.finding(frame),
        "versions": versions() | {name: version(name) for name in _DISTRIBUTIONS},
        "hardware": hardware(),
    }
    with context():
        figure = sheet(name).draw(frame, module.headline(frame))
        return save(figure, frame, given, out / name, formats, about)


def validate(config: ValidateConfig) -> list[Path]:
    """Run all parts of a configuration, one after the other; the files written."""
    cache, formats = Path(config.cache), config.formats.split(",")
    return [
        path for part in config.parts for path in run(part, config.scale, Path(config.out), cache, formats, config.jobs)
    ]
