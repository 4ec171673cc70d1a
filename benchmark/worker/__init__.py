"""A predictor in a process of its own, which has the training trials and contexts and no way to a target."""
