"""Trajectory datasets on the Hugging Face Hub: published, pinned, fetched and verified."""
