"""Reference values of induced targets, computed with mpmath and nothing of the package.

Writes ``tables.json`` next to this file. For every case it holds the exact float64 inputs (decimal
``repr``, which round-trips) and, to 50 significant digits,

    log_policy  log pi per action, -inf where pi = 0
    kappa       curvature in log w + kappa w = A / beta (of the actions with w > cap for truncated_is),
                null where the objective has none
    baseline    V, null where the target does not depend on it
    log_z       log E_mu exp(A / beta), null where the baseline is
    leak        mass that leaves the seen actions (only with ``unseen``)

The behavior policy is mu / sum(mu) in exact arithmetic, so inputs that sum to one only up to rounding
are fine. Working precision is at least 120 digits and grows with 1 / min(mu) and |log10 beta|, because
kappa can be as small as min(mu) (r / beta)^2. Each case is then checked twice, and the script raises
if a check fails: solved again with 50 digits more, all outputs must agree to 1e-52; and the optimality
conditions, evaluated from the policy alone and not by the solver's route, must hold to 1e-40.

Run ``python tests/reference/make_tables.py`` (about a minute) to rewrite the tables, or with ``--check``
to compare with the stored file. A rerun is byte-equal: inputs come from a seeded generator with a
guaranteed stream, rounded wherever a C math library is involved.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

from mpmath import mp, mpf

TABLES = Path(__file__).with_name("tables.json")
DIGITS = 50

Vector = list[mpf]


@dataclass(frozen=True)
class Case:
    """One objective on one problem."""

    problem: str
    objective: str
    hyper: Mapping[str, float]
    unseen: bool = False

    @property
    def name(self) -> str:
        values = ",".join(f"{k}={v!r}" for k, v in self.hyper.items())
        return f"{self.objective}({values})-{self.problem}" + ("-unseen" if self.unseen else "")


@dataclass(frozen=True)
class Problem:
    """Behavior and reward on the actions that the behavior can take."""

    mu: Sequence[float]
    reward: Sequence[float]
    support: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "support", [i for i, m in enumerate(self.mu) if m > 0])

    def exact(self) -> tuple[Vector, Vector]:
        """Normalized behavior and reward on the support, at the current precision."""
        total = sum(map(Fraction, self.mu), Fraction(0))
        return [ratio(Fraction(self.mu[i]) / total) for i in self.support], [mpf(self.reward[i]) for i in self.support]

    def mean(self) -> mpf:
        """E_mu[r], rounded once: equal rewards give advantages that are exactly zero."""
        total = sum(map(Fraction, self.mu), Fraction(0))
        terms = (Fraction(m) * Fraction(r) for m, r in zip(self.mu, self.reward, strict=True))
        return ratio(sum(terms, Fraction(0)) / total)


@dataclass(frozen=True)
class Solution:
    """Target on the support: log pi, and the scalars of the objective."""

    log_policy: Vector
    kappa: mpf | None = None
    baseline: mpf | None = None
    log_z: mpf | None = None
    advantage: Vector | None = None  # A over the temperature
    leak: mpf = field(default_factory=mpf)

    def outputs(self) -> Vector:
        scalars = [self.kappa, self.baseline, self.log_z, self.leak]
        return self.log_policy + [x for x in scalars if x is not None]


def ratio(x: Fraction) -> mpf:
    return mpf(x.numerator) / x.denominator


def dot(x: Vector, y: Vector) -> mpf:
    return mp.fsum(a * b for a, b in zip(x, y, strict=True))


def log_mean_exp(m: Vector, x: Vector) -> mpf:
    return mp.log(dot(m, [mp.exp(v) for v in x]))


# --------------------------------------------------------------------------------------- scalar solvers


def decreasing_root(f: Callable[[mpf], tuple[mpf, mpf]], lo: mpf, hi: mpf) -> mpf:
    """Root of a decreasing f (value, slope) in [lo, hi]: Newton, bisection where Newton does not pay."""
    x, previous = lo, mp.inf
    for _ in range(5000):
        value, slope = f(x)
        if value > 0:
            lo = x
        else:
            hi = x
        guess = x - value / slope
        if abs(value) > previous / 2 or not lo <= guess <= hi:
            guess = (lo + hi) / 2
        if abs(guess - x) <= mpf(10) ** -75 * max(1, abs(x)):
            return guess
        x, previous = guess, abs(value)
    raise ArithmeticError("no convergence")


def log_omega(z: mpf) -> mpf:
    """t with t + exp(t) = z, by Newton from the right (monotone: the function is convex)."""
    t = z if z < 1 else mp.log(z)
    for _ in range(200):
        e = mp.exp(t)
        step = (t + e - z) / (1 + e)
        t -= step
        if abs(step) <= mpf(10) ** (-mp.dps // 2 - 5) * min(1, 1 / (1 + e)):
            return t
    raise ArithmeticError("no convergence")


def tempered(m: Vector, a: Vector, log_ratio: Callable[[mpf, mpf], tuple[mpf, mpf]], lo: mpf) -> tuple[mpf, Vector]:
    """(kappa, u) with E_mu[exp u] = 1, log_ratio(log kappa, a) = (u, du / dlog kappa), lo <= kappa <= max a.

    The upper end holds for every penalty that is at least kappa where w >= 1, since max w >= 1.
    """
    if min(a) == max(a):
        return a[0], [mpf(0)] * len(a)

    def dual(log_kappa: mpf) -> tuple[mpf, mpf]:
        pairs = [log_ratio(log_kappa, x) for x in a]
        pi = [q * mp.exp(u) for q, (u, _) in zip(m, pairs, strict=True)]
        return mp.log(mp.fsum(pi)), dot(pi, [d for _, d in pairs]) / mp.fsum(pi)

    log_kappa = decreasing_root(dual, mp.log(lo), mp.log(max(a)))
    return mp.exp(log_kappa), [log_ratio(log_kappa, x)[0] for x in a]


def lambert(m: Vector, a: Vector) -> tuple[mpf, Vector]:
    """log w + kappa w = a."""

    def log_ratio(log_kappa: mpf, x: mpf) -> tuple[mpf, mpf]:
        t = log_omega(log_kappa + x)
        return t - log_kappa, -mp.exp(t) / (1 + mp.exp(t))

    # log E[w] is convex in kappa, so its tangent at kappa = 0 meets zero to the left of the root.
    w = [mp.exp(x) for x in a]
    z = dot(m, w)
    return tempered(m, a, log_ratio, mp.log(z) * z / dot(m, [x * x for x in w]))


def truncated(m: Vector, a: Vector, cap: mpf) -> tuple[mpf, Vector]:
    """log w + kappa max(1, w / cap) = a."""
    log_cap = mp.log(cap)

    def log_ratio(log_kappa: mpf, x: mpf) -> tuple[mpf, mpf]:
        kappa = mp.exp(log_kappa)
        if x - kappa <= log_cap:
            return x - kappa, -kappa
        t = log_omega(log_kappa - log_cap + x)
        return t - log_kappa + log_cap, -mp.exp(t) / (1 + mp.exp(t))

    # w <= 1 / min(mu) bounds the penalty, hence E[w] from below.
    return tempered(m, a, log_ratio, log_mean_exp(m, a) * min(1, cap * min(m)))


def fixed_kappa(m: Vector, x: Vector, kappa: mpf) -> Vector:
    """log w + kappa w = x - c with c normalizing."""
    log_kappa = mp.log(kappa)

    def dual(c: mpf) -> tuple[mpf, mpf]:
        t = [log_omega(log_kappa + v - c) for v in x]
        pi = [q * mp.exp(s - log_kappa) for q, s in zip(m, t, strict=True)]
        return mp.log(mp.fsum(pi)), -mp.fsum(p / (1 + mp.exp(s)) for p, s in zip(pi, t, strict=True)) / mp.fsum(pi)

    c = min(x) - kappa if min(x) == max(x) else decreasing_root(dual, min(x) - kappa, max(x) - kappa)
    return [log_omega(log_kappa + v - c) - log_kappa for v in x]


def water_filling(x: Vector, total: mpf) -> tuple[mpf, Vector]:
    """(c, log pi) with pi = (x - c)_+ / total summing to one, c >= 0."""
    order = sorted(x, reverse=True)
    alive = max(n for n in range(1, len(x) + 1) if order[n - 1] >= (mp.fsum(order[:n]) - total) / n)
    # Computed from the other end: exactly zero when nothing is negative.
    c = -mp.fsum(order[alive:]) / alive
    if any(v != c and abs(v - c) < mpf("1e-9") * max(abs(v), c) for v in x):
        raise ArithmeticError("an action sits on the edge of the support; float64 could not tell")
    return c, [mp.log((v - c) / total) if v > c else -mp.inf for v in x]


# ------------------------------------------------------------------------------------------- objectives


def optimal_value(m: Vector, r: Vector, beta: mpf) -> mpf:
    return r[0] if min(r) == max(r) else beta * log_mean_exp(m, [x / beta for x in r])


def solve(problem: Problem, case: Case) -> Solution:
    """Target of the case at the current precision."""
    m, r = problem.exact()
    log_m = [mp.log(q) for q in m]
    h = {k: mpf(v) for k, v in case.hyper.items()}
    beta = h.get("beta2", h.get("beta", mpf(1)))
    mean, name = problem.mean(), case.objective

    def result(u: Vector, **scalars: Any) -> Solution:
        log_policy = [q + x for q, x in zip(log_m, u, strict=True)]
        return Solution(log_policy if "leak" in scalars else close_to_one(log_policy), **scalars)

    if name in ("nominal", "tba"):
        scaled = [x / beta for x in r]
        log_z = log_mean_exp(m, scaled)
        return result([x - log_z for x in scaled], kappa=mpf(0))
    if name == "mixed_chi2_kl":
        return result(fixed_kappa(m, [x / beta for x in r], h["gamma"]), kappa=h["gamma"])
    if name == "asym_re":
        advantage = [x - mean - h["shift"] for x in r]
        _, log_policy = water_filling([q * x for q, x in zip(m, advantage, strict=True)], -h["shift"])
        return Solution(close_to_one(log_policy), baseline=mean + h["shift"], advantage=advantage)

    baselines: dict[str, Callable[[], mpf]] = {
        "shifted_mean": lambda: mean - h["shift"] * beta,
        "oapl": lambda: optimal_value(m, r, h["beta1"]),
        "optimal_value": lambda: optimal_value(m, r, beta),
        "constant_baseline": lambda: h["value"],
    }
    v = baselines.get(name, lambda: mean)()
    scale = beta
    if name == "std_normalized":
        scale *= mp.sqrt(dot(m, [(x - mean) ** 2 for x in r])) + h["eps"]
    a = [(x - v) / scale for x in r]
    log_z = mpf(0) if name == "optimal_value" or not any(a) else log_mean_exp(m, a)
    known: dict[str, Any] = {"baseline": v, "log_z": log_z, "advantage": a}

    if name == "awr":
        weight = [min(x, mp.log(h["w_max"])) for x in a]
        log_total = log_mean_exp(m, weight)
        return result([x - log_total for x in weight], **known)
    if name == "optimal_value":
        return result(a, kappa=mpf(0), **known)
    if log_z < 0:
        if not case.unseen:
            raise ValueError(f"{case.name}: the negative regime needs unseen=True here")
        return result(a, kappa=mpf(0), leak=-mp.expm1(log_z), **known)
    kappa, u = truncated(m, a, h["cap"]) if name == "truncated_is" else lambert(m, a)
    return result(u, kappa=kappa / h.get("cap", 1), **known)


def close_to_one(log_policy: Vector) -> Vector:
    """Log-probability of a dominant action from the others: near zero it would have no digits left."""
    top = max(range(len(log_policy)), key=log_policy.__getitem__)
    if log_policy[top] < -0.5:
        return log_policy
    rest = mp.fsum(mp.exp(x) for i, x in enumerate(log_policy) if i != top)
    return [mp.log1p(-rest) if i == top else x for i, x in enumerate(log_policy)]


# ----------------------------------------------------------------------------------------------- checks


def spread(x: Vector) -> mpf:
    return max(x) - min(x)


def residuals(problem: Problem, case: Case, s: Solution) -> Iterator[mpf]:
    """Optimality conditions written for the policy alone; all are zero at the target."""
    m, r = problem.exact()
    h = {k: mpf(v) for k, v in case.hyper.items()}
    beta = h.get("beta2", h.get("beta", mpf(1)))
    pi = [mp.exp(x) for x in s.log_policy]
    yield mp.fsum(pi) + s.leak - 1

    if case.objective == "asym_re":  # m A - E[A] pi = c where pi > 0, m A <= c elsewhere
        assert s.advantage is not None
        flow = [q * x + h["shift"] * p for q, x, p in zip(m, s.advantage, pi, strict=True)]
        alive = [x for x, p in zip(flow, pi, strict=True) if p > 0]
        yield spread(alive)
        yield max([mpf(0), *(x - alive[0] for x, p in zip(flow, pi, strict=True) if p == 0)])
        yield dot(m, s.advantage) + h["shift"]
        return

    w = [p / q for p, q in zip(pi, m, strict=True)]
    u = [mp.log(x) for x in w]
    if case.objective in ("nominal", "tba", "optimal_value"):
        yield spread([x - y / beta for x, y in zip(u, r, strict=True)])
        return
    if case.objective == "mixed_chi2_kl":
        yield spread([x + h["gamma"] * y - z / beta for x, y, z in zip(u, w, r, strict=True)])
        return
    assert s.advantage is not None
    if case.objective == "awr":
        yield spread([x - min(y, mp.log(h["w_max"])) for x, y in zip(u, s.advantage, strict=True)])
        return
    assert s.kappa is not None
    cap = h.get("cap", mpf(1))
    kept = [min(y / cap, 1) for y in w] if case.objective == "truncated_is" else [mpf(1)] * len(w)
    yield from (c * (a - x) - s.kappa * y for c, a, x, y in zip(kept, s.advantage, u, w, strict=True))
    if s.log_z is not None and s.log_z > 0 and case.objective != "truncated_is":
        # kappa = E[A] / beta + KL(mu || pi): knows nothing of the dual equation.
        yield (dot(m, s.advantage) - dot(m, u)) / s.kappa - 1
        if len(m) <= 8:  # and mpmath's own Lambert W
            for a, y in zip(s.advantage, w, strict=True):
                yield mp.lambertw(s.kappa * mp.exp(a)) / (s.kappa * y) - 1


def solve_checked(problem: Problem, case: Case) -> Solution:
    """Solve at a sufficient precision, then check at a higher one; raise on disagreement."""
    temperature = case.hyper.get("beta2", case.hyper.get("beta", 1.0))
    rare = -math.log10(min(m for m in problem.mu if m > 0))
    digits = 120 + math.ceil(rare) + 2 * math.ceil(abs(math.log10(temperature)))
    with mp.workdps(digits):
        solution = solve(problem, case)
    with mp.workdps(digits + 50):
        for x, y in zip(solution.outputs(), solve(problem, case).outputs(), strict=True):
            if x != y and not abs(x - y) <= mpf("1e-52") * abs(y):
                raise ArithmeticError(f"{case.name}: {mp.nstr(x, 60)} became {mp.nstr(y, 60)} at higher precision")
        for residual in residuals(problem, case, solution):
            if not abs(residual) < mpf("1e-40"):
                raise ArithmeticError(f"{case.name}: residual {mp.nstr(residual, 5)}")
    return solution


# ------------------------------------------------------------------------------------ problems and cases


def problems() -> dict[str, Problem]:
    """Named (mu, reward) pairs."""
    random = Random(2605_28150)
    normal_law = NormalDist()

    def uniform(k: int) -> list[float]:
        return [random.random() for _ in range(k)]

    def normal(k: int) -> list[float]:
        return [round(normal_law.inv_cdf(random.random()), 12) for _ in range(k)]

    def dirichlet(k: int, power: int = 1) -> list[float]:
        x = [round(-math.log(1 - random.random()), 9) ** power + 1e-9 for _ in range(k)]
        return [v / math.fsum(x) for v in x]

    def spanning(k: int) -> list[float]:
        """Masses 1, ..., 1e-300; the heaviest action is not the first."""
        x = [float(f"{1 + random.random():.3f}e-{300 * j // (k - 1)}") for j in range(k)]
        random.shuffle(x)
        return [v / math.fsum(x) for v in x]

    def with_zeros(k: int) -> list[float]:
        x = [v if i % 3 else 0.0 for i, v in enumerate(dirichlet(k))]
        return [v / math.fsum(x) for v in x]

    def one_hot(k: int) -> list[float]:
        return [float(i == k // 2) for i in range(k)]

    def binary(k: int) -> list[float]:
        return [float(random.random() < 0.3) for _ in range(k)]

    def ties(k: int) -> list[float]:
        return [random.choice([-0.3, 0.1, 0.7]) for _ in range(k)]

    out = {
        "k1": Problem([1.0], [0.7]),
        "k2_uniform": Problem([0.5, 0.5], uniform(2)),
        "k3_uniform": Problem([1 / 3] * 3, uniform(3)),
        "k3_one_hot": Problem(one_hot(3), uniform(3)),
        "k3_zero": Problem([0.3, 0.0, 0.7], normal(3)),
        # A dead action's reward must not even enter the scale of the arithmetic.
        "k3_dead_jackpot": Problem([0.25, 0.0, 0.75], [0.2, 1e6, 0.9]),
        "k3_1e-300": Problem([1.0, 1e-300, 1e-300], [0.1, 0.9, 0.4]),
        # Bulk at one reward and a rare, better action: kappa is small where a ratio is large.
        "k3_rare_winner": Problem([0.4, 0.6, 1e-12], [0.3, 0.3, 1.0]),
        "k8_uniform": Problem([1 / 8] * 8, uniform(8)),
        "k8_dirichlet": Problem(dirichlet(8), normal(8)),
        "k8_peaked": Problem(dirichlet(8, 4), uniform(8)),
        "k8_spanning": Problem(spanning(8), uniform(8)),
        "k8_zeros": Problem(with_zeros(8), normal(8)),
        "k8_one_hot": Problem(one_hot(8), normal(8)),
        "k8_ties": Problem(dirichlet(8), ties(8)),
        "k8_equal": Problem(dirichlet(8), [0.1] * 8),
        "k8_offset": Problem(dirichlet(8), [1e6 + x for x in uniform(8)]),
        "k64_uniform": Problem([1 / 64] * 64, normal(64)),
        "k64_dirichlet": Problem(dirichlet(64), uniform(64)),
        "k64_spanning": Problem(spanning(64), normal(64)),
        "k64_binary": Problem(with_zeros(64), binary(64)),
        "k64_equal": Problem([1 / 64] * 64, [1.0] * 64),
        "k512_dirichlet": Problem(dirichlet(512), uniform(512)),
        "k512_zeros": Problem(with_zeros(512), ties(512)),
    }
    for text in ("1e-12", "1e-9", "1e-6", "1e-3", "0.1", "0.5", "0.9"):
        out[f"pass_{text}"] = Problem([float(text), 1 - float(text)], [1.0, 0.0])
    for text in ("1e-3", "1e-6", "1e-9", "1e-12"):
        out[f"pass_1-{text}"] = Problem([1 - float(text), float(text)], [1.0, 0.0])
    return out


def just_below_optimum(problem: Problem, beta: float, steps: int) -> float:
    """A float64 between ``steps`` and ``steps`` + 1 roundings below V*_beta."""
    with mp.workdps(400):
        exact = optimal_value(*problem.exact(), mpf(beta))
        value = float(exact)
        return value - math.ulp(value) * (steps + int(mpf(value) >= exact))


def grid(names: Sequence[str], objective: str, keys: str, *rows: Sequence[float], unseen: bool = False) -> list[Case]:
    """The objective on every named problem with every row of hyper-parameters."""
    return [Case(name, objective, dict(zip(keys.split(), row, strict=True)), unseen) for name in names for row in rows]


def cases(known: Mapping[str, Problem]) -> Iterator[Case]:
    """All cases of the tables."""
    decades = [float(f"1e{k}") for k in range(-6, 7)]
    swept = ["k3_uniform", "k8_dirichlet", "k8_spanning"]
    passes = [name for name in known if name.startswith("pass_")]
    small = [name for name in known if name.startswith(("k1", "k2", "k3", "k8")) and name not in swept]
    medium = [name for name in known if name.startswith("k64")]
    pool = ["k3_zero", "k8_uniform", "k8_dirichlet", "k8_peaked", "k8_spanning", "k8_ties", "k3_rare_winner"]
    pool += ["pass_1e-12", "pass_1e-6", "pass_0.5"]

    yield from grid(swept, "kimi", "beta", *((b,) for b in decades))
    yield from grid(swept, "shifted_mean", "beta shift", *((b, 1.0) for b in decades))
    yield from grid(small, "kimi", "beta", (1e-6,), (1e-3,), (0.1,), (1.0,), (1e3,))
    yield from grid(small, "shifted_mean", "beta shift", (1e-3, 0.5), (1.0, 0.5))
    # At 0.07, exp(1 / beta) is about 1e6 = (rarest pass rate)^(-1/2): where an error in kappa is amplified most.
    yield from grid(passes, "kimi", "beta", (1e-6,), (1e-3,), (0.01,), (0.07,), (0.1,), (1.0,), (100.0,))
    yield from grid(medium, "kimi", "beta", (1e-6,), (0.01,), (1.0,), (1e6,))
    yield from grid([*passes, *medium], "shifted_mean", "beta shift", (0.1, 1.0))
    extremes = ["k8_dirichlet", "k8_spanning", "pass_1e-12", "pass_1-1e-12"]  # large kappa, tiny kappa
    yield from grid(extremes, "shifted_mean", "beta shift", (1e-6, 1e3), (0.1, 1e3), (1e6, 1e3), (0.1, 1e-9))

    yield from grid([*pool, "k8_equal", "k64_dirichlet"], "oapl", "beta1 beta2", (1.0, 1e-3), (1.0, 0.1), (1e6, 1.0))
    for name in ("k8_uniform", "k8_dirichlet", "k64_dirichlet"):  # nearly on the boundary
        near = [(b * (1 + 1e-6), b) for b in (1e-3, 0.1, 1.0, 1e3, 1e6)]
        yield from grid([name], "oapl", "beta1 beta2", *near)
        for beta, steps in [(0.01, 0), (0.1, 4), (1.0, 0), (1.0, 1000), (1e3, 0)]:
            value = just_below_optimum(known[name], beta, steps)
            yield from grid([name], "constant_baseline", "beta value", (beta, value))
    yield from grid([*pool, "k3_one_hot"], "constant_baseline", "beta value", (0.3, -2.0))
    yield from grid([*pool, "k3_one_hot"], "optimal_value", "beta", (1e-6,), (0.1,), (1e6,))
    yield from grid([*pool, "k3_one_hot"], "std_normalized", "beta eps", (1e-3, 1e-6), (1.0, 1e-6), (100.0, 1e-6))
    yield from grid(["k1", "k8_equal", "k64_equal"], "std_normalized", "beta eps", (1.0, 1e-4))
    yield from grid(["k1", "k8_equal", "k64_equal"], "optimal_value", "beta", (1e-3,))
    yield from grid(pool, "mixed_chi2_kl", "beta gamma", (0.1, 1.0), (1e-4, 1e-3), (10.0, 50.0))
    yield from grid(pool, "truncated_is", "beta cap", (0.1, 1.5), (0.01, 0.1), (1.0, 1e3), (1e-4, 5.0))
    yield from grid(pool, "nominal", "beta", (1e-6,), (0.1,), (1e6,))
    yield from grid(pool, "tba", "beta", (1e-3,), (1.0,))
    yield from grid(pool, "awr", "beta w_max", (0.1, 20.0), (1e-3, 20.0), (1.0, 1.2))
    yield from grid(pool, "asym_re", "shift", (-0.1,), (-0.7,), (-3.0,))

    yield from grid(["k512_dirichlet"], "kimi", "beta", (1e-3,))
    yield from grid(["k512_zeros"], "kimi", "beta", (0.1,))
    yield from grid(["k512_dirichlet"], "shifted_mean", "beta shift", (10.0, 1.0))
    yield from grid(["k512_dirichlet"], "oapl", "beta1 beta2", (1.0, 1e-3))

    leaky = ["k8_uniform", "k8_zeros", "k8_spanning", "pass_1e-6", "k64_dirichlet"]
    yield from grid(leaky, "oapl", "beta1 beta2", (0.5, 1.0), (1e-3, 0.1), unseen=True)
    yield from grid(leaky, "constant_baseline", "beta value", (0.05, 2.5), unseen=True)
    yield from grid(leaky, "shifted_mean", "beta shift", (0.1, 1.0), unseen=True)  # positive: nothing leaks


# ------------------------------------------------------------------------------------------------ tables


def text(x: mpf | None) -> str | None:
    return None if x is None else mp.nstr(x, DIGITS)


def record(problem: Problem, case: Case) -> dict[str, object]:
    """One line of the table: the case and its values as decimal strings."""
    solution = solve_checked(problem, case)
    log_policy = ["-inf"] * len(problem.mu)
    for i, x in zip(problem.support, solution.log_policy, strict=True):
        log_policy[i] = mp.nstr(x, DIGITS)
    return {
        "id": case.name,
        "problem": case.problem,
        "objective": case.objective,
        "hyper": dict(case.hyper),
        "unseen": case.unseen,
        "kappa": text(solution.kappa),
        "baseline": text(solution.baseline),
        "log_z": text(solution.log_z),
        "leak": text(solution.leak),
        "log_policy": log_policy,
    }


def tables() -> str:
    """The whole file: JSON with one problem and one case per line."""
    known = problems()
    todo = list(cases(known))
    if len({case.name for case in todo}) != len(todo):
        raise ValueError("two cases share a name")
    lines = []
    for n, case in enumerate(todo, 1):
        lines.append(json.dumps(record(known[case.problem], case)))
        if sys.stderr.isatty():
            print(f"\r{n}/{len(todo)}", end="", file=sys.stderr)
    used = {case.problem for case in todo}
    inputs = [
        f"{json.dumps(name)}: {json.dumps({'mu': list(p.mu), 'reward': list(p.reward)})}"
        for name, p in known.items()
        if name in used
    ]
    return '{"problems": {\n' + ",\n".join(inputs) + '\n},\n"cases": [\n' + ",\n".join(lines) + "\n]}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write tests/reference/tables.json.")
    parser.add_argument("--check", action="store_true", help="compare with the stored file, write nothing")
    if not parser.parse_args().check:
        TABLES.write_text(tables(), encoding="utf-8")
        return 0
    same = TABLES.read_text(encoding="utf-8") == tables()
    print("tables.json is up to date" if same else "tables.json differs from what this script computes")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
