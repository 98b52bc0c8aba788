"""Releases: where they stand, promotion, evidence, and withdrawal."""
