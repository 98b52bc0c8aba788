"""Releases on their way: evidence, tags, gates and promotions."""
