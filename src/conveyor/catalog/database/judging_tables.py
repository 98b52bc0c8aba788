"""The catalogue's tables by which gates judge: evidence and locks, the policy, decisions, advisories.

The forms of times and JSON are those of ``tables``.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from conveyor.catalog.database.tables import RowId, metadata

evidence = Table(
    "evidence",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("kind", Text, nullable=False, comment="build, tests, equivalence or qa-signature"),
    Column("project", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, comment="the distribution it is about; null for a qa-signature"),
    Column("commit_id", Text, comment="the git commit it names, if any"),
    Column("predicate", Text, nullable=False, comment="JSON: the facts"),
    Column("envelope", Text, nullable=False, comment="what was signed: DSSE JSON or tag object"),
    Column("envelope_sha256", Text, nullable=False),
    Column("signed_by", Text, nullable=False, comment="worker name or signer principal"),
    Column("key_id", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("received_from", Text, nullable=False, comment="the user who handed it in"),
    Column("made_at", Text, nullable=False, comment="by its worker's clock; received_at if it does not say"),
    Column("publisher_id", RowId, comment="whose job told it, unsigned; null: it is signed"),
    Column("job", Text, comment="JSON: claims of the ID token of that job"),
    UniqueConstraint("project", "version", "envelope_sha256"),
    Index(None, "sha256"),
    Index(None, "project", "commit_id"),
    Index(None, "commit_id"),
)

due_judgements = Table(
    "due_judgements",
    metadata,
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("due_at", Text, nullable=False),
    Column("cause", Text, nullable=False, comment="what the store names when the release moves"),
    Index(None, "due_at"),
    comment="releases to judge again, because time or a setting may have opened a gate",
)

told_verdicts = Table(
    "told_verdicts",
    metadata,
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("gates", Text, nullable=False, comment="JSON: the shut gates, each with its outcome"),
    comment="what the audit log said last of releases that could not enter an index",
)

locks = Table(
    "locks",
    metadata,
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("sha256", Text, primary_key=True, comment="digest of the content, as tests evidence names it"),
    Column("content", LargeBinary, nullable=False, comment="pylock.toml (PEP 751), byte by byte"),
    Column("received_at", Text, nullable=False),
    Column("received_from", Text, nullable=False, comment="the user who handed it in"),
    comment="environments in which releases were tested",
)

pinned_files = Table(
    "pinned_files",
    metadata,
    Column("project", Text, primary_key=True, comment="of the release whose lock names the file"),
    Column("version", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("index_name", Text, ForeignKey("indexes.name"), nullable=False, comment="the mirror it is from"),
    Column("file_project", Text, nullable=False, comment="the project whose file it is"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("missed_at", Text, comment="first served after upstream had removed it; null: never"),
    Index(None, "sha256"),
    comment="mirrored files that locks name: kept and served by digest, even if upstream removes them",
)

policies = Table(
    "policies",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("applied_at", Text, nullable=False),
    Column("applied_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False, comment="TOML, as it was applied"),
    comment="which rules hold in which indexes; the newest version holds",
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("kind", Text, nullable=False, comment="approval or override"),
    Column("project", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("index_name", Text, ForeignKey("indexes.name"), nullable=False),
    Column("gate", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", Text),
    Column("made_at", Text, nullable=False),
    Column("until", Text, comment="end of an override; null: an approval"),
    Index(None, "project", "version"),
    comment="approvals of releases and overrides of gates, shown for ever",
)

advisories = Table(
    "advisories",
    metadata,
    Column("id", Text, primary_key=True),
    Column("modified", Text, nullable=False, comment="as the advisory says: the newer state holds"),
    Column("withdrawn", Text, comment="null: it holds"),
    Column("summary", Text, nullable=False),
    Column("aliases", Text, nullable=False, comment="JSON list of other names of it"),
    comment="known vulnerabilities of packages, as OSV describes them",
)

advisory_projects = Table(
    "advisory_projects",
    metadata,
    Column("id", Text, ForeignKey("advisories.id"), primary_key=True),
    Column("project", Text, primary_key=True, comment="normalized"),
    Column("ranges", Text, nullable=False, comment="JSON, as OSV spells them"),
    Column("versions", Text, nullable=False, comment="JSON list"),
    Index(None, "project"),
    comment="which projects an advisory affects",
)
