"""Rows of indexes, of claimed names, and of what their pages are made of."""
