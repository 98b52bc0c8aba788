"""The first schema: tables of indexes, distributions, placements, evidence, people, runs and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of schema 1."""
    op.create_table(
        "claims",
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="normalized project name, or prefix without its last hyphen",
        ),
        sa.Column("is_prefix", sa.Boolean(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "is_prefix", name=op.f("pk_claims")),
        comment="names that never leave the house: no index asks upstream for them",
    )
    op.create_table(
        "events",
        sa.Column("serial", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_events")),
        comment="the audit log: every change, in serial order, written in the change's own transaction",
    )
    op.create_index(op.f("ix_events_project"), "events", ["project"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("id", RowId, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="build, tests, equivalence or qa-signature"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "sha256",
            sa.Text(),
            nullable=True,
            comment="the distribution it is about; null for a qa-signature",
        ),
        sa.Column("commit_id", sa.Text(), nullable=True, comment="the git commit it names, if any"),
        sa.Column("predicate", sa.Text(), nullable=False, comment="JSON: the facts"),
        sa.Column(
            "envelope",
            sa.Text(),
            nullable=False,
            comment="what was signed: DSSE JSON or tag object",
        ),
        sa.Column("envelope_sha256", sa.Text(), nullable=False),
        sa.Column("signed_by", sa.Text(), nullable=False, comment="worker name or signer principal"),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("received_from", sa.Text(), nullable=False, comment="the user who handed it in"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint(
            "project", "version", "envelope_sha256", name=op.f("uq_evidence_project_version_envelope_sha256")
        ),
    )
    op.create_index(op.f("ix_evidence_project_commit_id"), "evidence", ["project", "commit_id"], unique=False)
    op.create_index(op.f("ix_evidence_sha256"), "evidence", ["sha256"], unique=False)
    op.create_table(
        "facts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_facts")),
        comment="what is true of the whole store: its id, its schema, its upstream",
    )
    op.create_table(
        "indexes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="local or mirror"),
        sa.Column(
            "mode",
            sa.Text(),
            nullable=False,
            comment="uploads or promotion-only; fixed when the index is made",
        ),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column(
            "gates",
            sa.Text(),
            nullable=False,
            comment="JSON list of gate names, in the order they are judged",
        ),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_indexes")),
    )
    op.create_table(
        "projects",
        sa.Column("name", sa.Text(), nullable=False, comment="normalized"),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_projects")),
    )
    op.create_table(
        "retired_filenames",
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("retired_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_retired_filenames")),
        comment="names of deleted files; never given again",
    )
    op.create_table(
        "runs",
        sa.Column("id", RowId, nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True, comment="what failed, in one sentence"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        comment="pipeline runs: one commit or tag going through",
    )
    op.create_index(op.f("ix_runs_state_id"), "runs", ["state", "id"], unique=False)
    op.create_table(
        "serial",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_serial")),
        comment="one row: the serial of the newest change; its row lock puts changes in order",
    )
    op.create_table(
        "signers",
        sa.Column("id", RowId, nullable=False),
        sa.Column(
            "principal",
            sa.Text(),
            nullable=False,
            comment="whom the key stands for, such as an e-mail address",
        ),
        sa.Column("role", sa.Text(), nullable=False, comment="qa"),
        sa.Column("kind", sa.Text(), nullable=False, comment="ssh"),
        sa.Column("public_key", sa.Text(), nullable=False, comment="key type and base64, no comment"),
        sa.Column("valid_until", sa.Text(), nullable=True, comment="null: until revoked"),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signers")),
        sa.UniqueConstraint("public_key", name=op.f("uq_signers_public_key")),
        comment="people whose signatures count",
    )
    op.create_table(
        "users",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "password_hash", sa.Text(), nullable=True, comment="Argon2id; null: no password, tokens only"
        ),
        sa.Column(
            "scopes", sa.Text(), nullable=False, comment="JSON list of read, upload, claim, promote, admin"
        ),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
    )
    op.create_table(
        "distributions",
        sa.Column("id", RowId, nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("packagetype", sa.Text(), nullable=False, comment="bdist_wheel or sdist"),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("blake2b_256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("requires_python", sa.Text(), nullable=True),
        sa.Column(
            "metadata_sha256",
            sa.Text(),
            nullable=False,
            comment="digest of the core metadata, a blob of its own",
        ),
        sa.Column("core_metadata", sa.Text(), nullable=False, comment="JSON, as parsed from the file"),
        sa.Column("uploaded_at", sa.Text(), nullable=False),
        sa.Column("uploaded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name=op.f("fk_distributions_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_distributions")),
        sa.UniqueConstraint("filename", "sha256", name=op.f("uq_distributions_filename_sha256")),
    )
    op.create_index(
        op.f("ix_distributions_project_version"), "distributions", ["project", "version"], unique=False
    )
    op.create_index(op.f("ix_distributions_sha256"), "distributions", ["sha256"], unique=False)
    op.create_table(
        "index_bases",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("base_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["base_name"], ["indexes.name"], name=op.f("fk_index_bases_base_name")),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_index_bases_index_name")),
        sa.PrimaryKeyConstraint("index_name", "position", name=op.f("pk_index_bases")),
    )
    op.create_table(
        "mirrored_files",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False, comment="where the upstream serves the bytes"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True, comment="null until known"),
        sa.Column("upload_time", sa.Text(), nullable=False),
        sa.Column("is_upload_time_first_seen", sa.Boolean(), nullable=False, comment="upstream named none"),
        sa.Column("requires_python", sa.Text(), nullable=True),
        sa.Column("is_yanked", sa.Boolean(), nullable=False),
        sa.Column("yank_reason", sa.Text(), nullable=True),
        sa.Column("upstream_has_metadata", sa.Boolean(), nullable=False),
        sa.Column("metadata_sha256", sa.Text(), nullable=True, comment="null until read"),
        sa.Column("is_stored", sa.Boolean(), nullable=False, comment="the bytes are among our blobs"),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_mirrored_files_index_name")),
        sa.PrimaryKeyConstraint("index_name", "project", "filename", name=op.f("pk_mirrored_files")),
    )
    op.create_index(op.f("ix_mirrored_files_sha256"), "mirrored_files", ["sha256"], unique=False)
    op.create_table(
        "mirrored_projects",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("is_present", sa.Boolean(), nullable=False, comment="false: upstream has no such project"),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("fetched_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["index_name"], ["indexes.name"], name=op.f("fk_mirrored_projects_index_name")
        ),
        sa.PrimaryKeyConstraint("index_name", "project", name=op.f("pk_mirrored_projects")),
    )
    op.create_table(
        "releases",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False, comment="canonical PEP 440"),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True, comment="first promotion; later files are refused"),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name=op.f("fk_releases_project")),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("pk_releases")),
    )
    op.create_table(
        "run_steps",
        sa.Column("run_id", RowId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON: what the step found or made"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_steps_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_steps")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", RowId, nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False, comment="JSON list; never more than the user's own"),
        sa.Column("indexes", sa.Text(), nullable=True, comment="JSON list of index names; null: all"),
        sa.Column("projects", sa.Text(), nullable=True, comment="JSON list of project names; null: all"),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.Column("last_used_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("fk_tokens_user_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_tokens_secret_sha256")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False, comment="PEM, Ed25519"),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("fk_workers_user_name")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
        sa.UniqueConstraint("key_id", name=op.f("uq_workers_key_id")),
        comment="pipeline workers whose evidence counts",
    )
    op.create_table(
        "placements",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("distribution_id", RowId, nullable=False),
        sa.Column("added_serial", sa.BigInteger(), nullable=False),
        sa.Column("is_yanked", sa.Boolean(), nullable=False),
        sa.Column("yank_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["distribution_id"], ["distributions.id"], name=op.f("fk_placements_distribution_id")
        ),
        sa.ForeignKeyConstraint(["index_name"], ["indexes.name"], name=op.f("fk_placements_index_name")),
        sa.PrimaryKeyConstraint("index_name", "project", "filename", name=op.f("pk_placements")),
        comment="a distribution is in an index",
    )
    op.create_index(op.f("ix_placements_distribution_id"), "placements", ["distribution_id"], unique=False)
    op.execute("insert into serial (id, newest) values (1, 0)")
