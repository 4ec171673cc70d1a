"""Conformance checks of predictors: the contract tested on synthetic trajectories, offline and in seconds."""
