"""The paper's own presentation of TIPL, and what makes the suite's differ: docs/reproduction.md.

Nothing here is ranked: `tipl-published` sees the future of the trials that it forecasts.
"""
