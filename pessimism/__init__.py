"""What an off-policy objective really converges to: induced targets, regimes, conservatism and rollout diagnosis.

The mathematics is that of "Off-Policy Learning to Reason Works Because It Is More Pessimistic Than You Think"
(arXiv 2605.28150), derived in docs/theory.md.
"""

from pessimism.certificates import certificate
from pessimism.diagnose import diagnose
from pessimism.induced import induced_target, nominal_target
from pessimism.objectives import (
    AWR,
    OAPL,
    REBEL,
    TBA,
    AStarPO,
    AsymRE,
    ConstantBaseline,
    Kimi,
    MixedChi2KL,
    Nominal,
    Objective,
    OptimalValue,
    ShiftedMean,
    StdNormalized,
    TruncatedIS,
    objectives,
    register,
)
from pessimism.result import InducedTarget
from pessimism.rollouts import read_rollouts
from pessimism.stationary import StationaryPoint, stationary_points
from pessimism.summary import summarize
from pessimism.temperature import effective_temperature

__version__ = "0.1.0"

__all__ = [
    "AWR",
    "OAPL",
    "REBEL",
    "TBA",
    "AStarPO",
    "AsymRE",
    "ConstantBaseline",
    "InducedTarget",
    "Kimi",
    "MixedChi2KL",
    "Nominal",
    "Objective",
    "OptimalValue",
    "ShiftedMean",
    "StationaryPoint",
    "StdNormalized",
    "TruncatedIS",
    "certificate",
    "diagnose",
    "effective_temperature",
    "induced_target",
    "nominal_target",
    "objectives",
    "read_rollouts",
    "register",
    "stationary_points",
    "summarize",
]
