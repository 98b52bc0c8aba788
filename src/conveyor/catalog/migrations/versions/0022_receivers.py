"""Receivers of messages, messages on their way, and verdicts that were told; a store of before has none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """From schema 21 to schema 22."""
    op.create_table(
        "receivers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column(
            "events",
            sa.Text(),
            nullable=False,
            comment="JSON list of types of messages; empty: the usual ones",
        ),
        sa.Column(
            "indexes", sa.Text(), nullable=False, comment="JSON list of patterns; empty: every public index"
        ),
        sa.Column("projects", sa.Text(), nullable=False, comment="JSON list of patterns; empty: all"),
        sa.Column("is_local", sa.Boolean(), nullable=False),
        sa.Column("secret", sa.Text(), comment="signs its messages; null: mail"),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.Column(
            "told_serial", sa.BigInteger(), nullable=False, comment="events up to this one became messages"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receivers")),
        comment="who is told of changes; the audit log is their outbox",
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="in the order of the events",
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("receiver_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False, comment="what is told in order: a release, or a run"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON, the same in every attempt"),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, delivered or failed"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Text(), nullable=False, comment="when it was made, or asked for again"),
        sa.Column(
            "next_at", sa.Text(), comment="when it is tried, or taken from a process that died with it"
        ),
        sa.Column("finished_at", sa.Text()),
        sa.Column("answer", sa.Text(), comment="what the last attempt met with"),
        sa.ForeignKeyConstraint(["receiver_id"], ["receivers.id"], name=op.f("fk_deliveries_receiver_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_deliveries_id")),
        comment="messages to receivers, on their way and at its end",
    )
    op.create_index(op.f("ix_deliveries_state_next_at"), "deliveries", ["state", "next_at"], unique=False)
    op.create_index(
        op.f("ix_deliveries_receiver_id_subject_state_number"),
        "deliveries",
        ["receiver_id", "subject", "state", "number"],
        unique=False,
    )
    op.create_table(
        "told_verdicts",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("gates", sa.Text(), nullable=False, comment="JSON: the shut gates, each with its outcome"),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_told_verdicts_index_name")),
        sa.PrimaryKeyConstraint("project", "version", "index_name", name=op.f("pk_told_verdicts")),
        comment="what the audit log said last of releases that could not enter an index",
    )
