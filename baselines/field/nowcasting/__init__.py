"""WNN+ and NiNo (Knyazev et al., ICLR 2025): a few past states of every weight, and all steps ahead at once."""
