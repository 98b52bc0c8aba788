"""Data that a process keeps in memory, and how it learns that it is out of date."""
