"""Submissions: pull requests, and what they must be to be accepted."""
