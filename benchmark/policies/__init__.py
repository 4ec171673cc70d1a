"""Policies to look at: written to files that others read, and filmed as they act."""
