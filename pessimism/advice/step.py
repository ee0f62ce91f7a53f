"""How far an optimizer step moves the policy: as given, as measured in the log, or not known."""

from __future__ import annotations

from typing import NamedTuple

from pessimism.diagnosis import staleness
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.log_probs import KNOWN_VERSIONS
from pessimism.trainers.settings import TrainerSettings

_VERSIONS = "a column " + " or ".join(" and ".join(names) for names in KNOWN_VERSIONS)
CURVE = (1e-5, 1e-4, 1e-3, 1e-2)  # KL per step where the log does not fix it


class Step(NamedTuple):
    """KL of an optimizer step.

    Attributes
    ----------
    kl : tuple of float
        In nats: one number, two ends, or a curve.
    told : str
        Where it is from.
    """

    kl: tuple[float, ...]
    told: str


def step_of(logged: LoggedGroups, settings: TrainerSettings | None, given: float | None) -> Step:
    """KL per optimizer step: the one given, else what the log measures, else a curve.

    Parameters
    ----------
    logged : LoggedGroups
        The log.
    settings : TrainerSettings or None
        The trainer's settings, which say how many optimizer steps a version of the policy serves.
    given : float or None
        What the caller knows.

    Returns
    -------
    Step
        The KL, and where it is from.

    Examples
    --------
    >>> import pessimism as ps
    >>> step_of(ps.diagnose("examples/verl_rollouts", "kimi").logged, None, None).kl
    (1e-05, 0.0001, 0.001, 0.01)
    """
    if given is not None:
        return Step((given,), f"The KL per step, {given:g}, is as given.")
    # TRL counts optimizer steps; the others count batches, each of which serves several.
    per_version = 1
    if settings is not None and settings.reuse is not None and not settings.trainer.startswith("trl"):
        per_version = max(1, settings.reuse)
    found = staleness.kl_per_step(logged, steps_per_version=per_version)
    if found.kl is not None:
        low, high = found.kl
        counted = f", {per_version} optimizer steps counted a version" if per_version > 1 else ""
        ends = (
            f"is {low:.2g}"
            if low == high
            else (f"lies between {low:.2g}, if the steps go one way, and {high:.2g}, if each goes its own way")
        )
        return Step(
            tuple(sorted({low, high})),
            f"The KL per step {ends}, measured in the log over all its prompts{counted}: {found.reason}.",
        )
    return Step(
        CURVE,
        f"The log does not fix the point on this curve, {CURVE[0]:g} to {CURVE[-1]:g} nats a step: {found.reason}. "
        "To measure it the log needs log-probabilities of the sampler and of the trained policy, and the version of "
        f"the policy that sampled ({_VERSIONS}), of completions some of which are old. Or measure the KL between the "
        "policies before and after an optimizer step, and give it as kl_per_step (--kl-per-step).",
    )
