"""Rows of receivers, and of the messages that are on their way to them."""
