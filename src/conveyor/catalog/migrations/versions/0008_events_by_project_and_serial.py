"""The index by which the newest events of one project are found, without reading its older ones."""

from __future__ import annotations

from alembic import op


def upgrade() -> None:
    """From schema 7 to schema 8."""
    op.drop_index(op.f("ix_events_project"), table_name="events")
    op.create_index(op.f("ix_events_project_serial"), "events", ["project", "serial"], unique=False)
