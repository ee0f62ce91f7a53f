"""What the settings of a trainer amount to, and the reader of single settings that the frameworks share."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pessimism.core.objective import Objective
from pessimism.literals import real
from pessimism.losses.registry import short_setting
from pessimism.messages import names, plain, show
from pessimism.rollouts.options import LogOptions

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NULL = ("none", "null", "~", "")
_ZERO = ("0", "0.0")  # what is off already is switched off once more
_TYPO = 0.9  # similarity from which an unknown key is taken for a misspelled one


@dataclass(frozen=True)
class TrainerSettings:
    """What the settings of a trainer amount to, for a target.

    Attributes
    ----------
    trainer : str
        Which trainer: one of "trl", "trl-rloo", "trl-a2po", "trl-gmpo", "trl-async", "verl", "prime-rl", "openrlhf".
    loss : str
        The trainer's own name of its loss, as in "dapo" or "vanilla".
    objective : Objective or None
        The objective that it trains with; None where none of this package is its loss.
    level : {"token", "sequence"}
        Whether a log-ratio is that of a token or of a whole completion.
    aggregation : str
        How the loss is averaged over tokens and completions, in words. It weighs completions, prompts and steps, but
        moves no target whose actions are whole completions.
    group_size : int or None
        Completions sampled for a prompt; None where the settings do not say.
    reuse : int or None
        Optimizer steps that one batch of completions serves; None where the settings do not say.
    lag : int or None
        Largest age of the policy that sampled, in optimizer steps: 0 where each step trains on the current policy's own
        completions.
    drop_equal : bool
        Whether groups whose rewards are all equal are dropped, and others sampled in their place.
    singleton : {"zero", "reward"} or None
        Advantage of the only completion of its group: 0, or its reward. None where the trainer forms no such group.
    not_modelled : tuple of str
        A sentence for each setting that matters and is not in the objective.

    Examples
    --------
    >>> import pessimism as ps
    >>> found = ps.from_config({"loss_type": "grpo", "beta": 0.04, "num_generations": 16})
    >>> found.spec, found.group_size, found.lag
    ('grpo:eps=0.0001,unbiased_kl=True', 16, 0)
    """

    trainer: str
    loss: str
    objective: Objective | None
    level: Literal["token", "sequence"]
    aggregation: str
    group_size: int | None
    reuse: int | None
    lag: int | None
    drop_equal: bool
    singleton: Literal["zero", "reward"] | None
    not_modelled: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        """The objective as `make_objective` and the command line read it, "name:key=value"; empty if there is none."""
        return "" if self.objective is None else short_setting(self.objective, None)

    def of_log(self, options: LogOptions) -> LogOptions:
        """Return options of a log in which what they leave open of groups is as this trainer does it."""
        return replace(
            options,
            drop_equal=options.drop_equal or self.drop_equal,
            singleton=self.singleton if options.singleton is None else options.singleton,
        )

    def __str__(self) -> str:
        """Return what was read in one line."""
        lag = "an unknown lag" if self.lag is None else f"lag {self.lag}"
        facts = (
            f"{self.trainer}, loss {plain(self.loss)}: {self.spec or 'no objective of this package'}",
            f"{self.level} level",
            f"group size {'unknown' if self.group_size is None else self.group_size}",
            f"{lag} in optimizer steps",
            f"equal groups {'dropped' if self.drop_equal else 'kept'}",
            *([f"a group of one has A = {'0' if self.singleton == 'zero' else 'r'}"] if self.singleton else []),
            self.aggregation,
        )
        return "; ".join(facts)


class Settings:
    """Settings as somebody wrote them, read one by one with the trainer's defaults for the others.

    Parameters
    ----------
    given : mapping of str to object
        The settings by name, nested ones with dots; values may be text.
    defaults : mapping of str to object
        Every setting that concerns the loss, with the trainer's default.
    place : str
        What an error message begins with.
    harmless : iterable of str, optional
        Settings that are spelled almost like one of those and have nothing to do with it.
    """

    def __init__(
        self, given: Mapping[str, Any], defaults: Mapping[str, Any], place: str, harmless: Iterable[str] = ()
    ) -> None:
        self._given, self._defaults, self._place = given, defaults, place
        self._read: set[str] = set()
        self._notes: list[str] = []
        self._check_spelling(set(harmless))

    def note(self, sentence: str) -> None:
        """Say what is not modelled."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    def error(self, key: str, rule: str) -> ValueError:
        """Return the error for a setting that breaks a rule, such as "must be positive"."""
        return ValueError(f"{self._place}: {key} {rule}, got {show(self.raw(key))}")

    def raw(self, key: str) -> Any:
        """Value of a setting, the default if it is not given; text that says nothing, such as "null", is None."""
        self._read.add(key)
        value = self._given.get(key, self._defaults[key])
        for _ in range(9):  # an interpolation may name another one
            found = re.fullmatch(r"\$\{(?:oc\.select:)?([\w.]+)(?:,.*)?\}", value) if isinstance(value, str) else None
            if found is None or found[1] not in self._given.keys() | self._defaults.keys():
                break
            value = self._given.get(found[1], self._defaults.get(found[1]))
        if isinstance(value, str) and "$" in value:
            raise ValueError(f"{self._place}: {key} refers to what is not here, write its value, got {show(value)}")
        return None if isinstance(value, str) and value.strip().lower() in _NULL else value

    def given(self, key: str) -> bool:
        """Whether a setting is given, and not as nothing."""
        return key in self._given and self.raw(key) is not None

    def number(self, key: str) -> float:
        """Read a setting that is a number."""
        value = self.maybe_number(key)
        if value is None:
            raise self.error(key, "must be a number")
        return value

    def maybe_number(self, key: str) -> float | None:
        """Read a setting that is a number or nothing."""
        value = self.raw(key)
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, bool) else real(value) if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise self.error(key, "must be a number")
        return number

    def integer(self, key: str, least: int) -> int:
        """Read a setting that is a whole number."""
        value = self.maybe_number(key)
        if value is None or not math.isfinite(value) or value != int(value) or value < least:
            raise self.error(key, f"must be an integer >= {least}")
        return int(value)

    def flag(self, key: str) -> bool:
        """Read a setting that is true or false; nothing counts as false."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        text = str(value).strip().lower()
        if text not in _TRUE + _FALSE:
            raise self.error(key, "must be true or false")
        return text in _TRUE

    def choice(self, key: str, known: Iterable[str]) -> str:
        """Read a setting that is one of several words."""
        value, known = self.raw(key), tuple(known)
        if not isinstance(value, str) or value not in known:
            raise self.error(key, f"must be one of {', '.join(known)}")
        return value

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """Read a setting that is a list of numbers, or nothing."""
        value = self.raw(key)
        if value is None:
            return None
        parts = value.strip("[]() ").replace(",", " ").split() if isinstance(value, str) else value
        try:
            every = parts if isinstance(parts, list | tuple) else [parts]
            return tuple(real(part) if isinstance(part, str) else float(part) for part in every)
        except (TypeError, ValueError, OverflowError):
            raise self.error(key, "must be numbers") from None

    def differs(self, key: str) -> bool:
        """Whether a setting is not the default, nor another way to write it."""
        value, usual = self.raw(key), self._defaults[key]
        if isinstance(usual, bool) or (usual is None and isinstance(value, bool)):
            return self.flag(key) != bool(usual)
        if isinstance(usual, list | tuple):
            return self.numbers(key) != tuple(map(float, usual))
        if isinstance(usual, int | float):
            return value is not None and self.maybe_number(key) != float(usual)
        return bool(value != usual)

    def note_where_it_differs(self, sentences: Mapping[str, str]) -> None:
        """Say of each setting that is not the default what is not modelled: "KEY = VALUE: sentence"."""
        for key, sentence in sentences.items():
            if self.differs(key):
                self.note(f"{key} = {_value(self.raw(key))}: {sentence}")

    def note_cuts(self, *keys: str) -> None:
        """Say which settings of the sampling cut its distribution: top_p, top_k, min_p, repetition_penalty."""
        for key in keys:
            value, kind = self.maybe_number(key), key.rpartition(".")[2]
            if value is not None and {"top_p": value < 1, "repetition_penalty": value != 1}.get(kind, value > 0):
                self.note(
                    f"{key} = {value:g}: it cuts what is sampled, so that the behavior is not the policy whose "
                    "log-probabilities are compared."
                )

    def finish(self, found: TrainerSettings) -> TrainerSettings:
        """Return the result with all that is not modelled, settings that this loss does not read among them."""
        for key in self._defaults:
            if key not in self._given or key in self._read or str(self._given[key]) in _ZERO:
                continue
            if self.differs(key):
                self.note(f"{key} = {_value(self.raw(key))}: the trainer does not read it with loss {found.loss}.")
        return replace(found, not_modelled=tuple(self._notes))

    def _check_spelling(self, harmless: set[str]) -> None:
        for key in self._given:
            if key in self._defaults or key in harmless:
                continue
            if ends := [known for known in self._defaults if known.endswith(f".{key}")]:  # the end of a name alone
                raise ValueError(f"{self._place}: unknown setting {show(key)}; did you mean {ends[0]!r}?")
            parent, _, name = key.rpartition(".")
            beside = [k.rpartition(".")[2] for k in self._defaults if k.rpartition(".")[0] == parent]
            if near := difflib.get_close_matches(name, beside, n=1, cutoff=_TYPO):
                raise ValueError(f"{self._place}: unknown setting {show(key)}; did you mean {near[0]!r}?")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return names(value) if isinstance(value, list | tuple) else plain(str(value))[:40]


def no_objective(settings: Settings, why: str) -> None:
    """Say that no objective of the package stands for the loss; returns None, the objective."""
    settings.note(f"{why}, which no objective of this package is: name the one to compute with.")
