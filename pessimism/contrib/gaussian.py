r"""A Gaussian policy near an estimated Gaussian reference: what a variance that is too small does.

The reward is quadratic, :math:`r(a) = -(a - a^*)^2/2`, and the policy maximizes E_pi[r] - beta KL(pi || pi_0) around a
reference :math:`\pi_0 = N(m_0, s_0^2)` cloned from data. A clone whose standard deviation collapses away from the data
turns the same temperature into almost no movement, steep gradients and an exploding divergence: the pathology of
N-PPAC (Rudner, Lu, Osborne, Gal, Teh, NeurIPS 2021, arXiv 2212.13936).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pessimism.arrays import Array
from pessimism.equality import ByValue


@dataclass(frozen=True, eq=False)
class QuadraticTarget(ByValue):
    """Result of :func:`quadratic_target`; every field is a float, or an array in the shape of the arguments together.

    Attributes
    ----------
    mean, std : float or ndarray
        The target N(mean, std^2), Gaussian again.
    reference_mean, reference_std : float or ndarray
        The reference as it entered, a variance taken for a standard deviation included.
    shift_fraction : float or ndarray
        How far the mean moves, from 0 at the mean of the reference to 1 at the peak of the reward: s0^2/(s0^2 + beta).
    divergence : float or ndarray
        KL(target || reference), in nats.
    value, reference_value : float or ndarray
        E[r] under the target and under the reference.
    steepness : float or ndarray
        beta times the largest slope of log pi_0 on the way from its mean to the peak, abs(a* - m0)/s0^2: the gradient
        that the penalty sends into the actor. That of the reward is at most abs(a* - m0).
    """

    mean: Array
    std: Array
    reference_mean: Array
    reference_std: Array
    shift_fraction: Array
    divergence: Array
    value: Array
    reference_value: Array
    steepness: Array

    def extra_conservatism(self, other: QuadraticTarget) -> Array:
        """KL(self || other) between two targets, of an estimated and of the true reference: what the estimate costs.

        Parameters
        ----------
        other : QuadraticTarget
            Target of the true reference.

        Returns
        -------
        float or ndarray
            The divergence, in nats.

        Examples
        --------
        >>> truth, clone = (quadratic_target(1.0, 0.0, s, beta=0.1) for s in (0.5, 0.01))
        >>> round(float(clone.extra_conservatism(truth)), 3)
        6.348
        """
        return gaussian_kl(self.mean, self.std, other.mean, other.std)


def quadratic_target(
    peak: Array, reference_mean: Array, reference_std: Array, beta: Array, *, variance_as_std: bool = False
) -> QuadraticTarget:
    r"""Maximizer of E_pi[r] - beta KL(pi || pi_0) for :math:`r(a) = -(a - a^*)^2/2`, :math:`\pi_0 = N(m_0, s_0^2)`.

    .. math:: \pi = N\left(m_0 + f (a^* - m_0),\ \beta f\right), \qquad f = \frac{s_0^2}{s_0^2 + \beta}

    It is nominal in form, pi_0 exp(r/beta)/Z; all that a wrong s_0 adds is the distance to the target around the true
    reference (:meth:`QuadraticTarget.extra_conservatism`). At s_0 -> 0 nothing moves, whatever the reward.

    Parameters
    ----------
    peak : array_like
        The best action a*. All numbers broadcast against each other.
    reference_mean, reference_std : array_like
        m0 and s0 > 0.
    beta : array_like
        Temperature > 0, in reward units.
    variance_as_std : bool, default False
        Pass the variance of the Gaussian process where a standard deviation belongs, as the released code does: s0
        becomes s0^2.

    Returns
    -------
    QuadraticTarget
        The target, and what the reference costs.

    Raises
    ------
    ValueError
        For a number that is not finite, or for ``reference_std`` or ``beta`` <= 0.

    References
    ----------
    arXiv 2212.13936; its published temperatures are 0.1 and 0.2 (locomotion), 0.1 and 0.5 (hand).

    Examples
    --------
    >>> import numpy as np
    >>> std = np.array([0.5, 0.1, 0.01])
    >>> [f"{f:.3g}" for f in quadratic_target(1.0, 0.0, std, beta=0.1).shift_fraction]
    ['0.714', '0.0909', '0.000999']
    >>> [f"{f:.3g}" for f in quadratic_target(1.0, 0.0, std, beta=0.1, variance_as_std=True).shift_fraction]
    ['0.385', '0.000999', '1e-07']
    """
    peak, mean0 = _number("peak", peak), _number("reference_mean", reference_mean)
    std0, beta = _number("reference_std", reference_std, positive=True), _number("beta", beta, positive=True)
    if variance_as_std:
        std0 = _number("reference_std squared", std0 * std0, positive=True)
    room = std0 / np.sqrt(beta)  # how wide the reference is on the scale of the temperature
    fraction = np.square(room / np.hypot(1.0, room))
    way = fraction * (peak - mean0)
    std = std0 / np.hypot(1.0, room)
    divergence = 0.5 * (np.log1p(room * room) - fraction + np.square(way / std0))
    left = (peak - mean0) / np.square(np.hypot(1.0, room))
    fields = (
        mean0 + way,
        std,
        mean0,
        std0,
        fraction,
        divergence,
        -0.5 * (std * std + left * left),
        -0.5 * (std0 * std0 + (peak - mean0) ** 2),
        beta * np.abs(gaussian_score(peak, mean0, std0)),
    )
    return QuadraticTarget(*(a[()] for a in np.broadcast_arrays(*fields)))


def gaussian_kl(mean: Array, std: Array, reference_mean: Array, reference_std: Array) -> Array:
    r"""KL(N(m, s^2) || N(m0, s0^2)) = :math:`\log(s_0/s) + (s^2 + (m - m_0)^2)/(2 s_0^2) - 1/2`.

    It grows like 1/s0^2 as the reference collapses (arXiv 2212.13936).

    Parameters
    ----------
    mean, std : array_like
        m and s > 0.
    reference_mean, reference_std : array_like
        m0 and s0 > 0.

    Returns
    -------
    float or ndarray
        The divergence, in nats.

    Examples
    --------
    >>> [round(float(gaussian_kl(0.0, 0.5, 1.0, s)), 1) for s in (0.5, 0.1, 0.01)]
    [2.0, 60.4, 6245.6]
    """
    ratio = np.asarray(std) / np.asarray(reference_std)
    gap = (np.asarray(mean) - np.asarray(reference_mean)) / np.asarray(reference_std)
    return 0.5 * (ratio * ratio - 1.0 + gap * gap) - np.log(ratio)


def gaussian_score(action: Array, mean: Array, std: Array) -> Array:
    r"""Slope of the log-density in the action, :math:`-(a - m)/s^2`, which the penalty sends into the actor.

    Parameters
    ----------
    action : array_like
        Where to take the slope.
    mean, std : array_like
        m and s > 0.

    Returns
    -------
    float or ndarray
        The slope.

    Examples
    --------
    >>> [round(float(gaussian_score(1.0, 0.0, s)), 6) for s in (0.5, 0.1, 0.01)]
    [-4.0, -100.0, -10000.0]
    """
    std = np.asarray(std)
    return -(np.asarray(action) - np.asarray(mean)) / std / std


def _number(name: str, value: Array, *, positive: bool = False) -> Array:
    """A finite float64 array, positive if asked for."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or an array of numbers, got {value!r}") from None
    rule = "a finite number > 0" if positive else "a finite number"
    wrong = ~np.isfinite(array) | (array <= 0 if positive else False)
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), array.shape)
        index = f"[{', '.join(map(str, place))}]" if place else ""
        raise ValueError(f"{name}{index} must be {rule}, got {float(array[place])!r}")
    return array
