"""The policy, what people decide about releases, and known vulnerabilities of packages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From schema 12 to schema 13; until a policy is applied the settings of the indexes hold."""
    op.create_table(
        "policies",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("applied_at", sa.Text(), nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False, comment="TOML, as it was applied"),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_policies")),
        comment="which rules hold in which indexes; the newest version holds",
    )
    op.create_table(
        "decisions",
        sa.Column("id", _RowId, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="approval or override"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.Column("until", sa.Text(), comment="end of an override; null: an approval"),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_decisions_index_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        comment="approvals of releases and overrides of gates, shown for ever",
    )
    op.create_index(op.f("ix_decisions_project_version"), "decisions", ["project", "version"], unique=False)
    op.create_table(
        "advisories",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "modified", sa.Text(), nullable=False, comment="as the advisory says: the newer state holds"
        ),
        sa.Column("withdrawn", sa.Text(), comment="null: it holds"),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("aliases", sa.Text(), nullable=False, comment="JSON list of other names of it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisories")),
        comment="known vulnerabilities of packages, as OSV describes them",
    )
    op.create_table(
        "advisory_projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False, comment="normalized"),
        sa.Column("ranges", sa.Text(), nullable=False, comment="JSON, as OSV spells them"),
        sa.Column("versions", sa.Text(), nullable=False, comment="JSON list"),
        sa.ForeignKeyConstraint(["id"], ["advisories.id"], name=op.f("fk_advisory_projects_id")),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_advisory_projects")),
        comment="which projects an advisory affects",
    )
    op.create_index(op.f("ix_advisory_projects_project"), "advisory_projects", ["project"], unique=False)
