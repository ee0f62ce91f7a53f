"""What objectives are called in figures, tables and sentences; code and commands use registry names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pessimism as ps

# Objectives whose title is too long for a legend. Without commas, since names are joined by them.
_SHORT = {
    "apa": "APA",
    "asym_re": "AsymRE",
    "async_dpo": "async DPO",
    "awac": "AWAC",
    "awr": "AWR",
    "brac": "BRAC",
    "chi2": "χ² penalty",
    "chi_po": "χPO",
    "chord": "CHORD",
    "cispo": "CISPO",
    "constant_baseline": "constant baseline",
    "copg": "CoPG",
    "cql": "CQL",
    "cql_huber": "Huber CQL",
    "cql_reference": "reference CQL",
    "divergence_augmented": "divergence-augmented",
    "dpo": "DPO",
    "empirical_likelihood_lcb": "EL lower bound",
    "exponential_smoothing": "exponential smoothing",
    "implicit_exploration": "implicit exploration",
    "ipo": "IPO",
    "ips": "IPS",
    "kimi": "Kimi",
    "kl_regularized": "KL-regularized",
    "log_smoothing": "log smoothing",
    "log_smoothing_linear": "linear log smoothing",
    "luffy": "LUFFY",
    "mixed_chi2_kl": "mixed χ²-KL",
    "nominal": "nominal",
    "opo": "OPO",
    "optimal_value": "optimal value",
    "pevi": "PEVI",
    "pevi_kl": "PEVI-KL",
    "power_mean": "power mean",
    "ppo": "PPO",
    "propensity_clipping": "propensity clipping",
    "qrpo": "QRPO",
    "rloo": "RLOO",
    "roirl": "RoiRL",
    "shifted_mean": "shifted mean",
    "std_normalized": "std-normalized",
    "tba": "TBA",
    "topr": "TOPR",
    "tpo": "TPO",
    "truncated_is": "truncated IS",
    "weight_clipping": "weight clipping",
}


def display_name(objective: Hashable) -> str:
    """Short name of an objective for people.

    Parameters
    ----------
    objective : str
        Registry name, as an index or a group of a frame holds it.

    Returns
    -------
    str
        A short form of the title, or the title itself; the name given where no such objective is registered.

    Examples
    --------
    >>> display_name("a_star_po"), display_name("shifted_mean"), display_name("mine")
    ('A*-PO', 'shifted mean', 'mine')
    """
    name = str(objective)
    registered = ps.objectives().get(name)
    return _SHORT.get(name, name if registered is None else registered.title)


def display_names(objectives: Iterable[Hashable]) -> str:
    """Short names of several objectives, joined by commas.

    Parameters
    ----------
    objectives : iterable of str
        Registry names.

    Returns
    -------
    str
        The names in the order given.

    Examples
    --------
    >>> display_names(["kimi", "oapl"])
    'Kimi, OAPL'
    """
    return ", ".join(map(display_name, objectives))
