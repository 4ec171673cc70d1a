"""The search for a predictor's options on the validation trials."""
