"""What an off-policy objective really converges to: induced targets, regimes, conservatism and rollout diagnosis.

The mathematics is that of "Off-Policy Learning to Reason Works Because It Is More Pessimistic Than You Think"
(arXiv 2605.28150), derived in docs/theory.md.

``__init__.pyi`` lists the public names with the module of each; a module loads when one of its names is first used.
"""

import lazy_loader

__version__ = "0.2.0.dev0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
