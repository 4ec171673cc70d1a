"""What the paper says, measured: its presentation of TIPL (docs/reproduction.md), and what more data is worth
(docs/scaling.md).

Nothing here is ranked: `tipl-published` sees the future of the trials that it forecasts.
"""
