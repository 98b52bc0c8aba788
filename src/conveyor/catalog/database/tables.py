"""The catalogue's tables. Times are UTC, as ISO 8601 text with microseconds and ``Z``; JSON is text.

A distribution's bytes are stored once (``blobs``), the distribution is described once
(``distributions``), and being in an index is a row (``placements``): promotion moves rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

SCHEMA_VERSION = 23
"""Number of the newest migration; a catalogue with a lower one is migrated before it is used."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives rowids to INTEGER keys only; PostgreSQL wants 64 bits.
RowId = BigInteger().with_variant(Integer(), "sqlite")

facts = Table(
    "facts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="what is true of the whole store: its id, its schema, its upstream",
)

serial = Table(
    "serial",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("newest", BigInteger, nullable=False),
    comment="one row: the serial of the newest change; its row lock puts changes in order",
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("renewal", BigInteger, nullable=False, comment="number of the newest renewal of its lease"),
    Column("acknowledged", BigInteger, nullable=False, comment="it knows of every change up to this serial"),
    comment="PostgreSQL: servers that answer from memory while their lease lasts; no backup has them",
)

events = Table(
    "events",
    metadata,
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("index_name", Text),
    Column("project", Text),
    Column("version", Text),
    Column("detail", Text, nullable=False),
    Index(None, "project", "serial"),
    comment="the audit log: every change, in serial order, written in the change's own transaction",
)

indexes = Table(
    "indexes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False, comment="local or mirror"),
    Column("mode", Text, nullable=False, comment="uploads or promotion-only; fixed when the index is made"),
    Column("is_private", Boolean, nullable=False),
    Column("gates", Text, nullable=False, comment="JSON list of gate names, in the order they are judged"),
    Column("created_at", Text, nullable=False),
    Column(
        "pythons",
        Text,
        nullable=False,
        server_default=text("'[]'"),
        comment="JSON list of the Pythons that releases are tested on, besides those of their projects",
    ),
    Column(
        "isolation",
        Text,
        nullable=False,
        server_default=text("'any'"),
        comment="required: only builds and tests in a jail count for promotions into it; or any",
    ),
)

