"""Rows of projects, their distributions, where these are, and what is known of them."""
