"""Studies: each a function of its parameters that returns a tidy pandas frame; `python -m analysis list` names them."""