index_bases = Table(
    "index_bases",
    metadata,
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("base_name", Text, ForeignKey("indexes.name"), nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column(
        "name", Text, primary_key=True, comment="normalized project name, or prefix without its last hyphen"
    ),
    Column("is_prefix", Boolean, primary_key=True),
    Column("claimed_by", Text, nullable=False),
    Column("claimed_at", Text, nullable=False),
    comment="names that never leave the house: no index asks upstream for them",
)

projects = Table(
    "projects",
    metadata,
    Column("name", Text, primary_key=True, comment="normalized"),
    Column("display_name", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("status", Text, comment="archived, deprecated or quarantined (PEP 792); null: active"),
    Column("status_reason", Text),
    Column("size_limit_bytes", BigInteger, comment="null: what the store allows every project"),
    Column(
        "stored_bytes",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="sum of its distributions' sizes, so that a limit costs no sum over thousands of rows",
    ),
)

releases = Table(
    "releases",
    metadata,
    Column("project", Text, ForeignKey("projects.name"), primary_key=True),
    Column("version", Text, primary_key=True, comment="canonical PEP 440"),
    Column("created_at", Text, nullable=False),
    Column("closed_at", Text, comment="first promotion; later files are refused"),
)

distributions = Table(
    "distributions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("filename", Text, nullable=False),
    Column("project", Text, ForeignKey("projects.name"), nullable=False),
    Column("version", Text, nullable=False),
    Column("packagetype", Text, nullable=False, comment="bdist_wheel or sdist"),
    Column("sha256", Text, nullable=False),
    Column("blake2b_256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("requires_python", Text),
    Column("metadata_sha256", Text, nullable=False, comment="digest of the core metadata"),
    Column("uploaded_at", Text, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    Column(
        "is_metadata_static",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="building cannot change what it says of dependencies: true of every wheel",
    ),
    Column(
        "provenance_sha256", Text, comment="digest of the provenance object (PEP 740), a blob; null: none"
    ),
    Column(
        "metadata",
        LargeBinary,
        comment="core metadata, byte by byte; null: it is a blob, as schemas below 5 had it",
    ),
    UniqueConstraint("filename", "sha256"),
    Index(None, "project", "version"),
    Index(None, "sha256"),
)

placements = Table(
    "placements",
    metadata,
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("distribution_id", RowId, ForeignKey("distributions.id"), nullable=False),
    Column("added_serial", BigInteger, nullable=False),
    Column("is_yanked", Boolean, nullable=False),
    Column("yank_reason", Text),
    Index(None, "distribution_id"),
    comment="a distribution is in an index",
)

open_files = Table(
    "open_files",
    metadata,
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("distribution_id", RowId, ForeignKey("distributions.id"), nullable=False),
    Column("uploaded_at", Text, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    Index(None, "distribution_id"),
    comment="files of releases that are not published yet: in no index, and dropped after a day",
)

retired_filenames = Table(
    "retired_filenames",
    metadata,
    Column("filename", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("retired_at", Text, nullable=False),
    comment="names of deleted files; never given again",
)

mirrored_projects = Table(
    "mirrored_projects",
    metadata,
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("is_present", Boolean, nullable=False, comment="false: upstream has no such project"),
    Column("etag", Text),
    Column("fetched_at", Text, nullable=False),
    Column("status", Text, comment="as upstream says (PEP 792); null: active"),
    Column("status_reason", Text),
)

mirrored_files = Table(
    "mirrored_files",
    metadata,
    Column("index_name", Text, ForeignKey("indexes.name"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("sha256", Text, comment="null until the first download, if upstream names none"),
    Column("url", Text, nullable=False, comment="where the upstream serves the bytes"),
    Column("size_bytes", BigInteger, comment="null until known"),
    Column("upload_time", Text, nullable=False),
    Column("is_upload_time_first_seen", Boolean, nullable=False, comment="upstream named none"),
    Column("requires_python", Text),
    Column("is_yanked", Boolean, nullable=False),
    Column("yank_reason", Text),
    Column("upstream_has_metadata", Boolean, nullable=False),
    Column("metadata_sha256", Text, comment="null until read"),
    Column("is_stored", Boolean, nullable=False, comment="the bytes are among our blobs"),
    Column(
        "is_metadata_unreadable",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="it was asked for, and there is none to be read: no longer advertised",
    ),
    Column("provenance_url", Text, comment="where the upstream serves the provenance object (PEP 740)"),
    Column("provenance_sha256", Text, comment="null until read"),
    Column(
        "address",
        Text,
        comment="where upstream names no SHA-256: md5/HEX (or another hash), or unhashed/PROJECT",
    ),
    Index(None, "sha256"),
    Index(None, "address"),
)

first_digests = Table(
    "first_digests",
    metadata,
    Column("address", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("computed_at", Text, nullable=False),
    comment="which bytes an address without a SHA-256 stands for, permanently from its first download on",
)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password_hash", Text, comment="Argon2id; null: no password, tokens only"),
    Column("scopes", Text, nullable=False, comment="JSON list of read, upload, claim, promote, admin"),
    Column("created_at", Text, nullable=False),
    Column("disabled_at", Text),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name"), nullable=False),
    Column("secret_sha256", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False, comment="JSON list; never more than the user's own"),
    Column("indexes", Text, comment="JSON list of index names; null: all"),
    Column("projects", Text, comment="JSON list of project names; null: all"),
    Column("description", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("revoked_at", Text),
    Column("last_used_at", Text),
    Column("run_id", RowId, comment="the run it was made for, with which it ends; null: none"),
    Column("job", Text, comment="JSON: the job of a CI host that it was made for; null: for none"),
    Index(None, "run_id"),
)

publishers = Table(
    "publishers",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("project", Text, nullable=False),
    Column("index_name", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="github, gitlab or other"),
    Column("issuer", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("environment", Text, comment="null: any, or none"),
    Column("registered_by", Text, nullable=False),
    Column("registered_at", Text, nullable=False),
    Column("removed_at", Text),
    Column("repository_id", Text, comment="what the host calls it, whatever its name; null: not seen yet"),
    Column("owner_id", Text, comment="as repository_id, of who owns the repository"),
    Index(None, "issuer"),
    comment="jobs of CI hosts that may publish a project into an index, without a stored secret",
)

exchanged_id_tokens = Table(
    "exchanged_id_tokens",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("expires_at", Text, nullable=False),
    comment="ID tokens of publishers that were exchanged, until they expire: none is exchanged twice",
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name"), nullable=False),
    Column("key_id", Text, nullable=False, unique=True),
    Column("public_key", Text, nullable=False, comment="PEM, Ed25519"),
    Column("registered_at", Text, nullable=False),
    Column("revoked_at", Text),
    comment="pipeline workers whose evidence counts",
)

signers = Table(
    "signers",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("principal", Text, nullable=False, comment="whom the key stands for, such as an e-mail address"),
    Column("role", Text, nullable=False, comment="qa"),
    Column("kind", Text, nullable=False, comment="ssh or openpgp"),
    Column(
        "public_key",
        Text,
        nullable=False,
        unique=True,
        comment="key type and base64, no comment; or openpgp and the fingerprint",
    ),
    Column("valid_until", Text, comment="null: until revoked"),
    Column("registered_at", Text, nullable=False),
    Column("revoked_at", Text),
    Column("certificate", Text, comment="the OpenPGP key in base64; null for ssh"),
    Column("projects", Text, comment="JSON list of those that it may sign for; null: all"),
    Column("indexes", Text, comment="JSON list of those that it may sign for; null: all"),
    comment="people whose signatures count",
)

docs_archives = Table(
    "docs_archives",
    metadata,
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("format", Text, nullable=False, comment="zip or tar.gz"),
    Column("uploaded_at", Text, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    comment="built documentation of releases, one archive each",
)

runs = Table(
    "runs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("commit_id", Text),
    Column("project", Text),
    Column("version", Text),
    Column("state", Text, nullable=False),
    Column("worker", Text),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", Text, nullable=False),
    Column("claimed_at", Text),
    Column("finished_at", Text),
    Column("detail", Text, comment="what failed, in one sentence"),
    Column(
        "index_name",
        Text,
        nullable=False,
        server_default=text("'unstable'"),
        comment="where its release enters; before there was a choice, all entered unstable",
    ),
    Column("priority", Integer, nullable=False, server_default=text("0"), comment="higher ones come first"),
    Column("retry_of", RowId, comment="the run that it does again; null: none"),
    Column("reason", Text, comment="why it was requested again, or cancelled"),
    Column("tests_since", Text, comment="only later results of tests count for it; null: all"),
    Index(None, "state", "id"),
    comment="pipeline runs: one commit or tag going through",
)

repositories = Table(
    "repositories",
    metadata,
    Column("project", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("is_local", Boolean, nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("registered_at", Text, nullable=False),
    Column("branch", Text, comment="of which the store requests runs by itself; null: of none"),
    Column("index_name", Text, comment="where these runs enter; null: the only index where they can"),
    Column("schedule", Text, comment="when one is requested; null: at no time"),
    Column("on_release", Text, nullable=False, server_default=text("'[]'"), comment="JSON list of projects"),
    Column("next_run_at", Text, comment="when the schedule comes next"),
    Column("seen_serial", BigInteger, comment="events up to this one were looked at for new releases"),
    Index(None, "next_run_at"),
    comment="repositories that runs may be asked for, by the project that they release",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("host", Text, nullable=False, comment="github, gitlab, gitea or bitbucket"),
    Column("index_name", Text, comment="where releases enter; null: the only index where they can"),
    Column("secret", Text, nullable=False, comment="shared with the host: signatures need it as it is"),
    Column("registered_by", Text, nullable=False),
    Column("registered_at", Text, nullable=False),
    comment="webhooks of git hosts, whose deliveries ask for runs",
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", Text, ForeignKey("webhooks.id"), primary_key=True),
    Column("digest", Text, primary_key=True, comment="SHA-256 of the body"),
    Column("received_at", Text, nullable=False),
    comment="deliveries of before, so that none counts twice",
)

receivers = Table(
    "receivers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False, comment="JSON list of types of messages; empty: the usual ones"),
    Column("indexes", Text, nullable=False, comment="JSON list of patterns; empty: every public index"),
    Column("projects", Text, nullable=False, comment="JSON list of patterns; empty: all"),
    Column("is_local", Boolean, nullable=False),
    Column("secret", Text, comment="signs its messages; null: mail"),
    Column("registered_by", Text, nullable=False),
    Column("registered_at", Text, nullable=False),
    Column("told_serial", BigInteger, nullable=False, comment="events up to this one became messages"),
    comment="who is told of changes; the audit log is their outbox",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", RowId, primary_key=True, comment="in the order of the events"),
    Column("id", Text, nullable=False),
    Column("receiver_id", Text, ForeignKey("receivers.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="what is told in order: a release, or a run"),
    Column("body", Text, nullable=False, comment="JSON, the same in every attempt"),
    Column("state", Text, nullable=False, comment="waiting, delivered or failed"),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("asked_at", Text, nullable=False, comment="when it was made, or asked for again"),
    Column("next_at", Text, comment="when it is tried, or taken from a process that died with it"),
    Column("finished_at", Text),
    Column("answer", Text, comment="what the last attempt met with"),
    UniqueConstraint("id"),
    Index(None, "state", "next_at"),
    Index(None, "receiver_id", "subject", "state", "number"),
    comment="messages to receivers, on their way and at its end",
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", RowId, ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("detail", Text, nullable=False, comment="JSON: what the step found or made"),
)

run_output = Table(
    "run_output",
    metadata,
    Column("run_id", RowId, ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("received_at", Text, nullable=False),
    Column("characters", Integer, nullable=False, comment="how much it is; a run has a limit"),
    Column("parts", Text, nullable=False, comment="JSON: names of logs, and lines in them"),
    comment="what the programs of runs write, for those who look on; removed with the run",
)


def bytes_of_files() -> ColumnElement[int]:
    """The bytes of a project's distributions and documentation, within a statement about projects."""
    files, docs = distributions.c, docs_archives.c
    summed = [
        select(func.coalesce(func.sum(size), 0)).where(project == projects.c.name).scalar_subquery()
        for size, project in ((files.size_bytes, files.project), (docs.size_bytes, docs.project))
    ]
    return summed[0] + summed[1]
