"""Care of a store: what a backup says of itself, and when nodes may answer from memory."""
