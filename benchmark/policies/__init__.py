"""Policies as files that other programs read, and as films."""
