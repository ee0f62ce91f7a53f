"""Files on disk: checkpoints, fingerprints, locks."""
