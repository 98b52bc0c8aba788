"""Indexes: what they are, what they accept, and the pages that they show."""
