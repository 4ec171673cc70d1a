"""Utilities of all packages: errors, atomic files, strict JSON, safe text, tensor files, bootstrap draws."""
