"""Rows of projects, their distributions, the indexes that hold these, and the evidence on them."""
