"""The benchmark: the fixed protocol, the run and its record."""
