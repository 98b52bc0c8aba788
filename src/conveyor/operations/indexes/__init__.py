"""Indexes and their projects, the pages they show, and the files they mirror."""
