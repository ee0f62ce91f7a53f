"""Log-probabilities and versions in a log: what a reader keeps of each completion while it streams.

A log of tokens is too large to hold, so a completion is reduced to a few sums, all that the measures of
`pessimism.diagnosis.measured` need. The tokens that a clip touches depend on the objective, which is known before the
log is read: the reader is given a function that finds them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.literals import whole
from pessimism.messages import show
from pessimism.rollouts.lines import read_json

Touched = Callable[[Floats, Floats], tuple[NDArray[np.bool_], NDArray[np.bool_]]]
FACTS = (
    *("behavior_log_prob", "policy_log_prob", "tokens", "token_kl", "token_kl_reverse", "token_kl_local"),
    *("token_ratio", "token_ratio_square", "token_log_ratio_min", "token_log_ratio_max", "touched_up", "touched_down"),
    *("version", "last_version"),
)
MASKS = ("token_loss_mask", "loss_mask", "response_mask", "completion_mask")
_ROUNDING = 2.0**-14  # a logit of some hundreds less its log-sum-exp, in float32
_EXACT = 2**53  # the largest version that a float tells from the next
_EXTREMES = ("token_log_ratio_min", "token_log_ratio_max")
# How facts of parts of a completion make those of the whole; all others are sums.
_JOINED: dict[str, np.ufunc] = {
    **{"token_log_ratio_min": np.minimum, "token_log_ratio_max": np.maximum},
    **{"version": np.fmin, "last_version": np.fmax},
}
_UNKNOWN = [float("nan")] * len(FACTS)
_TOUCHED = ("touched_up", "touched_down")
_TOGETHER = 2**16  # tokens that a clip is asked of at once


class LogProbs(NamedTuple):
    """Columns of log-probabilities, each holding a number for a completion or a list of them, one for each token.

    Attributes
    ----------
    behavior : str
        Those of the policy that sampled.
    policy : str or None
        Those of the policy that was trained, on the same completions.
    mask : str or None
        List of the tokens that count, 0 where one does not: tokens of the prompt, of a tool, of padding.
    """

    behavior: str
    policy: str | None = None
    mask: str | None = None

    def names(self) -> list[str]:
        """Return the names that there are."""
        return [name for name in self if name is not None]


KNOWN = (
    LogProbs("generation_logprobs", "prev_logprobs"),  # NeMo-RL
    LogProbs("inference_logprobs", "trainer_logprobs"),  # prime-rl
    LogProbs("rollout_log_probs"),  # slime
    LogProbs("behavior_log_prob", "policy_log_prob"),  # a frame of read_rollouts
)
KNOWN_VERSIONS = (
    ("sampling_client_step",),  # tinker-cookbook
    ("head_version", "tail_version"),  # AReaL
    ("weight_versions",),  # slime
)


def choose_log_probs(
    names: Sequence[str], asked: str | Sequence[LogProbs] | None, listed: str
) -> tuple[LogProbs | None, tuple[str, ...]]:
    """Say which columns hold log-probabilities, and which the version of the policy that sampled.

    Parameters
    ----------
    names : sequence of str
        Columns of the log.
    asked : str or sequence of LogProbs, optional
        Names of one or two columns with a comma between them, or several that are read if the log has them; None to
        read nothing.
    listed : str
        What an error says of the columns that there are.

    Returns
    -------
    LogProbs or None
        The columns of log-probabilities, with the mask that stands beside them.
    tuple of str
        Columns with versions, oldest first.

    Raises
    ------
    ValueError
        If a column that is asked for by name is not there.

    Examples
    --------
    >>> choose_log_probs(["prompt", "reward", "lp"], "lp", "")
    (LogProbs(behavior='lp', policy=None, mask=None), ())
    """
    if asked is None:
        return None, ()
    versions = next((known for known in KNOWN_VERSIONS if known[0] in names), ())
    found = None
    if isinstance(asked, str):
        given = [asked] if asked in names else [name.strip() for name in asked.split(",")]
        if len(given) > 2 or not all(given):
            raise ValueError(
                f"log_prob_columns must be one or two columns, as in BEHAVIOR or BEHAVIOR,POLICY, got {show(asked)}"
            )
        for name in given:
            if name not in names:
                raise ValueError(f"log_prob_columns: {show(name)} is not a column; {listed}")
        found = LogProbs(*given)
    else:
        known = next((one for one in asked if one.behavior in names), None)
        if known is not None:
            found = known._replace(policy=known.policy if known.policy in names else None)
    if found is not None and found.mask is None:
        found = found._replace(mask=next((name for name in MASKS if name in names), None))
    return found, tuple(name for name in versions if name in names)


class Reduced(NamedTuple):
    """What is kept of a completion, and what a clip is still to be asked of.

    Attributes
    ----------
    facts : list of float
        A number for each of `FACTS`.
    log_ratio, behavior : ndarray, shape (T,), or None
        Log-ratios of the tokens that count, and their log-probabilities under the behavior.
    """

    facts: list[float]
    log_ratio: Floats | None = None
    behavior: Floats | None = None


class Facts:
    """What is kept of the completions read so far: a row of `FACTS` for each, once one of them has any."""

    def __init__(self, touched: Touched | None = None) -> None:
        self.touched = touched
        self.values = array("d")
        self.unknown = 0  # rows before the first one with facts
        self.waiting: list[tuple[int, Floats, Floats]] = []  # place of a row, and its tokens
        self.tokens = 0

    def skip(self, rows: int) -> None:
        """Append rows without facts."""
        if not self.values:
            self.unknown += rows
        else:
            self.values.extend(_UNKNOWN * rows)

    def append(self, reduced: Reduced | None) -> None:
        """Append a row, as `facts_of` returns it."""
        if reduced is None:
            self.skip(1)
            return
        if self.touched is not None and reduced.log_ratio is not None and reduced.behavior is not None:
            self.waiting.append((len(self.values), reduced.log_ratio, reduced.behavior))
            self.tokens += len(reduced.log_ratio)
        self.values.extend(reduced.facts)
        if self.tokens >= _TOGETHER:
            self._count()

    def _count(self) -> None:
        """Count the tokens of the waiting rows that the clip touches."""
        if self.touched is None or not self.waiting:
            return
        places, u, behavior = zip(*self.waiting, strict=True)
        start = np.cumsum([0, *map(len, u[:-1])])
        for name, sign in zip(_TOUCHED, self.touched(np.concatenate(u), np.exp(np.concatenate(behavior))), strict=True):
            for place, count in zip(places, np.add.reduceat(sign.astype(np.float64), start).tolist(), strict=True):
                self.values[place + FACTS.index(name)] = count
        self.waiting, self.tokens = [], 0

    def columns(self) -> dict[str, Floats]:
        """Return the columns ``(rows,)`` that are known of some row."""
        self._count()
        if not self.values:
            return {}
        table = np.full((self.unknown + len(self.values) // len(FACTS), len(FACTS)), np.nan)
        table[self.unknown :] = np.frombuffer(self.values).reshape(-1, len(FACTS))
        known = ~np.isnan(table).all(axis=0)
        return {name: table[:, i].copy() for i, name in enumerate(FACTS) if known[i]}


def facts_of(record: Mapping[str, Any], log_probs: LogProbs | None, versions: Sequence[str]) -> Reduced | None:
    """Reduce the log-probabilities and versions of one completion to `FACTS`; None where no column has any.

    Parameters
    ----------
    record : mapping
        The row.
    log_probs : LogProbs or None
        Its columns of log-probabilities.
    versions : sequence of str
        Its columns with versions.

    Returns
    -------
    Reduced or None
        With u the log-ratio of a token, w its exponential and W the product of those before it:

        - behavior_log_prob, policy_log_prob: of the whole completion; tokens: that count. nan where none does;
        - token_kl, the sum of W (w u - w + 1), and token_kl_reverse, that of w - 1 - u: of mean KL(policy || behavior)
          and KL(behavior || policy) of whole completions; token_kl_local: the sum of w u - w + 1;
        - token_ratio and token_ratio_square: sums of w and w^2; token_log_ratio_min and _max: extremes of u;
        - touched_up and touched_down: tokens that the clip would touch if the advantage were positive, or negative,
          which `Facts` counts;
        - version and last_version: the oldest and the newest that sampled a part of it.

        What is not known is nan: all of tokens where a completion has but a number.

    Raises
    ------
    ValueError
        If a value is no log-probability, or lists differ in length; it names the column and the place.

    Examples
    --------
    >>> row = {"mu": [-1.0, -2.0, 0.0], "pi": [-0.5, -2.5, 0.0], "mask": [1, 1, 0]}
    >>> found = facts_of(row, LogProbs("mu", "pi", "mask"), ())
    >>> dict(zip(FACTS, np.round(found.facts, 3).tolist()))["token_kl_reverse"]
    0.255
    """
    if log_probs is None and not versions:
        return None
    found, tokens = dict.fromkeys(FACTS, np.nan), None
    if log_probs is not None:
        read, tokens = _of_log_probs(record, LogProbs(*log_probs))
        found |= read
    for ends in [_version(record[name], name) for name in versions]:
        found["version"] = float(np.fmin(found["version"], ends[0]))
        found["last_version"] = float(np.fmax(found["last_version"], ends[1]))
    return Reduced(list(found.values()), *(tokens or ()))


def joined_facts(facts: pd.DataFrame, first: NDArray[np.intp]) -> pd.DataFrame:
    """Facts of completions that are several rows each, one after the other: the outputs of a session.

    Parameters
    ----------
    facts : pandas.DataFrame
        Columns of `FACTS`, the rows of a completion next to each other in the order of its tokens.
    first : ndarray of int, shape (N,)
        The first row of each completion.

    Returns
    -------
    pandas.DataFrame
        What `facts_of` would say of the tokens of all of its rows together; nan where a row has tokens of which it is
        not known.

    Examples
    --------
    >>> rows = pd.DataFrame({"behavior_log_prob": [-1.0, -2.0, -0.5], "version": [3.0, 4.0, 4.0]})
    >>> joined_facts(rows, np.array([0, 2])).to_numpy().tolist()
    [[-3.0, 3.0], [-0.5, 4.0]]
    """
    empty = facts["tokens"].to_numpy() == 0.0 if "tokens" in facts else np.zeros(len(facts), dtype=np.bool_)
    found = {name: facts[name].to_numpy() for name in facts}
    if "token_kl" in found:  # a token counts with the ratio of all before it, those of earlier rows too
        u = np.where(empty, 0.0, found["policy_log_prob"] - found["behavior_log_prob"])
        completion = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(facts))))
        before = pd.Series(u).groupby(completion).cumsum().to_numpy() - u
        with np.errstate(over="ignore", invalid="ignore"):  # as in `_of_tokens`
            found["token_kl"] = np.exp(before) * found["token_kl"]
    for name, values in found.items():
        join: np.ufunc = _JOINED.get(str(name), np.add)
        if join is np.add:
            values = np.where(empty, 0.0, values)
        elif name in _EXTREMES:
            values = np.where(empty, -np.inf if join is np.maximum else np.inf, values)
        found[name] = join.reduceat(values, first)
    nothing = np.logical_and.reduceat(empty, first)
    for name in found.keys() - {"tokens", "version", "last_version"}:
        found[name] = np.where(nothing, np.nan, found[name])
    return pd.DataFrame(found)


def _of_log_probs(
    record: Mapping[str, Any], columns: LogProbs
) -> tuple[dict[str, float], tuple[Floats, Floats] | None]:
    """Facts of a completion, and the log-ratios and the behavior's log-probabilities of its tokens."""
    behavior = _numbers(record[columns.behavior], columns.behavior)
    policy = None if columns.policy is None else _numbers(record[columns.policy], columns.policy)
    counted = None
    if behavior.ndim:
        counted = _mask(record, columns, len(behavior))
    if policy is not None and policy.shape != behavior.shape:
        said = [f"{len(a)} values" if a.ndim else "one number" for a in (behavior, policy)]
        raise ValueError(
            f"{columns.behavior} has {said[0]} and {columns.policy} has {said[1]}: they must be of the same tokens"
        )
    for values, name in (behavior, columns.behavior), (policy, columns.policy):
        if values is not None:
            _require(values, counted, str(name))
    if counted is None:
        found = {"behavior_log_prob": float(behavior)}
        return (found if policy is None else found | {"policy_log_prob": float(policy)}), None
    kept = behavior[counted]
    if not kept.size:
        return {"tokens": 0.0}, None
    found = {"tokens": float(kept.size), "behavior_log_prob": float(kept.sum())}
    if policy is None:
        return found, None
    u = policy[counted] - kept
    return found | {"policy_log_prob": float(policy[counted].sum())} | _of_tokens(u), (u, kept)


