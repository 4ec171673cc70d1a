"""Fitted states that ship with the package, and forecasting with one."""
