"""What an objective is: an advantage and a score weight, with the loss that papers publish and its facts.

Gradient ascent with a published loss moves along E_q[g(u, A) grad log pi]: u the log-ratio of the sequence, A the
advantage, g the score weight. The induced target is the fixed point q g(u, A) = lam pi (arXiv 2605.28150;
docs/theory.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from pessimism import baselines
from pessimism.arrays import Array, to_numpy, to_numpy_float
from pessimism.core.bandit import Bandit
from pessimism.core.solution import Solution, Status
from pessimism.core.validation import LARGEST
from pessimism.equality import same


@runtime_checkable
class ObjectiveLike(Protocol):
    """Protocol of the three methods that any object needs to have an induced target.

    All act on a group, the last axis; ``weights`` are the probabilities of its members, None for a sampled group.
    """

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages of the rewards of a group.

        Parameters
        ----------
        reward : Array, shape (..., K)
            Rewards.
        weights : Array, shape (..., K), optional
            Probabilities of the members of the group, None for a sampled group.

        Returns
        -------
        Array, shape (..., K)
            Advantages.
        """

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Weight g in front of grad log pi, by which gradient ascent moves.

        Parameters
        ----------
        log_ratio : Array, shape (..., K)
            Log-ratios log(policy / reference) of whole completions.
        advantage : Array, shape (..., K)
            Advantages.
        weights : Array, shape (..., K), optional
            Probabilities of the members of the group, None for a sampled group.

        Returns
        -------
        Array, shape (..., K)
            Score weights.
        """

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss of each sample, to be averaged under the group's weights; its derivative in the log-ratio is -g.

        Parameters
        ----------
        log_ratio : Array, shape (..., K)
            Log-ratios log(policy / reference) of whole completions.
        advantage : Array, shape (..., K)
            Advantages.
        weights : Array, shape (..., K), optional
            Probabilities of the members of the group, None for a sampled group.

        Returns
        -------
        Array, shape (..., K)
            Losses.
        """


