"""Rows of users, tokens, signers and workers."""
