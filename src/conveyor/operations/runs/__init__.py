"""Pipeline runs: ask for one, claim one, report on it."""