@dataclass(frozen=True)
class Objective:
    """Base of the published objectives: a frozen dataclass of hyper-parameters with the three methods.

    Subclasses set the facts below and override ``baseline_parts`` (or ``advantage``), ``score_weight``, ``loss`` and,
    where there is one, ``closed_form``.

    Attributes
    ----------
    name, title : str
        Name in the registry, and name of the method in its paper.
    short : str
        What figures and tables call it, without commas; empty where that is the title.
    paper : str
        arXiv id.
    formula : str
        Loss that is minimized; u is the log-ratio of the sequence.
    induces : str
        Induced target, in one line.
    reference_policy : {"behavior", "initial", "proximal", "none"}
        Policy that the paper takes for the reference of the log-ratio; "proximal" is the trainer's own at the time of
        the data, where another one sampled them.
    level : {"sequence", "token"}
        Whether the paper's ratio is that of a sequence or of a token.
    temperature_field : str or None
        Field that holds the temperature.
    coupled : bool
        Whether the weight of one action depends on the log-ratios of the others.
    takes_reference : bool
        Whether a reference policy other than the behavior is defined.
    kinks_at_reference : bool
        Whether the jumps of the weight are at log(policy / reference), not at log(policy / behavior).
    takes_share : bool
        Whether weight and loss take ``log_share``, log(reference / behavior), None where the two are the same.
    subtracts : str
        Baseline, in a formula.
    needs_tokens : bool
        Whether its loss of a completion of several tokens is no function of the log-ratio of the whole, nor a mean of
        functions of those of its tokens.
    mixes_data : bool
        Whether samples of the current policy stand beside those of the behavior.
    takes_propensity : bool
        Whether ``weights`` are always the probabilities of the behavior, never None.
    prices_propensity : bool
        Whether the advantage of an action depends on its own probability under the behavior.
    baseline_under_reference : bool
        Whether the baseline is taken under the reference, not the behavior.
    sweeps : tuple of str
        Hyper-parameters that may be arrays ``(...)`` over the batch of :func:`pessimism.induced_target`.
    per_action : tuple of str
        Facts of a completion, such as its length: a number for all actions, or an array ``(..., K)``.
    no_target_because : str
        Reason to give where there is no target.
    no_advantage_because : str
        Reason to give where its weight takes no advantage that could come from elsewhere; empty where it does.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    short: ClassVar[str] = ""  # what figures and tables call it, where the title is too long for a legend
    paper: ClassVar[str]  # arXiv id
    formula: ClassVar[str]  # the loss, minimized; u is the sequence log-ratio
    induces: ClassVar[str]  # the induced target, in one line
    reference_policy: ClassVar[Literal["behavior", "initial", "proximal", "none"]] = "behavior"
    level: ClassVar[Literal["sequence", "token"]] = "sequence"
    temperature_field: ClassVar[str | None] = "beta"
    coupled: ClassVar[bool] = False  # the weight of one action depends on the log-ratios of the others
    takes_reference: ClassVar[bool] = False  # a reference policy other than the behavior is defined
    baseline_under_reference: ClassVar[bool] = False  # the baseline is taken under the reference, not the behavior
    takes_share: ClassVar[bool] = False  # weight and loss take log_share=log(reference / behavior), None where the same
    kinks_at_reference: ClassVar[bool] = False  # the jumps of the weight are at log(policy / reference)
    subtracts: ClassVar[str] = "nothing"  # the baseline, in a formula
    needs_tokens: ClassVar[bool] = False  # its loss of several tokens is no function of one log-ratio, nor their mean
    mixes_data: ClassVar[bool] = False  # samples of the current policy beside those of the behavior
    takes_propensity: ClassVar[bool] = False  # its ``weights`` are always the behavior's probabilities, never None
    sweeps: ClassVar[tuple[str, ...]] = ()  # hyper-parameters that may be arrays over the batch
    per_action: ClassVar[tuple[str, ...]] = ()  # facts of a completion: a number, or an array (..., K)
    prices_propensity: ClassVar[bool] = False  # an action's advantage depends on its own probability under the behavior
    no_target_because: ClassVar[str] = Status.NO_TARGET.message  # where there is none
    no_advantage_because: ClassVar[str] = ""  # where none from elsewhere can stand in its place

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "__eq__" not in vars(cls):  # lest a dataclass makes its own, in which an array has no truth value
            cls.__eq__ = Objective.__eq__  # type: ignore[method-assign]
            cls.__hash__ = Objective.__hash__  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_alike(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    def __hash__(self) -> int:
        values = [getattr(self, field.name) for field in fields(self)]
        if any(map(_is_array, values)):  # a tensor would be hashed by its place in memory
            raise TypeError(f"unhashable: {self.name} with an array among its hyper-parameters")
        return hash((type(self), *values))

    @property
    def temperature(self) -> Any:
        """Temperature of the nominal problem that the objective claims to solve; None where it has none."""
        value = None if self.temperature_field is None else getattr(self, self.temperature_field)
        return float(value) if isinstance(value, Real) else value

    @property
    def _beta(self) -> Any:
        """Temperature of an objective that has one."""
        beta = self.temperature
        assert beta is not None
        return beta

    def at_temperature(self, beta: float) -> Self:
        """The same objective at another temperature; the object itself where it has none."""
        has_none = self.temperature_field is None or self.temperature is None
        return self if has_none else self.replaced(str(self.temperature_field), beta)

    def replaced(self, name: str, value: Any) -> Self:
        """The same objective with another value of a hyper-parameter."""
        return replace(self, **{name: value})

    @property
    def swept(self) -> tuple[str, ...]:
        """Hyper-parameters that are arrays over the batch."""
        return tuple(name for name in self.sweeps if not isinstance(getattr(self, name), Real))

    @property
    def facts(self) -> tuple[str, ...]:
        """Facts of a completion that are given for each action."""
        return tuple(name for name in self.per_action if not isinstance(getattr(self, name), Real | None))

    @property
    def arrays(self) -> tuple[str, ...]:
        """Hyper-parameters that are arrays, over the batch or over the actions."""
        return self.swept + self.facts

    def each_swept(self, change: Callable[[Array], Any]) -> Self:
        """The objective with each of its arrays, over the batch or over the actions, changed by a function."""
        values = {name: getattr(self, name) for name in self.arrays}
        changed = {name: change(np.asarray(v) if isinstance(v, tuple) else v) for name, v in values.items()}
        return replace(self, **changed) if changed else self

    def on_rows(self, bandit: Bandit) -> Self:
        """The objective for rows ``(N, K)``: arrays over the batch become columns ``(N, 1)``, facts ``(N, K)``."""
        if not self.arrays:
            return self
        xp, width = bandit.xp, bandit.reward.shape[-1]

        def rows(name: str) -> Array:
            values = getattr(self, name)
            if not is_array_api_obj(values) or array_namespace(values) is not array_namespace(bandit.reward):
                values = xp.asarray(to_numpy_float(values), device=device(bandit.reward))
            values = xp.astype(values, xp.float64, copy=False)
            if name in self.sweeps:
                return xp.reshape(xp.broadcast_to(values, bandit.shape), (-1, 1))
            self._require_width(name, values, width)
            return xp.reshape(xp.broadcast_to(values, (*bandit.shape, width)), (-1, width))

        return replace(self, **{name: rows(name) for name in self.arrays})

    def on_row(self, row: int, actions: Any = slice(None)) -> Self:
        """The objective for some actions of one row, numbers and numpy arrays ``(k,)``, from that of all rows."""
        values = {name: to_numpy(getattr(self, name))[row] for name in self.arrays}
        own = {name: v[actions] if name in self.facts else v[0].item() for name, v in values.items()}
        return replace(self, **own) if own else self

    def fact(self, name: str, like: Array) -> Any:
        """A fact of the completions as a number, or an array that broadcasts against ``like`` ``(..., K)``."""
        value = getattr(self, name)
        if value is None or isinstance(value, Real):
            return value
        xp = array_namespace(like)
        if not is_array_api_obj(value) or array_namespace(value) is not xp:
            value = xp.asarray(to_numpy_float(value), dtype=like.dtype, device=device(like))
        self._require_width(name, value, like.shape[-1])
        return value

    def _require_width(self, name: str, values: Array, width: int) -> None:
        if values.shape[-1] != width:
            counts = f"{values.shape[-1]} for {width} actions"
            raise ValueError(f"{self.name}: {name} must hold one number per action, got {counts}")

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy (no gradient through the sampling)."""
        return False

    @property
    def over_batch(self) -> bool:
        """Whether the advantage of a group depends on the other groups of the batch."""
        return False

    @property
    def kinks(self) -> tuple[float, ...]:
        """Values of log(policy / behavior) where the weight jumps; a fixed point there holds for a weight between."""
        return ()

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """The same for actions of these probabilities ``(..., K)`` under the behavior, on which they may depend.

        Each is a number or an array ``(..., K)``, infinite where an action has no such jump. A probability may be 0:
        of an action that the behavior does not take.
        """
        return self.kinks

    def linear_bounds(self, propensity: Array) -> tuple[Array | float, Array | float] | None:
        """Log-ratios to the behavior where a surrogate A w is cut off, from below where A < 0, from above where A > 0.

        Parameters
        ----------
        propensity : Array, shape (..., K)
            Probabilities of the actions under the behavior, on which the bounds may depend.

        Returns
        -------
        tuple or None
            The lower bound, which may be -inf, and the upper one, nan for an action whose surrogate is of another kind;
            None where that is so of all.
        """
        return None

    @property
    def by_flow(self) -> bool:
        """Whether fixed points are several: the target is the one that gradient flow from the reference reaches."""
        return False

    @property
    def shift_rescales(self) -> bool:
        """Whether a constant added to all advantages of a group multiplies all weights alike, which moves no target."""
        return False

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Baseline V ``(...)`` as a sum of two, an anchor near the rewards and the rest."""
        raise NotImplementedError

    def baseline(self, reward: Array, weights: Array | None = None) -> Array:
        """Baseline V ``(...)``, in units of the reward."""
        anchor, rest = self.baseline_parts(reward, weights)
        return anchor + rest

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages ``(..., K)``: reward minus baseline, in two steps that lose no digits."""
        anchor, rest = self.baseline_parts(reward, weights)
        advantage = reward - anchor[..., None]
        advantage -= rest[..., None]
        return advantage

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weights g ``(..., K)``, which autograd of ``loss`` leaves in front of -grad log pi."""
        raise NotImplementedError

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Published loss ``(..., K)`` of each sample; the caller takes the mean."""
        raise NotImplementedError

    def at_infinity(self, log_ratio: Array, advantage: Array) -> Array | None:
        """Finite log-ratios that act as those of a limit with vanished actions; None where -700 stands for each."""
        return None

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Induced target in closed form, or None where only the generic fixed-point route exists."""
        return None

    def require_positive(self, *names: str, allow_infinite: bool = False) -> None:
        """Raise ``ValueError`` unless each named field is a number > 0 (and finite)."""
        for name in names:
            self.require_number(name, allow_infinite=allow_infinite)
            self._require_all(name, lambda values: values > 0, "> 0")
            self._require_all(name, lambda values: values >= 1 / LARGEST, f"at least {1 / LARGEST:g}")

    def require_choice(self, name: str, choices: Sequence[str]) -> None:
        """Raise ``ValueError`` unless the named field is one of the choices."""
        if (value := getattr(self, name)) not in choices:
            known = ", ".join(f'"{c}"' for c in choices[:-1]) + f' or "{choices[-1]}"'
            raise ValueError(f"{self.name}: {name} must be {known}, got {value!r}")

    def require_number(self, *names: str, allow_infinite: bool = False) -> None:
        """Raise ``ValueError`` unless each named field is a finite real number, or an array of them that may be one."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, list | tuple) and name in self.sweeps + self.per_action:
                with suppress(ValueError):  # of rows that differ in length, refused below
                    object.__setattr__(self, name, value := np.asarray(value))
            numbers = is_array_api_obj(value) and np.isdtype(to_numpy(value).dtype, ("real floating", "integral"))
            if numbers and not isinstance(value, Real) and name not in self.sweeps + self.per_action:
                those = f", which {', '.join(self.sweeps)} may be" if self.sweeps else ""
                raise ValueError(f"{self.name}: {name} must be one number, not an array over the batch{those}")
            number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
            if not (number or numbers):
                raise ValueError(f"{self.name}: {name} must be a finite number, got {value!r}")
            self._require_all(
                name, lambda values: np.isfinite(values) | (allow_infinite & np.isinf(values)), "a finite number"
            )
            self._require_all(name, _not_too_large, f"at most {LARGEST:g} in size")
            if name in self.per_action and isinstance(value, np.ndarray) and value.ndim == 1:
                object.__setattr__(self, name, tuple(map(float, value)))  # of one problem: it compares and hashes

    def require_at_least(self, least: float, *names: str) -> None:
        """Raise ``ValueError`` unless each named field is None or a finite number of at least ``least``."""
        for name in names:
            if getattr(self, name) is not None:
                self.require_number(name)
                self._require_all(name, lambda values: values >= least, f">= {least:g}")

    def _require_all(self, name: str, holds: Callable[[Array], Array], rule: str) -> None:
        value = getattr(self, name)
        if isinstance(value, Real):
            if not holds(value):
                raise ValueError(f"{self.name}: {name} must be {rule}, got {value!r}")
            return
        values = np.asarray(value) if isinstance(value, tuple) else to_numpy(value)
        if not np.all(good := holds(values)):
            index = tuple(map(int, np.argwhere(~good)[0]))
            place = f"{name}[{', '.join(map(str, index))}]" if index else name
            raise ValueError(f"{self.name}: {place} must be {rule}, got {values[index].item()!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """Hyper-parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def explain(self, status: Status) -> str:
        """How the search for this objective's target ended, in a sentence."""
        message = self.no_target_because if status == Status.NO_TARGET else status.message
        return f"{status.label.replace('_', ' ')}: {message}"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"


def _is_array(value: object) -> bool:
    return bool(is_array_api_obj(value)) and not isinstance(value, np.generic)


def _alike(one: object, other: object) -> bool:
    """Whether two hyper-parameters are equal: numbers of any type, arrays of one."""
    if _is_array(one) or _is_array(other) or isinstance(one, list | tuple):
        return same(one, other)
    return one is other or bool(one == other)


def _not_too_large(values: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)  # in which the largest is a number
    return np.asarray((np.abs(values) <= LARGEST) | np.isinf(values))


@dataclass(frozen=True)
class MeanBaseline(Objective):
    """Base of objectives whose baseline is the group mean (or any constant, where it cancels)."""

    subtracts: ClassVar[str] = "E[r]"

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward."""
        return baselines.mean_parts(reward, weights)


@dataclass(frozen=True, repr=False)
class OwnObjective(Objective):
    """An object with the three methods as an :class:`Objective`: what it does not declare has the usual value.

    Its temperature is its ``temperature`` or ``beta``; whether its weight couples the actions of a group is tried on
    one where it does not say. ``own`` is the object itself.
    """

    own: ObjectiveLike

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnObjective) and same(self.own, other.own)

    def __hash__(self) -> int:
        return hash(type(self.own))  # all that equal ones are sure to share: the object itself may have no hash

    takes_reference: ClassVar[bool] = True
    subtracts: ClassVar[str] = ""
    temperature_field: ClassVar[str | None] = None  # unless it declares one, and is a dataclass with that field

    def __post_init__(self) -> None:
        for fact in _FACTS:
            if hasattr(self.own, fact):
                object.__setattr__(self, fact, getattr(self.own, fact))
        kind = type(self.own).__name__
        usual = {"name": kind, "title": kind, "paper": "", "formula": "", "induces": ""}
        for fact in usual.keys() - vars(self).keys():
            object.__setattr__(self, fact, usual[fact])
        if not hasattr(self.own, "coupled"):
            object.__setattr__(self, "coupled", _couples(self.own))

    @property
    def temperature(self) -> float | None:
        """The object's ``temperature``, or else its ``beta``."""
        value = self._declared("temperature", self._declared("beta", None))
        return None if value is None else float(value)

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy."""
        return bool(self._declared("on_policy", False))

    @property
    def over_batch(self) -> bool:
        """Whether the advantage of a group depends on the other groups of the batch."""
        return bool(self._declared("over_batch", False))

    @property
    def kinks(self) -> tuple[float, ...]:
        """Values of log(policy / behavior) where the weight jumps."""
        return tuple(self._declared("kinks", ()))

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """The object's ``kinks_at``, where it has one; else its kinks."""
        own = self._declared("kinks_at", None)
        return self.kinks if own is None else tuple(own(propensity))

    @property
    def by_flow(self) -> bool:
        """Whether the target is the fixed point that gradient flow from the reference reaches."""
        return bool(self._declared("by_flow", False))

    @property
    def shift_rescales(self) -> bool:
        """Whether a constant added to all advantages moves no target."""
        return bool(self._declared("shift_rescales", False))

    def at_temperature(self, beta: float) -> Self:
        """The object at another temperature, if it declares the field that holds it; itself otherwise."""
        if self.temperature_field is None or not is_dataclass(self.own) or isinstance(self.own, type):
            return self
        return self.replaced(self.temperature_field, beta)

    def replaced(self, name: str, value: Any) -> Self:
        """The object, or a copy of one that is no dataclass, with another value of an attribute."""
        if name in self.settings:
            return replace(self, own=replace(self.own, **{name: value}))  # type: ignore[type-var]
        own = copy(self.own)
        setattr(own, name, value)
        return replace(self, own=own)

    def _declared(self, trait: str, otherwise: Any) -> Any:
        return getattr(self.own, trait, otherwise)

    @property
    def settings(self) -> dict[str, Any]:
        """Its fields where it is a dataclass, else nothing."""
        return {f.name: getattr(self.own, f.name) for f in fields(self.own)} if is_dataclass(self.own) else {}

    def baseline(self, reward: Array, weights: Array | None = None) -> Array:
        """What the advantage subtracts ``(...)``, if that is one number per problem, else nan."""
        xp = array_namespace(reward)
        subtracted = reward - self.advantage(reward, weights)
        level = xp.mean(subtracted, axis=-1)
        spread = xp.max(xp.abs(subtracted - level[..., None]), axis=-1)
        return xp.where(spread <= 1e-9 * (1.0 + xp.abs(level)), level, xp.full_like(level, xp.nan))

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The object's advantages."""
        return self.own.advantage(reward, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None, **share: Any) -> Array:
        """The object's score weight."""
        return self.own.score_weight(log_ratio, advantage, weights, **share)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None, **share: Any) -> Array:
        """The object's loss."""
        return self.own.loss(log_ratio, advantage, weights, **share)

    def __str__(self) -> str:
        kind = type(self.own)
        silent = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
        return self.name if silent else str(self.own)

    def __repr__(self) -> str:
        return repr(self.own)


