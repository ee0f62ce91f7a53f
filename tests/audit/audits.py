"""What each registered objective is compared with: its published loss, settings, and how that is solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq

from tests.audit import programs
from tests.audit.bandits import Problem
from tests.audit.harness import Loss, against, flowed, minimized, policy, unrest
from tests.audit.published import likelihood, logged, masks, preferences, ratio, regression, systems

Array = npt.NDArray[np.float64]
Hyper = Mapping[str, Any]


@dataclass(frozen=True)
class Audit:
    """One objective.

    Attributes
    ----------
    loss : callable
        Published population loss, ``loss(logits, q, nu, r, **hyper)``.
    settings : tuple of mappings
        Hyper-parameters, temperatures from .01 to 10 among them.
    route : callable
        From the loss and the logits of the reference to those of the target.
    program : callable, optional
        ``program(q, r, **hyper)`` instead, a policy.
    optima : callable, optional
        ``optima(q, r, **hyper)``, the lines of a piecewise linear loss with many minimizers, None where it is not; with
        ``apart`` it takes ``(q, nu, r)``, and its slopes are those in pi / nu.
    kinks : callable, optional
        ``kinks(policy, q, **hyper)``, the actions on a jump of the gradient. Such a gradient is followed with jumps
        that are a little wide, which says where it goes to 1e-2; that the target rests under the published one says
        the rest.
    tolerance : float
        Largest difference in any probability.
    apart : bool
        Whether it is defined for a reference that is not the behavior.
    without : tuple of str
        Kinds of bandits that it is not compared on.
    why : str
        Reason for ``without``, and for a tolerance of more than 1e-8.
    """

    loss: Callable[..., torch.Tensor]
    settings: tuple[Hyper, ...]
    route: Callable[..., Array] = flowed
    program: Callable[..., Array] | None = None
    optima: Callable[..., Any] | None = None
    tolerance: float = 1e-8
    kinks: Callable[..., Array] | None = None
    apart: bool = False
    without: tuple[str, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        assert self.why or (not self.without and self.tolerance <= 1e-8), "say why"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of bandits to take."""
        kinds = ("generic", "tied", "two", "holes", "rare", *(("apart",) if self.apart else ()))
        return tuple(kind for kind in kinds if kind not in self.without)

    def solved(self, problem: Problem, hyper: Hyper, start: Array | None = None) -> Array:
        """Policy on the actions that the behavior takes, from the reference or another start."""
        (q, nu, r), hyper = seen(problem), on_seen(problem, hyper)
        if self.program is not None:
            return self.program(q, r, **hyper)
        soft = {}
        if self.kinks is not None:  # a small part of the band between the clips, 1e-3 for the usual one of .2
            soft["soft"] = 5e-3 * min(hyper.get(name, 0.2) for name in ("eps_low", "eps_high", "threshold"))
        return policy(self.route(against(self.loss, q, nu, r, **hyper, **soft), np.log(nu if start is None else start)))

    def unrest(self, problem: Problem, hyper: Hyper, target: Array) -> float:
        """How far the published field is from leaving ``target`` where it is."""
        (q, nu, r), hyper = seen(problem), on_seen(problem, hyper)
        kinks = self.kinks(target, q, **hyper) if self.kinks is not None else None
        return unrest(against(self.loss, q, nu, r, **hyper), target, kinks)


def seen(problem: Problem) -> tuple[Array, Array, Array]:
    """Behavior, reference and reward where the behavior has mass."""
    on = problem.q > 0.0
    nu = problem.q if problem.nu is None else problem.nu
    return problem.q[on], nu[on] / nu[on].sum(), problem.r[on]


LENGTHS = "varied"  # a setting of ``length``: another number of tokens for each action


def given(problem: Problem, hyper: Hyper) -> dict[str, Any]:
    """Settings with their lengths written out, an array over all actions."""
    lengths = np.tile([3.0, 1.0, 8.0, 2.0, 5.0], 8)[: len(problem.q)]
    return {name: lengths if value == LENGTHS else value for name, value in hyper.items()}


def on_seen(problem: Problem, hyper: Hyper) -> dict[str, Any]:
    """The same on the actions that the behavior takes."""
    full = given(problem, hyper)
    return {name: v[problem.q > 0.0] if isinstance(v, np.ndarray) else v for name, v in full.items()}


