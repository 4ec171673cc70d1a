"""What a run keeps of a predictor's fit besides the fitted state."""
