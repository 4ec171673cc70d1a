"""The committed records and the evidence beside them."""