def _at(field: str = "beta", *, values: tuple[float, ...] = (0.3, 0.01, 10.0), **fixed: Any) -> tuple[Hyper, ...]:
    """One setting for each temperature."""
    return tuple({field: value, **fixed} for value in values)


def _standardized(q: Array, r: Array, eps: float) -> Array:
    return np.asarray((r - q @ r) / (np.sqrt(q @ (r - q @ r) ** 2) + eps))


def _ppo_lines(q: Array, r: Array, *, eps_low: float = 0.2, eps_high: float = 0.2) -> Any:
    return programs.clipped_lines(r - q @ r, 1.0 - eps_low, 1.0 + eps_high)


def _dapo_lines(q: Array, r: Array, *, eps_low: float, eps_high: float, eps: float) -> Any:
    return programs.clipped_lines(_standardized(q, r, eps), 1.0 - eps_low, 1.0 + eps_high)


def _greedy(q: Array, r: Array, *, sampling: str = "on_policy", **_: Any) -> Any:
    return programs.linear_lines(r) if sampling == "on_policy" else None


def _kl(estimator: str, placement: str, sampling: str, betas: tuple[float, ...] = (0.3, 0.01, 10.0)) -> Any:
    return _at(values=betas, estimator=estimator, placement=placement, sampling=sampling)


def _briefly(loss: Loss, start: Array) -> Array:
    """Flow whose log-ratios grow with log(time)/beta for ever: until the losers have no mass left."""
    return flowed(loss, start, until=1e10)


_BY_ROOTS = "what loses falls like time^(-1/3): followed until it is 1e-8"
_CONE = "a cone solver"
_FOR_EVER = "log-ratios grow with log(time)/beta for ever: compared at a time when the losers have next to no mass"


def _slowly(loss: Loss, start: Array) -> Array:
    return flowed(loss, start, rest=1e-24)


_JUMPS = "the gradient jumps: the flow with softer jumps says which fixed point, that it rests says where it is"


def _on_clips(
    target: Array, q: Array, *, eps_low: float = 0.2, eps_high: float = 0.2, length: Any = 1.0, **_: Any
) -> Array:
    ratio = (target / q) ** (1.0 / np.asarray(length))
    return np.asarray((np.abs(ratio - 1.0 + eps_low) < 1e-10) | (np.abs(ratio - 1.0 - eps_high) < 1e-10))


def _on_ratios(target: Array, q: Array, *, low: float, high: float, **_: Any) -> Array:
    ratio = target / q
    return np.asarray((np.abs(ratio - low) < 1e-10) | (np.abs(ratio - high) < 1e-10))


def _binary_kl(q: Any, pi: Any) -> Any:
    pi = np.clip(pi, 1e-300, 1.0 - 1e-16)
    return q * np.log(q / pi) + (1.0 - q) * np.log((1.0 - q) / (1.0 - pi))


def _dppo_lines(q: Array, r: Array, *, divergence: str = "tv", low: float = 0.2, high: float = 0.2) -> Any:
    """Lines with the same policies at rest, where every better action has room to reach its edge; None where not."""
    if divergence == "tv":
        least, most = np.maximum(q - low, 0.0), q + high
    else:
        least = np.array([brentq(lambda p, a=a: _binary_kl(a, p) - low, 1e-300, a, xtol=1e-15) for a in q])
        most = np.array([brentq(lambda p, a=a: _binary_kl(a, p) - high, a, 1.0 - 1e-15, xtol=1e-15) for a in q])
    gain = r - q @ r
    return programs.clipped_lines(gain, least / q, most / q) if most[gain > 0.0].sum() <= 1.0 else None


def _on_changes(target: Array, q: Array, *, divergence: str = "tv", **edges: Any) -> Array:
    """On the edge of a mask that looks at probabilities."""
    change = target - q
    if divergence == "kl":
        change = np.sign(change) * _binary_kl(q, target)
    low, high = (edges.get(side, edges.get("threshold", 0.2)) for side in ("low", "high"))
    return np.asarray((np.abs(change + low) < 1e-10) | (np.abs(change - high) < 1e-10))


def _gspo_lines(q: Array, r: Array, *, eps_low: float, eps_high: float, length: Any) -> Any:
    """Lines with the minimizers of the loss, where every action can be beyond its clip at once; None where not."""
    low, high = (1.0 - eps_low) ** length, (1.0 + eps_high) ** length
    gain = r - q @ r
    return programs.clipped_lines(gain, low, high) if (q * high)[gain > 0.0].sum() <= 1.0 else None


