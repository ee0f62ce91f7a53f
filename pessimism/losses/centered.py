"""Objectives that center the log-ratio like the reward: lam = 0 by construction, so they induce the nominal target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from array_api_compat import array_namespace, device

from pessimism.arrays import Array, chunks
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline, Objective, centered, partners, propensities, stop_gradient
from pessimism.core.validation import check_amount

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


PREFERENCES = ("bradley_terry", "deterministic")
Preference = Literal["bradley_terry", "deterministic"]
_PAIRED = 2**14  # actions whose pairs are written out: 2 GB in float64


@dataclass(frozen=True)
class TBA(MeanBaseline):
    """Trajectory balance with asynchrony (TBA), with the VarGrad estimate of log Z.

    The loss of a sample is ``(u - r/beta + sg[mean(r/beta - u)])^2``: log Z is estimated by the group mean of
    r/beta - u, which is not differentiated. It induces the nominal target, mu exp(r/beta)/Z, for any behavior with full
    support. The published reference is the initial policy.

    Parameters
    ----------
    beta : float or array_like, default 0.005
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is the one of TBA
        (PRIME-RL) on MATH.

    References
    ----------
    .. [1] arXiv 2503.18929.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], TBA(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "tba"
    title: ClassVar[str] = "Trajectory Balance with Asynchrony (VarGrad)"
    short: ClassVar[str] = "TBA"
    paper: ClassVar[str] = "2503.18929"
    formula: ClassVar[str] = "(u - r/beta + sg[mean(r/beta - u)])^2"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z, for any behavior with full support"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 0.005

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 (A/beta - u - mean(A/beta - u))."""
        return 2.0 * deviation(advantage / self.beta - log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: (u - A/beta + log Z)^2 with log Z the group's mean of A/beta - u, not differentiated."""
        residual = log_ratio - advantage / self.beta
        log_z = residual - centered(residual, weights)
        return (residual - stop_gradient(log_z)) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class REBEL(MeanBaseline):
    """REBEL: regression of differences of log-ratios on differences of rewards.

    The loss of a pair of samples is ``((u_i - u_j)/eta - (r_i - r_j))^2``. The loss of one member of a group is the
    mean over its partners. A population counts the pairs of a sample with itself, a sampled group does not; they add
    nothing. It induces the nominal target at beta = 1/eta, mu exp(eta r)/Z.

    Parameters
    ----------
    eta : float, default 1.0
        Inverse temperature, per unit of the reward; > 0.

    References
    ----------
    .. [1] arXiv 2404.16767.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], REBEL(eta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "rebel"
    title: ClassVar[str] = "REBEL"
    paper: ClassVar[str] = "2404.16767"
    formula: ClassVar[str] = "mean over pairs ((u_i - u_j)/eta - (r_i - r_j))^2"
    induces: ClassVar[str] = "nominal at beta = 1/eta, mu exp(eta r)/Z"
    temperature_field: ClassVar[str | None] = None  # 1/eta, see temperature
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True

    eta: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("eta")

    @property
    def temperature(self) -> float:
        """Temperature 1/eta."""
        return 1.0 / self.eta

    def at_temperature(self, beta: float) -> Self:
        """The same objective with eta = 1/beta."""
        return replace(self, eta=1.0 / beta)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = -4/eta (d - mean d) with d = u/eta - A, times G/(G - 1) in a sampled group."""
        gap = deviation(log_ratio / self.eta - advantage, weights)
        return -4.0 / self.eta * partners(log_ratio.shape[-1], weights) * gap

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners j of (d_i - d_j)^2 = (d_i - mean d)^2 + var d, times G/(G - 1) in a sampled group."""
        gap = deviation(log_ratio / self.eta - advantage, weights)
        spread = gap * gap - centered(gap * gap, weights)  # the variance, once per member
        return partners(log_ratio.shape[-1], weights) * (gap * gap + spread)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target at 1/eta."""
        return tilts.nominal(bandit, advantage, self.temperature)


def gaps(x: Array) -> Array:
    """Differences x_i - x_j of the entries of a group, of shape ``(..., K, K)``."""
    check_amount("actions of a loss on pairs of them", x.shape[-1], _PAIRED)
    return x[..., :, None] - x[..., None, :]


def mean_over_partners(pairs: Array, weights: Array | None) -> Array:
    """Mean ``(..., K)`` over the partners j of ``pairs`` ``(..., K, K)``; in a sampled group over all j but i."""
    xp = array_namespace(pairs)
    if weights is not None:
        return xp.sum(pairs * weights[..., None, :], axis=-1)
    width = pairs.shape[-1]
    others = 1.0 - xp.eye(width, dtype=pairs.dtype, device=device(pairs))
    return xp.sum(pairs * others, axis=-1) / max(width - 1, 1)


def sigmoid(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1.0 + array_namespace(x).tanh(0.5 * x))


def preferred(gap: Array, preference: Preference) -> Array:
    """Probability that the first of two is labeled the winner, by the difference of rewards; ties count one half."""
    if preference == "bradley_terry":
        return sigmoid(gap)
    return 0.5 * (1.0 + array_namespace(gap).sign(gap))


def cross_entropy(win: Array, logit: Array) -> Array:
    """Cross-entropy -win log sigmoid(logit) - (1 - win) log sigmoid(-logit)."""
    xp = array_namespace(logit)
    return xp.logaddexp(logit, xp.zeros_like(logit)) - win * logit


def centered_gap(log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
    """A - u minus its mean over the other members, or over the population.

    It is 0 to the last digit where A - u is constant.
    """
    return partners(log_ratio.shape[-1], weights) * deviation(advantage - log_ratio, weights)


def deviation(values: Array, weights: Array | None) -> Array:
    """Values minus their mean, to the last digit where they are a large constant, which leaves its rounding once."""
    return centered(centered(values, weights), weights)


def contrast(log_ratio: Array, advantage: Array, beta: float, weights: Array | None) -> Array:
    """Mean over the partners of each member of -(A_i - A_j)(u_i - u_j) + beta/2 (u_i - u_j)^2, ``(..., K)``."""
    a, u = centered(advantage, weights), centered(log_ratio, weights)
    own = 0.5 * beta * u * u - a * u
    everybody = own - centered(own, weights)  # the group's mean, once per member
    return partners(log_ratio.shape[-1], weights) * (own + everybody)


@dataclass(frozen=True)
class CoPG(MeanBaseline):
    """Contrastive policy gradient (CoPG): each sample of a pair is the baseline of the other.

    The loss of a pair of samples is ``-(r_i - r_j)(u_i - u_j) + beta/2 (u_i - u_j)^2``. Up to a constant that is the
    square (dr - beta du)^2 / (2 beta), du and dr the two differences. Only differences enter, so that lam = 0: it
    induces the nominal target, mu exp(r/beta)/Z, for any behavior with full support, on-policy or not.

    Parameters
    ----------
    beta : float or array_like, default 0.06
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default was the best of the
        paper's sweep on TL;DR.

    Notes
    -----
    The reward inside the expectation carries half the temperature, r - (beta/2) u, the gradient the whole one. The
    published reference is the initial policy, and u is summed over tokens. A group of k samples counts as all its
    pairs, divided by k - 1.

    References
    ----------
    .. [1] arXiv 2406.19185.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], CoPG(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "copg"
    title: ClassVar[str] = "Contrastive policy gradient"
    short: ClassVar[str] = "CoPG"
    paper: ClassVar[str] = "2406.19185"
    formula: ClassVar[str] = "mean over pairs -(r_i - r_j)(u_i - u_j) + beta/2 (u_i - u_j)^2"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z, for any behavior with full support"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 0.06

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 (A - beta u - mean(A - beta u)), times G/(G - 1) in a sampled group."""
        return 2.0 * centered_gap(self.beta * log_ratio, advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners of -(A_i - A_j)(u_i - u_j) + beta/2 (u_i - u_j)^2."""
        return contrast(log_ratio, advantage, self.beta, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class IPO(Objective):
    r"""Identity preference optimization (IPO): a squared loss on labeled pairs.

    The loss of a pair of winner and loser is ``(u_w - u_l - 1/(2 beta))^2``. Averaged over the labels of pairs of the
    behavior, it regresses differences of u on differences of win probabilities: the advantage is
    A = P(a beats a sample of the behavior) - 1/2. It induces the target that is nominal in *that* advantage,
    :math:`\nu \exp(P(a \succ \mu)/\beta)/Z`, which stays finite for deterministic labels.

    Parameters
    ----------
    beta : float, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is the paper's tau, and the
        advantage is a probability, not a reward. The default is TRL's; the paper has none for language models.
    preference : {"bradley_terry", "deterministic"}, default "bradley_terry"
        Labels of pairs: drawn by the difference of rewards (``"bradley_terry"``), or the better one always wins
        (``"deterministic"``).

    Notes
    -----
    With deterministic labels P is the quantile of the reward (ties count one half); with ``"bradley_terry"`` it is
    E_mu[sigmoid(r - r')], the labels that the reward itself gives. Here u is summed over tokens (as in async_rlhf); TRL
    divides it by the length of the completion, which has another target.

    References
    ----------
    .. [1] arXiv 2310.12036.

    Examples
    --------
    >>> import pessimism as ps
    >>> sure = ps.induced_target([0.5, 0.5], [0.0, 1.0], IPO(beta=0.5, preference="deterministic"))
    >>> sure.advantage, sure.policy.round(4)
    (array([-0.25,  0.25]), array([0.2689, 0.7311]))
    """

    name: ClassVar[str] = "ipo"
    title: ClassVar[str] = "Identity preference optimization"
    short: ClassVar[str] = "IPO"
    paper: ClassVar[str] = "2310.12036"
    formula: ClassVar[str] = "mean over labeled pairs (u_w - u_l - 1/(2 beta))^2"
    induces: ClassVar[str] = "nominal in win probabilities, mu exp(P(a beats mu)/beta)/Z"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    subtracts: ClassVar[str] = "none: A = P(a beats mu) - 1/2"
    no_advantage_because: ClassVar[str] = "it counts how often one reward beats another"

    beta: float = 0.1
    preference: Preference = "bradley_terry"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("preference", PREFERENCES)

    def baseline(self, reward: Array, weights: Array | None = None) -> Array:
        """Always nan: there is no baseline in units of the reward."""
        xp = array_namespace(reward)
        return xp.full_like(reward[..., 0], xp.nan)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Probability of winning against a member of the group, itself counted as a tie, minus one half."""
        xp = array_namespace(reward)
        reward, shares = xp.broadcast_arrays(reward, propensities(reward, weights))
        rows, shares = (xp.reshape(a, (-1, a.shape[-1])) for a in (reward, shares))
        found = [
            xp.sum(self._excess(rows[part, :]) * shares[part, None, :], axis=-1)
            for part in chunks(rows.shape[0], rows.shape[1] ** 2)
        ]
        return xp.reshape(xp.concat(found, axis=0), reward.shape) if found else xp.zeros_like(reward)

    def _excess(self, reward: Array) -> Array:
        """Probabilities ``(N, K, K)`` that the first of two beats the second, minus one half."""
        xp = array_namespace(reward)
        if self.preference == "deterministic":
            return preferred(gaps(reward), self.preference) - 0.5
        below = reward - xp.max(reward, axis=-1, keepdims=True)
        near = xp.all(below > -600.0, axis=-1)[:, None]
        strength = xp.exp(xp.where(near, below, xp.zeros_like(below)))  # one exponential an action and not one a pair
        excess = 0.5 * gaps(strength) / (strength[:, :, None] + strength[:, None, :])
        if bool(xp.all(near)):
            return excess
        return xp.where(near[..., None], excess, preferred(gaps(reward), self.preference) - 0.5)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 4 (A/beta - u - mean(A/beta - u)), times G/(G - 1) in a sampled group."""
        return 4.0 * centered_gap(log_ratio, advantage / self.beta, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over labels and pairs of (u_w - u_l - 1/(2 beta))^2, its terms sorted by member."""
        return 0.25 / self.beta**2 + 2.0 / self.beta * contrast(log_ratio, advantage, self.beta, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target in win probabilities."""
        return tilts.nominal(bandit, advantage, self.beta)
