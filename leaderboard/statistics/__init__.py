"""Statistics of results, on arrays and data frames only."""
