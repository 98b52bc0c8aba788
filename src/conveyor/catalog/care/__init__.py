"""What backup, inspection and garbage collection ask of the whole catalogue."""
