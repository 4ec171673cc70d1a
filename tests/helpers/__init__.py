"""What several tests use: synthetic datasets, predictors of every kind, a stand-in Hub, a browser."""
