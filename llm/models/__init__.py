"""Language models: loaded, made small, scored, enumerated."""
