"""The console script `pessimism`."""
