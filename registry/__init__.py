"""The registry: what a trajectory dataset is."""