def _gmpo_lines(q: Array, r: Array, *, clip_low: float = 0.4, clip_high: float = 0.4) -> Any:
    return programs.clipped_lines(r - q @ r, np.exp(-clip_low), np.exp(clip_high))


def _corrected_lines(
    q: Array, nu: Array, r: Array, *, correction: str = "truncate", cap: float = 2.0, low: float = 0.0
) -> Any:
    rho = nu / q
    weight = np.minimum(rho, cap) if correction == "truncate" else np.where((rho >= low) & (rho <= cap), rho, 0.0)
    return tuple(
        (q * weight / nu * a, q * weight / nu * b)
        for a, b in programs.clipped_lines(_standardized(q, r, 1e-6), 0.8, 1.2)
    )


_CLIPS = ({"eps_low": 0.2, "eps_high": 0.2}, {"eps_low": 0.3, "eps_high": 0.9}, {"eps_low": 0.2, "eps_high": 9.0})

AUDITS: dict[str, Audit] = {
    "nominal": Audit(regression.nominal, _at()),
    "a_star_po": Audit(
        regression.a_star_po,
        (
            {"beta1": 0.5, "beta2": 0.3},
            {"beta1": 0.5, "beta2": 0.01},
            {"beta1": 0.5, "beta2": 10.0},
            {"beta1": 1.0, "beta2": 0.1, "sampling": "off_policy"},
        ),
        apart=True,
    ),
    "oapl": Audit(
        regression.oapl,
        (
            {"beta1": 1.0, "beta2": 0.3},
            {"beta1": 1.0, "beta2": 0.01},
            {"beta1": 20.0, "beta2": 10.0},
            {"beta1": 0.01, "beta2": 0.1},  # the negative regime, where the flow decides between several minima
        ),
        apart=True,
    ),
    "kimi": Audit(regression.kimi, _at(), minimized, apart=True),
    "shifted_mean": Audit(regression.shifted_mean, _at(shift=1.0), minimized, apart=True),
    "optimal_value": Audit(regression.optimal_value, _at(), minimized, apart=True),
    "constant_baseline": Audit(
        regression.constant_baseline,
        (*_at(value=-0.1), {"beta": 0.1, "value": 2.5}, {"beta": 0.5, "value": 1.1}),
        apart=True,
    ),
    "std_normalized": Audit(regression.std_normalized, _at(eps=1e-4), minimized, apart=True),
    "tba": Audit(regression.tba, _at(), apart=True),
    "rebel": Audit(regression.rebel, _at("eta", values=(3.0, 100.0, 0.1)), minimized, apart=True),
    "awr": Audit(likelihood.awr, (*_at(w_max=20.0), {"beta": 0.2, "w_max": 1.5}), minimized),
    "asym_re": Audit(likelihood.asym_re, ({"shift": -0.1}, {"shift": -0.01}, {"shift": -10.0})),
    "truncated_is": Audit(
        regression.truncated_is, (*_at(cap=1.0), {"beta": 0.1, "cap": 3.0}, {"beta": 0.1, "cap": 0.2})
    ),
    "mixed_chi2_kl": Audit(regression.mixed_chi2_kl, (*_at(gamma=1.0), {"beta": 0.1, "gamma": 0.1})),
    "copg": Audit(regression.copg, _at(), minimized, apart=True),
    "ipo": Audit(
        preferences.ipo,
        (*_at(values=(0.1, 0.01, 10.0)), {"beta": 0.2, "preference": "deterministic"}),
        minimized,
        apart=True,
    ),
    "dro": Audit(regression.dro, _at(), minimized, apart=True),
    "opmd": Audit(
        regression.opmd,
        (
            {"tau": 1.0, "kl_coef": 0.1},
            {"tau": 1.0, "kl_coef": 0.01},
            {"tau": 3.0, "kl_coef": 0.1, "opmd_baseline": "logavgexp"},
        ),
        minimized,
        apart=True,
    ),
    "dpo": Audit(preferences.dpo, _at(), minimized, apart=True),
    "async_dpo": Audit(
        preferences.async_dpo, _at(values=(0.1, 0.2)), _briefly, apart=True, tolerance=1e-6, why=_FOR_EVER
    ),
    "chi_po": Audit(preferences.chi_po, _at(r_max=1.0), minimized, apart=True),
    "qrpo": Audit(regression.qrpo, (*_at(), {"beta": 0.2, "transform": "identity"}), minimized, apart=True),
    "apa": Audit(regression.apa, _at(eps=1e-8), minimized, apart=True),
    "tpo": Audit(likelihood.tpo, _at(values=(1.0, 0.01, 10.0), min_std=1e-6), minimized),
    "reinforce": Audit(
        likelihood.reinforce,
        (
            {"value": 0.0},
            {"value": 0.3},
            {"value": 0.0, "sampling": "off_policy"},
            {"value": -0.5, "sampling": "off_policy"},
            {"value": 2.0, "sampling": "off_policy"},
        ),
        optima=_greedy,
    ),
    "rloo": Audit(likelihood.rloo, (*_at(), *_at(sampling="off_policy")), apart=True),
    "topr": Audit(likelihood.topr, ({"value": 0.0}, {"value": 0.4}, {"value": 2.0})),
    "rloo_clipped": Audit(ratio.rloo_clipped, _CLIPS, optima=_ppo_lines),
    "opo": Audit(
        likelihood.opo, ({}, {"length": LENGTHS}, {"length": LENGTHS, "sampling": "off_policy"}), optima=_greedy
    ),
    "roirl": Audit(likelihood.roirl, ({}, *_at(weight="exponential")), minimized),
    "gpg": Audit(likelihood.gpg, ({},), optima=_greedy),
    "max_rl": Audit(ratio.max_rl, _CLIPS, optima=_ppo_lines),
    "reinforce_pp": Audit(ratio.reinforce_pp, _CLIPS, optima=_ppo_lines),
    "gmpo": Audit(ratio.gmpo, ({}, {"clip_low": 0.2, "clip_high": 2.0}), optima=_gmpo_lines),
    "sapo": Audit(ratio.sapo, ({}, {"tau_pos": 0.3, "tau_neg": 4.0})),
    "vespo": Audit(likelihood.vespo, ({}, {"k_pos": 1.5, "lambda_pos": 1.0}), _slowly, tolerance=1e-6, why=_BY_ROOTS),
    "ppo_corrected": Audit(
        ratio.ppo_corrected,
        ({}, {"cap": 1.2}, {"correction": "mask", "cap": 2.0, "low": 0.5}),
        optima=_corrected_lines,
        apart=True,
    ),
    "kimi_k25": Audit(
        masks.kimi_k25,
        ({"low": 0.125, "high": 8.0, "tau": 1e-3}, {"low": 0.8, "high": 1.2, "tau": 0.05}),
        kinks=_on_ratios,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "dppo_tv": Audit(
        masks.dppo_tv,
        ({}, {"low": 0.05, "high": 0.1, "tau": 0.05}),
        kinks=_on_changes,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "prime_ipo": Audit(
        masks.prime_ipo,
        ({"threshold": 0.1, "tau": 1e-3}, {"threshold": 0.05, "tau": 0.05}),
        kinks=_on_changes,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "dppo": Audit(
        masks.dppo,
        ({}, {"divergence": "kl"}, {"low": 0.05, "high": 0.1}),
        kinks=_on_changes,
        optima=_dppo_lines,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "luspo": Audit(
        ratio.luspo,
        (
            {"eps_low": 3e-4, "eps_high": 4e-4, "length": 1.0},
            {"eps_low": 3e-4, "eps_high": 4e-4, "length": 500.0},
            {"eps_low": 0.3, "eps_high": 1.5, "length": 3.0},
            {"eps_low": 0.3, "eps_high": 0.5, "length": LENGTHS},
            {"eps_low": 0.01, "eps_high": 0.01, "length": LENGTHS},
        ),
        kinks=_on_clips,
        optima=_gspo_lines,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "ppo": Audit(ratio.ppo, _CLIPS, optima=_ppo_lines),
    "dr_grpo": Audit(ratio.dr_grpo, _CLIPS, optima=_ppo_lines),
    "dapo": Audit(ratio.dapo, ({"eps_low": 0.2, "eps_high": 0.28, "eps": 1e-6},), optima=_dapo_lines),
    "grpo": Audit(
        ratio.grpo,
        (
            *_at(values=(0.04, 0.01, 10.0)),
            *_at(values=(0.04, 10.0), unbiased_kl=True),
            {"beta": 0.04, "dual_clip": 3.0},
        ),
        kinks=_on_clips,
        tolerance=1e-2,
        why=_JUMPS,
        apart=True,
    ),
    "gspo": Audit(
        ratio.gspo,
        (
            {"eps_low": 3e-4, "eps_high": 4e-4, "length": 1.0},
            {"eps_low": 3e-4, "eps_high": 4e-4, "length": 500.0},
            {"eps_low": 0.3, "eps_high": 1.5, "length": 3.0},
            {"eps_low": 0.3, "eps_high": 0.5, "length": LENGTHS},
            {"eps_low": 0.01, "eps_high": 0.01, "length": LENGTHS},
        ),
        kinks=_on_clips,
        optima=_gspo_lines,
        tolerance=1e-2,
        why=_JUMPS,
    ),
    "cispo": Audit(
        likelihood.cispo,
        (
            {"cap": 5.0, "eps": 1e-6},
            {"cap": 1.5, "eps": 1e-6},
            {"cap": 0.3, "eps": 1e-6},
            {"cap": 1.2, "floor": 0.8, "eps": 1e-6},
        ),
    ),
    "luffy": Audit(ratio.luffy, ({}, {"expert_share": 0.9}, {"expert_share": 0.5, "gamma": 1.0})),
    "chord": Audit(ratio.chord, ({}, {"mu": 0.95}, {"mu": 0.4, "phi": False})),
    "trpo": Audit(
        ratio.trpo_surrogate, ({"delta": 0.01}, {"delta": 0.3}), program=programs.trpo, tolerance=1e-5, why=_CONE
    ),
    "kl_regularized": Audit(
        ratio.kl_regularized,
        (
            *_kl("k1", "reward", "on_policy"),
            *_kl("k3", "loss", "on_policy"),
            *_kl("k2", "loss", "on_policy"),
            *(
                hyper
                for estimator in ("k1", "k2", "k3")
                for place in ("reward", "loss")
                for hyper in _kl(estimator, place, "off_policy", (0.3,))
            ),
        ),
        apart=True,
    ),
    "ips": Audit(logged.ips, _at()),
    "weight_clipping": Audit(logged.ips, _at(cap=1.5), program=programs.weight_clipping, tolerance=1e-6, why=_CONE),
    "propensity_clipping": Audit(logged.propensity_clipping, (*_at(), *_at(values=(0.3,), tau=0.1))),
    "implicit_exploration": Audit(logged.implicit_exploration, _at(gamma=0.05)),
    "exponential_smoothing": Audit(logged.exponential_smoothing, (*_at(), *_at(values=(0.3,), alpha=0.5))),
    "log_smoothing": Audit(logged.log_smoothing, _at("lam", values=(0.1, 0.01, 10.0))),
    "log_smoothing_linear": Audit(logged.log_smoothing_linear, _at(lam=0.1)),
    "power_mean": Audit(logged.power_mean, _at("l", values=(0.1, 0.01, 0.9))),
    "chi2": Audit(logged.chi2, _at()),
    "pevi": Audit(logged.pevi, ({"n": 100.0, "delta": 0.05},)),
    "pevi_kl": Audit(logged.pevi_kl, _at(n=100.0, delta=0.05)),
    "empirical_likelihood_lcb": Audit(
        logged.empirical_likelihood_lcb,
        ({"n": 100.0, "z": 1.96}, {"n": 5.0, "z": 1.96}, {"n": 1e4, "z": 1.96}),
        without=("rare", "tied"),
        why="a set of optima that the flow drifts through with log(time): tests of its own, a convex program",
    ),
    "divergence_augmented": Audit(
        systems.divergence_augmented,
        (
            *_at(),
            *(
                {"beta": beta, "divergence": name, "normalize": False}
                for name in ("rkl", "inf", "hellinger", "entropy")
                for beta in (0.3, 10.0)
            ),
        ),
    ),
    "cql": Audit(systems.cql, _at("alpha", values=(1.0, 0.01, 10.0)), minimized),
    "cql_reference": Audit(
        systems.cql_reference,
        ({"alpha": 1.0, "beta": 1.0}, {"alpha": 0.1, "beta": 0.01}, {"alpha": 10.0, "beta": 10.0}),
        minimized,
        apart=True,
    ),
    "cql_huber": Audit(systems.cql_huber, _at("alpha", values=(1.0, 0.01, 10.0)), minimized),
    "awac": Audit(likelihood.awac, _at(), minimized),
    "brac": Audit(systems.brac, _at(), apart=True),
}
