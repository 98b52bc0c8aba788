"""Rows of pipeline runs."""
