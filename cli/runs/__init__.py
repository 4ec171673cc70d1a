"""Commands that make runs, and compare them."""
