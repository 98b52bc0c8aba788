"""Uploads, from the first byte to the row that makes a file visible."""
