"""Trials from outside: checkpoints recorded in anyone's training loop, imported as a dataset."""
