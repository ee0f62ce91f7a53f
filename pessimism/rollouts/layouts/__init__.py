"""How each project's writer lays out the rollouts that it logs, one module a project."""
