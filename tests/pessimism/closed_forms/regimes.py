"""Problems in the negative regime: a baseline above the optimal value."""

from __future__ import annotations

import numpy as np

from tests.helpers import make_problem

OUTCOMES = [make_problem(seed, width) for seed, width in ((0, 7), (1, 3), (2, 12))]


# The negative regime: baseline above the optimal value.
NEGATIVE = [
    (np.array([0.5, 0.5]), np.array([0.0, 1.0]), 0.5, 2.0),
    (np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.6, 1.0]), 0.4, 1.0),
    (np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.6, 1.0]), 0.4, 0.8),
    (*make_problem(3, 5), 0.5, 2.5),
    (*make_problem(4, 6), 1.0, 1.2),
    (np.array([0.7, 0.0, 0.3]), np.array([0.2, 50.0, 0.9]), 0.3, 0.9),
]


BARELY = (*make_problem(17, 5), 0.3, 0.1244)  # all on W_0 is a minimum too
