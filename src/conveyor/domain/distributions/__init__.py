"""Wheels and sdists: read, checked, compared and derived from one another."""
