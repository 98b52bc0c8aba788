"""Rows of indexes, of claimed names, and of the contents of their pages."""
