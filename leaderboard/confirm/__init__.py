"""Confirming rows on fresh trials: collected in secret, scored once, revealed."""
