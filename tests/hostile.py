"""Hostile problems for every objective, and a judge of what comes back that shares no code with the solvers.

``python -m tests.hostile [--problems N] [--seed S] [names ...]`` attacks each registered objective with N problems in
groups of equal width, and prints a line for each: problems, wrong claims, tracebacks, warnings, rows that depend on
their neighbors, refusals, rows without a claim, and the slowest problem.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

import pessimism as ps
from tests.cases import CASES
from tests.helpers import Array, accepted

CLAIMS = ("converged", "local_minimum", "unstable", "vanishing_support", "set_valued")
NONE = ("no_target", "not_converged", "invalid_input")
BOUND = 1e-6  # of the certificate of a claim, relative to the pulls
NUDGE = 1e-9  # of a log-ratio, by which a weight is read on both sides: a jump, and the rounding of the ratio
PATIENCE = 60.0  # seconds of the processor for a group of problems: other work on the machine takes none of them
WIDTHS = (1, 2, 2, 2, 3, 3, 5, 17, 200)


class Attack(NamedTuple):
    """Problems of one width under one setting."""

    label: str
    objective: Any
    behavior: Array | None
    reward: Array
    beyond: bool  # whether a number is outside the documented range


def attacks(label: str, seed: int, rows: int = 8, widths: Sequence[int] = WIDTHS) -> Iterator[Attack]:
    """Endless problems for a case of the common suite, in groups of ``rows``."""
    rng = np.random.default_rng([seed, *label.encode()])
    while True:
        objective, hyper_beyond = _setting(CASES[label].objective, rng)
        width = 2 if _pairs(objective) else int(rng.choice(widths))
        problems = [_problem(rng, width) for _ in range(rows)]
        behavior = None if rng.random() < 0.1 else np.stack([p[0] for p in problems])
        reward = np.stack(
            [accepted(label, np.clip(p[1], -700, 700)) if CASES[label].unit_rewards else p[1] for p in problems]
        )
        yield Attack(label, objective, behavior, reward, hyper_beyond or any(p[2] for p in problems))


def _pairs(objective: Any) -> bool:
    try:
        objective.advantage(np.array([[0.0, 1.0, 0.5]]), np.full((1, 3), 1 / 3))
    except ValueError:
        return True
    return False


def _setting(objective: Any, rng: np.random.Generator) -> tuple[Any, bool]:
    """A setting of the same objective with some of its numbers far from the usual ones, and whether beyond range."""
    if rng.random() < 0.3:
        return objective, False
    for _ in range(50):
        beyond = rng.random() < 0.05
        reach = 300.0 if beyond else rng.choice([0.5, 3.0, 6.0])
        changed = {}
        for field in fields(objective):
            value = getattr(objective, field.name)
            if isinstance(value, bool) or not isinstance(value, float) or rng.random() < 0.4:
                continue
            changed[field.name] = value * 10.0 ** float(rng.uniform(-reach, reach))
        try:
            return replace(objective, **changed), beyond
        except (ValueError, OverflowError):
            continue
    return objective, False


def _problem(rng: np.random.Generator, width: int) -> tuple[Array, Array, bool]:
    """Probabilities, rewards, and whether they are beyond the documented range."""
    beyond = False
    q = rng.dirichlet(np.full(width, rng.choice([0.1, 1.0, 10.0])))
    kind = rng.choice(["plain", "faint", "uniform", "one_hot", "beyond"], p=[0.25, 0.5, 0.15, 0.07, 0.03])
    if kind == "uniform":
        q = np.full(width, 1.0 / width)
    elif kind == "one_hot":
        q = np.eye(width)[rng.integers(width)]
    elif kind in ("faint", "beyond") and width > 1:
        faint = rng.permutation(width)[: rng.integers(1, width)]
        deepest = rng.choice([-16.0, -30.0, -300.0])
        q[faint] = 10.0 ** rng.uniform(deepest, -3.0, size=len(faint))
        if rng.random() < 0.2:
            q[faint[0]] = 0.0
        if kind == "beyond":
            q[faint[0]], beyond = 5e-324, True
        strong = np.setdiff1d(np.arange(width), faint)
        q[strong] = np.maximum(q[strong], 1e-3)
        q[strong] *= (1.0 - q[faint].sum()) / q[strong].sum()
    q = q / q.sum()
    r = rng.normal(size=width)
    match rng.choice(["plain", "ties", "equal", "binary", "outlier", "near"]):
        case "ties":
            r = np.round(r)
        case "equal":
            r = np.full(width, r[0])
        case "binary":
            r = (r > 0).astype(float)
        case "outlier":
            r[rng.integers(width)] *= 1e6
        case "near":
            r = r[0] + 10.0 ** rng.uniform(-14, -3) * r
    scale = rng.choice([0.0, 0.0, 3.0, 8.0, 300.0], p=[0.4, 0.2, 0.25, 0.12, 0.03])
    if scale == 300.0:
        beyond = True
    r = r * 10.0 ** rng.uniform(-scale, scale)
    return q, np.nan_to_num(r, posinf=1e308, neginf=-1e308), beyond


def judge(attack: Attack, target: Any) -> list[str]:
    """What is wrong with each row of a target, an empty string where nothing is."""
    pi, u, q = (np.asarray(a, dtype=float) for a in (target.policy, target.log_ratio, target.behavior))
    leak, status = np.asarray(target.leak), np.asarray(target.status)
    said = []
    gap = _gaps(target, q, u, pi)
    for row in range(len(pi)):
        if status[row] in NONE:
            known = (row,) in target.message and "\n" not in target.message[row,]
            said.append("" if known else f"{status[row]} without a message")
        elif status[row] not in CLAIMS:
            said.append(f"status {status[row]!r}")
        elif not np.all(np.isfinite(pi[row])) or np.any(pi[row] < 0):
            said.append(f"{status[row]}: policy not finite, or negative")
        elif np.any(pi[row][q[row] == 0] != 0):
            said.append(f"{status[row]}: mass outside the support")
        elif not abs(pi[row].sum() + leak[row] - 1.0) <= 1e-9:
            said.append(f"{status[row]}: sum {pi[row].sum() + leak[row]:.9g}")
        elif not gap[row] <= BOUND:
            said.append(f"{status[row]}: certificate {gap[row]:.2g}")
        else:
            said.append("")
    return said


def _gaps(target: Any, q: Array, u: Array, pi: Array) -> Array:
    """How far each row is from q g = lam pi + level, relative to the pulls, for the best lam.

    A weight may be any between those at the log-ratio and a little to both sides. An action without mass is pulled no
    more than the level, the common drift of those with mass that its own pull leaves them.
    """
    objective = target.row_objective
    with np.errstate(all="ignore"):
        share = np.zeros_like(u)  # the reference is the behavior in every attack
        advantage = np.where(q > 0, np.asarray(target.advantage, dtype=float), 0.0)
        if objective.shift_rescales:
            advantage = advantage - np.max(np.where(q > 0, advantage, -np.inf), axis=-1, keepdims=True)
        weights = None if target.bandit.sampled and not objective.takes_propensity else q
        gone = (q > 0) & ~np.isfinite(u)
        finite = np.where(q > 0, np.where(gone, -700.0, u), 0.0)
        limit = objective.at_infinity(u, advantage)
        finite = finite if limit is None else np.where(q > 0, limit, 0.0)

        def pull(at: Array) -> Array:
            given = {"log_share": share} if objective.takes_share else {}
            g = objective.score_weight(at, advantage, weights, **given)
            g = g * np.exp(at) if objective.on_policy else g
            return np.where(q > 0, q * g, 0.0)

        # Each of them, and any two together or apart: a weight of differences sees no common change.
        rank = np.argsort(np.argsort(finite, axis=-1), axis=-1) - 0.5 * u.shape[-1] + 0.25
        step = NUDGE * (np.sign(rank) + rank / u.shape[-1]) * np.maximum(1.0, np.abs(finite))
        sides = np.stack([pull(finite), pull(finite - step), pull(finite + step)])
        at_start = np.abs(pull(np.zeros_like(u))).sum(axis=-1)
        size = np.maximum(np.abs(sides[0]).sum(axis=-1), at_start)
        low, high = sides.min(axis=0), sides.max(axis=0)
        kept = (q > 0) & ~gone
        count = np.maximum(kept.sum(axis=-1), 1)
        level = -np.where(gone, sides[0], 0.0).sum(axis=-1) / count
        level = np.where(gone.any(axis=-1), level, 0.0)
        low, high = low - level[:, None], high - level[:, None]
        best = np.full(len(q), np.inf)
        for row in range(len(q)):
            best[row] = _gap(low[row], high[row], pi[row], kept[row], gone[row], size[row])
        return best


def _gap(low: Array, high: Array, pi: Array, kept: Array, gone: Array, size: float) -> float:
    """Least excess over the intervals, over lam, by bisection on the excess; relative to the size of the pulls."""
    if not size > 0:
        return 0.0 if size == 0 else np.inf
    over = max(0.0, float(np.max(np.where(gone, low, -np.inf)))) / size if gone.any() else 0.0
    a, b, p = low[kept] / size, high[kept] / size, pi[kept]
    if np.any(np.isnan(a) | np.isnan(b) | (a == np.inf) | (b == -np.inf)):
        return np.inf
    massless = p == 0
    over = max(over, float(np.max(np.where(massless, np.maximum(a, -b), -np.inf), initial=0.0)))
    a, b, p = a[~massless], b[~massless], p[~massless]

    def feasible(t: float) -> bool:
        return bool(np.max((a - t) / p, initial=-np.inf) <= np.min((b + t) / p, initial=np.inf))

    least, most = 0.0, 2.0
    if feasible(BOUND):
        return max(over, 0.0 if feasible(0.0) else BOUND)
    for _ in range(30):
        middle = 0.5 * (least + most)
        least, most = (least, middle) if feasible(middle) else (middle, most)
    return max(over, most)


def reads(target: Any) -> None:
    """Look at everything that a target can be asked."""
    target.to_dict()
    target.certificate()
    target.conservatism()
    repr(target)


class Outcome(NamedTuple):
    """What an attack did: (kind, text, row) of each fault, statuses, and seconds for each problem."""

    faults: list[tuple[str, str, int]]
    statuses: Counter[str]
    seconds: float


def run(attack: Attack, alone: bool = True) -> Outcome:
    """Attack once: together, and row by row where ``alone``, which must give the same."""
    faults: list[tuple[str, str, int]] = []
    begin = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            target = _solve(attack, slice(None))
            seconds = (time.process_time() - begin) / len(attack.reward)
            reads(target)
        except Exception as error:
            return Outcome([("raised", _short(error), -1)], Counter(), 0.0)
        said = judge(attack, target)
        faults += [("wrong", text, row) for row, text in enumerate(said) if text]
        if alone and not target.objective.over_batch:
            for row in range(len(attack.reward)):
                try:
                    own = _solve(attack, slice(row, row + 1))
                except Exception as error:
                    faults.append(("raised", _short(error), row))
                    continue
                same = np.allclose(own.policy[0], target.policy[row], rtol=1e-9, atol=1e-12, equal_nan=True)
                if own.status[0] != target.status[row] or not same:
                    faults.append(("neighbors", f"{target.status[row]} but alone {own.status[0]}", row))
    faults += [("warned", f"{w.message} {w.filename.rsplit('/', 1)[-1]}:{w.lineno}", -1) for w in caught]
    return Outcome(faults, Counter(np.asarray(target.status).tolist()), seconds)


def _solve(attack: Attack, rows: slice) -> Any:
    behavior = None if attack.behavior is None else attack.behavior[rows]
    return ps.induced_target(behavior, attack.reward[rows], attack.objective, on_error="status")


def _short(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:90]} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"


def _too_slow(*_: Any) -> None:
    raise TimeoutError(f"a group took more than {PATIENCE:g} s")


def main(arguments: list[str]) -> int:
    """Attack by the command line; the number of faults decides the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("names", nargs="*", help="registered names, all by default")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="faults shown for each objective and kind")
    given = parser.parse_args(arguments)
    labels: dict[str, list[str]] = {}
    for label, case in CASES.items():
        labels.setdefault(case.objective.name, []).append(label)
    signal.signal(signal.SIGPROF, _too_slow)
    total: Counter[str] = Counter()
    for name in given.names or labels:
        faults: list[tuple[Attack, tuple[str, str, int]]] = []
        statuses: Counter[str] = Counter()
        slowest, done = 0.0, 0
        streams = [attacks(label, given.seed) for label in labels[name]]
        in_range: Counter[str] = Counter()
        while done < given.problems:
            attack = next(streams[done // 8 % len(streams)])
            signal.setitimer(signal.ITIMER_PROF, PATIENCE)
            outcome = run(attack, alone=done // 8 // len(streams) % 4 == 0)
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            done += len(attack.reward)
            statuses += outcome.statuses
            in_range += Counter() if attack.beyond else outcome.statuses
            slowest = max(slowest, outcome.seconds)
            faults += [(attack, fault) for fault in outcome.faults]
        kinds = Counter(fault[0] for _, fault in faults)
        total += kinds + Counter(problems=done)
        without = in_range["not_converged"]
        print(
            f"{name:24s} {done:5d} {dict(kinds)} not_converged in range {without} slowest {slowest:.3f} s", flush=True
        )
        for kind in kinds:
            seen: Counter[str] = Counter()
            for attack, (of_kind, text, row) in faults:
                key = text.split(" (")[0][:60]
                if of_kind == kind and seen.total() < given.show and not seen[key]:
                    seen[key] += 1
                    print(f"    {kind}{'' if not attack.beyond else ' (beyond)'}: {text}")
                    print(f"      {attack.objective}")
                    if attack.reward.shape[1] <= 5 and row >= 0:
                        mu = None if attack.behavior is None else attack.behavior[row].tolist()
                        print(f"      {mu} {attack.reward[row].tolist()}")
    print(dict(total))
    return 1 if total - Counter(problems=total["problems"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
