"""Files and pages of an upstream: asked for when they are due, sent on while they arrive."""
