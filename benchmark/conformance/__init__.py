"""A predictor's rehearsal: its contract proved on toy trajectories, offline and in seconds."""
