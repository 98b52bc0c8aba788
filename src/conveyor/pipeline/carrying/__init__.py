"""Runs from their trigger to their end."""
