"""The same problems as programs of cone solvers (the extra ``convex``): the independent check of a target."""
