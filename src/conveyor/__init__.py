"""Conveyor carries data science from a notebook to production as ordinary Python packages."""
