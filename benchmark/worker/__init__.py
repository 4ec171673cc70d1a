"""Worker process of a predictor, which is given training trials and contexts but cannot read test trials."""
