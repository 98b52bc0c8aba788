"""Care of a store: the contents of a backup, and when nodes may answer from memory."""
