"""Indexes: their definitions, the uploads they accept, and the pages they show."""
