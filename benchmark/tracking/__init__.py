"""Experiment tracking: the numbers of a run as they come, in TensorBoard or Weights & Biases. Off by default."""
