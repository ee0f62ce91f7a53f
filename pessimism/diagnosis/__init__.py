"""From a rollout log to a report: readings of the groups, thresholds, summary, wording."""
