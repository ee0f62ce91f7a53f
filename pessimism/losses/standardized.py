"""The advantage of GRPO: rewards centered and divided by the spread of their group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


Scale = Literal["group", "batch", "leave_one_out", "none"]
SCALES = ("group", "batch", "leave_one_out", "none")


@dataclass(frozen=True)
class Standardized(MeanBaseline):
    """Base with the advantage of GRPO, A = (r - mean r) / (std r + eps).

    ``eps`` is a field of the objective, in units of the reward. The standard deviation is the population's under
    weights and unbiased (n - 1) in a sampled group, as in verl (eps 1e-6) and TRL (1e-4).

    The field ``scale``, where an objective has it, says whose standard deviation divides: that of the ``"group"``; of
    the whole ``"batch"``, all problems of one call, about their common mean (TRL's ``scale_rewards="batch"``), every
    problem counting the same; of the other members of a sampled group (``"leave_one_out"``), which for many members is
    that of the group; or nothing (``"none"``), as in Dr. GRPO. The mean that is subtracted is always the group's.

    References
    ----------
    .. [1] arXiv 2402.03300.
    """

    if TYPE_CHECKING:
        eps: float

    @property
    def _scale(self) -> str:
        return str(self.settings.get("scale", "group"))

    @property
    def over_batch(self) -> bool:
        """Whether the standard deviation is that of the whole batch."""
        return self._scale == "batch"

    def require_scale(self) -> None:
        """Raise ``ValueError`` unless the field ``scale`` is one of its choices."""
        self.require_choice("scale", SCALES)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages (r - mean) / (std + eps)."""
        gap = super().advantage(reward, weights)
        if self._scale == "none":
            return gap
        if self._scale == "leave_one_out":
            return gap / (baselines.deviation_of_others(reward, weights) + self.eps)
        of = baselines.batch_standard_deviation if self.over_batch else baselines.standard_deviation
        return gap / (of(reward, weights)[..., None] + self.eps)


@dataclass(frozen=True)
class APA(MeanBaseline):
    """Advantage-induced policy alignment (APA): regression on whitened advantages.

    The loss of a sample is ``(u - A/beta)^2`` with ``A = (r - mean r)/sqrt(var r + eps)``. It is a regression like
    Kimi's and induces the Lambert target, log w + kappa w = A/beta, where kappa = KL(mu || pi). In units of the reward
    the temperature is beta times the standard deviation: bold where the rewards hardly differ.

    Parameters
    ----------
    beta : float or array_like, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is the paper's lambda, 0.1 online
        and 1 offline in the code (adv_coeff_sq = 1/lambda).
    eps : float, default 1e-8
        Added to the variance of the rewards before the advantage is divided by its root; > 0.

    Notes
    -----
    In the paper u is that of a token and A its GAE advantage, whitened over the batch; here an action is one token, and
    the batch is its group. The variance is divided by n, as across processes, which in a batch of tokens is all the
    same. The reference is the rollout policy in the code, and the initial one in the paper (``reference=``).

    References
    ----------
    .. [1] arXiv 2306.02231.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], APA(beta=1.0))
    >>> target.advantage.round(4), bool(target.kappa > 0)
    (array([-1.,  1.]), True)
    """

    name: ClassVar[str] = "apa"
    title: ClassVar[str] = "Advantage-induced policy alignment"
    short: ClassVar[str] = "APA"
    paper: ClassVar[str] = "2306.02231"
    formula: ClassVar[str] = "(u - A/beta)^2, A = (r - mean r)/sqrt(var r + eps)"
    induces: ClassVar[str] = "Lambert, log w + kappa w = A/beta with A standardized; kappa = KL(mu||pi)"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    takes_reference: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 0.1
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self.require_positive("beta", "eps")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages (r - mean) / sqrt(var + eps)."""
        gap = super().advantage(reward, weights)
        xp, spread = array_namespace(gap), baselines.root_mean_square(gap, weights)[..., None]
        return gap / xp.hypot(spread, xp.full_like(spread, math.sqrt(self.eps)))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 (A/beta - u)."""
        return 2.0 * (advantage / self.beta - log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: (u - A/beta)^2."""
        return (log_ratio - advantage / self.beta) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert-tempered target in standardized rewards."""
        return tilts.lambert(bandit, advantage, self.beta, unseen=unseen)


@dataclass(frozen=True)
class TPO(MeanBaseline):
    r"""Target policy optimization (TPO): cross-entropy to the tilted old policy within a group.

    The loss of a group is ``-sum_i t_i log p_i``, p the softmax over the group of the sequence log-probabilities, and
    :math:`t_i \propto p^{old}_i e^{z_i/\beta}` with z = (r - mean r)/std r. With the whole support as the group p is
    the policy, and it induces t, the nominal target in standardized rewards, exactly (lam = 0).

    Parameters
    ----------
    beta : float or array_like, default 1.0
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is the paper's eta.
    min_std : float, default 1e-6
        Standard deviation of the rewards up to which a group has no signal (z = 0); > 0, in units of the reward.

    Notes
    -----
    The standard deviation is the population's (divided by n). The gradient touches the shares *within* a group only:
    groups of K samples of a large space have a target of their own. A sampled group (no weights) counts its members as
    equally likely under the old policy. The reference is the rollout policy, and log-probabilities are summed over
    tokens.

    References
    ----------
    .. [1] arXiv 2604.06159.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 0.01], TPO()).policy.round(4)
    array([0.1192, 0.8808])
    """

    name: ClassVar[str] = "tpo"
    title: ClassVar[str] = "Target policy optimization"
    short: ClassVar[str] = "TPO"
    paper: ClassVar[str] = "2604.06159"
    formula: ClassVar[str] = "-sum_i t_i log softmax_i(log pi), t = softmax(log p_old + z/beta), z = (r - mean r)/std r"
    induces: ClassVar[str] = "nominal in standardized rewards, mu exp(z/beta)/Z"
    coupled: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 1.0
    min_std: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("beta", "min_std")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Standardized rewards (r - mean) / std, 0 where the rewards hardly differ."""
        gap = super().advantage(reward, weights)
        xp, std = array_namespace(gap), baselines.root_mean_square(gap, weights)[..., None]
        differ = std > self.min_std
        return xp.where(differ, gap / xp.where(differ, std, xp.ones_like(std)), xp.zeros_like(gap))

    def _relative(self, x: Array, weights: Array | None) -> Array:
        """Values x normalized in the group: log of softmax(log weights + x) over the weights."""
        xp = array_namespace(x)
        top = xp.max(x, axis=-1, keepdims=True)
        return x - top - xp.log(baselines.expectation(xp.exp(x - top), weights)[..., None])

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = (t - p)/p_old."""
        xp = array_namespace(log_ratio)
        target = self._relative(advantage / self.beta, weights) + xp.zeros_like(log_ratio)
        return xp.exp(target) - xp.exp(self._relative(log_ratio, weights))

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(t/p_old) log p up to a constant, whose mean under the old policy is the cross-entropy."""
        target = array_namespace(advantage).exp(self._relative(advantage / self.beta, weights))
        return -target * self._relative(log_ratio, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target in standardized rewards."""
        return tilts.nominal(bandit, advantage, self.beta)
