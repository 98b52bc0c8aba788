"""The database itself: connection, tables, migrations, serials, and the log of changes."""
