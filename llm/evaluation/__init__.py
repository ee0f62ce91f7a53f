"""Pass@k with intervals."""
