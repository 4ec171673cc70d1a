"""The branching ceiling: how well the best forecast could do that knew the whole training state at the origin."""