def _of_tokens(u: Floats) -> dict[str, float]:
    """Sums over the tokens of a completion, of their log-ratios ``(T,)``."""
    with np.errstate(over="ignore", invalid="ignore"):  # a ratio beyond float64 leaves no number of what it enters
        w, excess = np.exp(u), np.expm1(u)
        local = w * u - excess
        before = np.exp(np.cumsum(u) - u)
        found = {
            "token_kl": float(before @ local),
            "token_kl_reverse": float(np.sum(excess - u)),
            "token_kl_local": float(local.sum()),
            "token_ratio": float(w.sum()),
            "token_ratio_square": float(w @ w),
        }
    return found | {"token_log_ratio_min": float(u.min()), "token_log_ratio_max": float(u.max())}


def _numbers(value: object, name: str, *, flags: bool = False) -> Floats:
    """Return a value as an array of float64, ``()`` or ``(T,)``, also of true and false; what is null is nan."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # in CSV
        try:
            value = read_json(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{name} is {show(value)}, neither a number nor a list of numbers") from None
    try:
        values = np.asarray(value)
        if values.dtype == object:
            given = values.ravel().tolist()
            if all(one is None or (isinstance(one, int | float) and flags >= isinstance(one, bool)) for one in given):
                values = values.astype(np.float64)
        if values.size == 0:
            values = values.astype(np.float64)
    except (ValueError, OverflowError):  # lists of lists of several lengths
        values = np.array("")
    if values.dtype.kind not in ("fiub" if flags else "fiu") or values.ndim > 1:
        raise ValueError(f"{name} is {show(value)}, neither a number nor a list of numbers")
    return values.astype(np.float64)


def _mask(record: Mapping[str, Any], columns: LogProbs, length: int) -> NDArray[np.bool_]:
    """Tokens ``(T,)`` that count."""
    name = next((name for name in (columns.mask, *MASKS) if name is not None and name in record), None)
    value = None if name is None else record[name]
    if value is None:
        return np.ones(length, dtype=np.bool_)
    mask = _numbers(value, str(name), flags=True)
    mask = mask if mask.ndim else np.full(length, mask)  # of the whole completion
    if len(mask) != length:
        raise ValueError(
            f"{columns.behavior} has {length} values and {name} has {len(mask)}: they must be of the same tokens"
        )
    if np.isnan(mask).any():
        place = int(np.flatnonzero(np.isnan(mask))[0])
        raise ValueError(f"{name}[{place}] is null or nan, neither 0 nor 1")
    return np.asarray(mask != 0)


def _require(values: Floats, counted: NDArray[np.bool_] | None, name: str) -> None:
    """Raise unless all that counts are log-probabilities, which rounding may leave a little above 0."""
    bad = ~(np.isfinite(values) & (values <= _ROUNDING))
    if counted is not None:
        bad &= counted
    if not np.any(bad):
        return
    place = "" if values.ndim == 0 else f"[{int(np.flatnonzero(bad)[0])}]"
    value = float(values[bad][0]) if values.ndim else float(values)
    if np.isnan(value):
        raise ValueError(f"{name}{place} is null or nan, no log-probability")
    raise ValueError(f"{name}{place} is {value:g}, no log-probability: one is finite and at most 0")


def _version(value: object, name: str) -> tuple[float, float]:
    """Return the oldest and the newest of a version or of a list of them; nan where there is none, or one below 0."""
    found = []
    for one in value if isinstance(value, list | tuple | np.ndarray) else [value]:
        number = one.item() if isinstance(one, np.generic) else one
        if isinstance(number, str):
            try:
                number = whole(number)
            except ValueError:
                continue  # slime writes "default" before the first update
        if number is None or (isinstance(number, float) and np.isnan(number)):
            continue
        if type(number) is float and number.is_integer():
            number = int(number)
        if type(number) is not int or abs(number) > _EXACT:
            raise ValueError(f"{name} is {show(value)}, no number of a version")
        if number >= 0:  # -1 stands for none in AReaL
            found.append(float(number))
    return (min(found), max(found)) if found else (np.nan, np.nan)
