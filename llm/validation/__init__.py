"""The experiments that check theory on a transformer, and how they are run."""
