"""Queries of backup, inspection and garbage collection on the whole catalogue."""
