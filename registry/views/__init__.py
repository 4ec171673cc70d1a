"""Views of a dataset: a table of checkpoints, torch windows, return statistics, differences between versions."""
