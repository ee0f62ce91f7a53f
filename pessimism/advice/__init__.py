"""From a log and the settings of its trainer to what to change, and what it would do."""
