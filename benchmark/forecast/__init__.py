"""The forecast track: windows, forecasts, errors, returns and scores."""
