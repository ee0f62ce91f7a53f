"""Off-policy evaluation: what a policy would earn, from the logs of another, and how sure that is."""

from pessimism.evaluation.dispatch import estimators, evaluate
from pessimism.evaluation.logs import Logs, make_logs
from pessimism.evaluation.result import Evaluation

__all__ = ["Evaluation", "Logs", "estimators", "evaluate", "make_logs"]
