"""Off-policy evaluation: what a policy would earn, from the logs of another, and how sure that is."""