_FACTS = (
    *("name", "title", "paper", "formula", "induces", "reference_policy", "level", "coupled", "takes_reference"),
    *(
        "baseline_under_reference",
        "takes_share",
        "kinks_at_reference",
        "subtracts",
        "mixes_data",
        "takes_propensity",
        "prices_propensity",
        "temperature_field",
    ),
)


def as_objective(objective: ObjectiveLike) -> Objective:
    """Return an objective with all its traits: one of the package as it is, any other object with the usual values.

    Parameters
    ----------
    objective : ObjectiveLike
        An object with the methods ``advantage``, ``score_weight`` and ``loss``.

    Returns
    -------
    Objective
        The object itself, or an :class:`OwnObjective` around it.

    Raises
    ------
    TypeError
        If it is a class and not an instance, or lacks one of the three methods.

    Examples
    --------
    >>> class Plain:
    ...     beta = 0.5
    ...     def advantage(self, reward, weights=None): return reward
    ...     def score_weight(self, log_ratio, advantage, weights=None): return advantage
    ...     def loss(self, log_ratio, advantage, weights=None): return -advantage * log_ratio
    >>> as_objective(Plain()).temperature, as_objective(Plain()).coupled
    (0.5, False)
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, type):
        raise TypeError(
            f"objective must be an instance, got the class {objective.__name__}: write {objective.__name__}()"
        )
    if not isinstance(objective, ObjectiveLike):
        raise TypeError("objective must be a name or have the methods advantage, score_weight and loss")
    return OwnObjective(objective)


def _couples(own: ObjectiveLike) -> bool:
    """Whether a weight depends on more than its own action, tried on a group of three; a method of pairs couples."""
    u, advantage, weights = np.array([-0.3, 0.1, 0.4]), np.array([0.2, -0.5, 0.7]), np.array([0.2, 0.3, 0.5])
    try:
        together = own.score_weight(u, advantage, weights)
        alone = [own.score_weight(u[i : i + 1], advantage[i : i + 1], None)[0] for i in range(3)]
    except Exception:  # of groups of this size; the check says what is wrong with a method that takes none
        return True
    return not np.allclose(together, alone, rtol=1e-12, atol=0.0)


_STOPS: ContextVar[Callable[[Array], Any] | None] = ContextVar("stops", default=None)


def stop_gradient(x: Array) -> Array:
    """Cut an array from the autograd graph, where its library has one; a loss marks with it what it holds constant.

    On numpy arrays it marks, too: the check of an objective of one's own differentiates its loss numerically and holds
    what is marked.

    Parameters
    ----------
    x : array
        Of any library.

    Returns
    -------
    array
        The same values.

    Examples
    --------
    >>> import torch
    >>> stop_gradient(torch.ones(2, requires_grad=True)).requires_grad
    False
    """
    if (stops := _STOPS.get()) is not None:
        held = stops(x)
        return x if held is None else held
    return x.detach() if hasattr(x, "detach") else x


@contextmanager
def frozen_stops(stops: Callable[[Array], Any]) -> Iterator[None]:
    """Inside, `stop_gradient` hands each array to a function and returns what that gives, or the array for None."""
    token = _STOPS.set(stops)
    try:
        yield
    finally:
        _STOPS.reset(token)


def propensities(x: Array, weights: Array | None) -> Array:
    """Weights of the group; 1/G each, in the shape of x, for a sampled group."""
    if weights is not None:
        return weights
    return array_namespace(x).full_like(x, 1.0 / x.shape[-1])


def log_behavior_ratio(log_ratio: Array, log_share: Array | None) -> Array:
    """Log-ratio to the behavior from that to the reference.

    ``log_share`` is log(reference / behavior), None where it is 0.
    """
    return log_ratio if log_share is None else log_ratio + log_share


def partners(width: int, weights: Array | None) -> float:
    """Factor that turns a mean over the group into one over the other members: G/(G - 1) in a sampled group, else 1."""
    return width / (width - 1) if weights is None and width > 1 else 1.0


def centered(x: Array, weights: Array | None) -> Array:
    """Values x minus their mean over the group, under the weights of the group."""
    xp = array_namespace(x)
    if weights is None:
        return x - xp.mean(x, axis=-1, keepdims=True)
    return x - xp.sum(weights * x, axis=-1, keepdims=True) / xp.sum(weights, axis=-1, keepdims=True)
