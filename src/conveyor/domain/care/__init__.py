"""Care of a store: what a backup says of itself."""
