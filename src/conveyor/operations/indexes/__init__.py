"""Indexes and their projects, the pages they show, and what they mirror."""
