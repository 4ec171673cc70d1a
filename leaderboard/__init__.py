"""The board: records in, comparisons and pages out."""
