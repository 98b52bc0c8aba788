"""Pipeline runs: their states and steps."""
