"""Uploads by the legacy API."""
