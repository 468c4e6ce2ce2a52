"""Who predicts what: pure functions from a grid and a generator to masks."""
