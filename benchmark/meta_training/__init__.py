"""Meta-training of learned optimizers as a command: a run folder, validation, selection, a curve."""
