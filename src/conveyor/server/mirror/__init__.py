"""Files and pages of an upstream: fetched when needed, sent on while they arrive."""
