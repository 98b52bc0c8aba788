"""Makers of releases with evidence: published files, signed statements of workers, signed git tags."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from conveyor.client.credentials import WorkerCredentials, make_key_pair, sign_statement
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import HostedJob, Identity
from conveyor.domain.people.publishers import NewPublisher
from conveyor.domain.releases.evidence import statement
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import NewRun
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.publishers import add_publisher
from conveyor.operations.people.signers import add_worker
from conveyor.operations.releases.evidence import Received, add_evidence, add_statement
from conveyor.operations.runs.queue import create_run
from conveyor.operations.runs.repositories import add_repository
from conveyor.operations.uploads.acceptance import AcceptedUpload, ReceivedUpload, accept_upload
from conveyor.operations.uploads.incoming_files import IncomingFile
from distributions_made import Made, make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.releases.evidence import EvidenceKind
    from conveyor.domain.runs.states import Run
    from conveyor.operations.store.store import Store

REPOSITORY = "/srv/demo.git"
ADMIN = Identity("admin", frozenset({"admin"}))
TEAM_CHAIN = ("risk/unstable", "risk/testing", "risk/stable")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MADE: dict[str, Any] = {"at": "2020-01-01T00:00:00.000000Z", "isolation": "jail", "run": None}


def publish(store: Store, made: Made, *, index: str = "unstable") -> AcceptedUpload:
    """Put a file into an index, as an administrator's upload does."""
    file = IncomingFile(store.blobs, limits=UploadLimits())
    try:
        file.write([made.content])
        upload = ReceivedUpload(index, made.filename, UploadForm(made.form), file)
        accepted = accept_upload(store, upload, identity=ADMIN, limits=UploadLimits())
    finally:
        file.close()
    assert isinstance(accepted, AcceptedUpload)
    return accepted


def make_worker(store: Store, name: str = "worker-1") -> WorkerCredentials:
    """A registered worker and its credentials."""
    pair = make_key_pair()
    registered = add_worker(store, ADMIN, name, pair.public_pem)
    return WorkerCredentials(None, name, registered.token, pair.private_pem)


def make_job(
    store: Store, *projects: str, index: str = "unstable", issuer: str = "https://git.example"
) -> Identity:
    """A job of a CI host with the token of a trusted publisher of these projects, as its ID token made it."""
    made = {
        name: add_publisher(
            store, ADMIN, NewPublisher(name, index, "gitlab", issuer, f"team/{name}", ".gitlab-ci.yml")
        )
        for name in projects
    }
    first = made[projects[0]]
    claims = {"repository": first.repository, "issuer": first.issuer, "ref": "v1.0", "job_id": "42"}
    return Identity(
        first.user,
        frozenset({"read", "upload"}),
        indexes=frozenset({index}),
        projects=frozenset(made),
        job=HostedJob({name: one.id for name, one in made.items()}, claims),
    )


def tell(store: Store, job: Identity, kind: EvidenceKind, made: Made, predicate: dict[str, Any]) -> Received:
    """What the job found out about a file, told unsigned."""
    said = statement(kind, filename=made.filename, sha256=made.sha256, predicate=predicate)
    return add_statement(store, job, said)


def make_team_chain(store: Store) -> None:
    """The indexes of a team beside the default ones, the last one first."""
    entry, middle, end = TEAM_CHAIN
    bases = ("stable", "pypi")  # what was released there can be installed
    create_index(
        store, ADMIN, NewIndex(end, mode="promotion-only", bases=bases, gates=("tests", "qa-signature"))
    )
    create_index(store, ADMIN, NewIndex(middle, mode="promotion-only", bases=(end, *bases), gates=("tests",)))
    create_index(store, ADMIN, NewIndex(entry, mode="uploads", bases=(middle, end, *bases)))


def request_run(store: Store, *, ref: str = "main", index: str | None = None) -> Run:
    """A run that an administrator asked for, of a repository that is registered for demo and my-demo."""
    for project in ("demo", "my-demo"):
        add_repository(store, ADMIN, NewRepository(project, REPOSITORY, is_local=True))
    return create_run(store, ADMIN, NewRun(REPOSITORY, ref, index))


def predicate_of_build(
    made: Made, *, name: str = "demo", version: str = "1.0", **changed: Any
) -> dict[str, Any]:
    """What a packaging job says of a file."""
    return {
        "project": name,
        "version": version,
        "commit": COMMIT,
        "tag": None,
        "repository": "file:///demo.git",
        "filename": made.filename,
        "built_from": None,
        "payload": [],
        "source_date_epoch": 0,
        "environment": {"python": "3.11.7", "platform": "linux-x86_64", "backend": "flit_core"},
        "derived_from": None,
        "made": MADE,
        **changed,
    }


def predicate_of_tests(*, name: str = "demo", version: str = "1.0", **changed: Any) -> dict[str, Any]:
    """What a testing job says of a file; three tests passed.

    They were resolved against "unstable", for which nobody tests in earnest: with tests for the index that
    follows, the store promotes by itself.
    """
    return {
        "project": name,
        "version": version,
        "index": "unstable",
        "passed": 3,
        "failed": 0,
        "errors": 0,
        "skipped": 0,
        "origin": {"modules_checked": 1, "outside": []},
        "environment": {
            "python": "3.11.7",
            "platform": "linux-x86_64",
            "packages": [],
            "lock_sha256": "0" * 64,
        },
        "duration_milliseconds": 500,
        "made": MADE,
        **changed,
    }


def envelope_of(
    credentials: WorkerCredentials, kind: EvidenceKind, made: Made, predicate: dict[str, Any]
) -> bytes:
    """A signed statement about a file."""
    said = statement(kind, filename=made.filename, sha256=made.sha256, predicate=predicate)
    return sign_statement(said, credentials)


def hand_in(
    store: Store, credentials: WorkerCredentials, kind: EvidenceKind, made: Made, predicate: dict[str, Any]
) -> Received:
    """Sign a statement about a file and hand it in."""
    return add_evidence(store, ADMIN, envelope_of(credentials, kind, made, predicate))


def make_release(
    store: Store,
    credentials: WorkerCredentials,
    *,
    version: str = "1.0",
    commit: str = COMMIT,
    index: str = "unstable",
) -> tuple[Made, Made]:
    """An sdist and a wheel built from it in an index, with build evidence; neither is tested."""
    sdist, wheel = make_sdist("demo", version), make_wheel("demo", version)
    for made, source in ((sdist, None), (wheel, sdist.sha256)):
        publish(store, made, index=index)
        predicate = predicate_of_build(made, version=version, commit=commit, built_from=source)
        hand_in(store, credentials, "build", made, predicate)
    return sdist, wheel


# --- signed tags -------------------------------------------------------------------------------------------


def make_ssh_key(folder: Path, name: str = "key", kind: str = "ed25519", *options: str) -> Path:
    """A throw-away SSH key; the public one lies beside it and ends in ``.pub``."""
    key = folder / name
    run("ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", "made for a test", "-f", str(key))
    return key


def public_key(key: Path) -> str:
    """The line of the public key."""
    return key.with_suffix(".pub").read_text(encoding="utf-8")


def make_repository(folder: Path) -> Path:
    """A git repository with one commit."""
    repository = folder / "repository"
    run("git", "init", "-q", "-b", "main", str(repository))
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    return repository


def head(repository: Path) -> str:
    """The commit that is checked out."""
    return git(repository, "rev-parse", "HEAD").decode().strip()


def sign_tag(
    repository: Path, key: Path, tag: str, *, target: str = "HEAD", date: str = "2026-11-21T08:00:00Z"
) -> bytes:
    """Make a signed tag with git and return its object."""
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    git(repository, *signing, "tag", "-s", "-m", f"release {tag}", tag, target, date=date)
    return tag_object(repository, tag)


def tag_object(repository: Path, tag: str) -> bytes:
    """The bytes of ``git cat-file tag``."""
    return git(repository, "cat-file", "tag", tag)


def git(repository: Path, *arguments: str, date: str = "2026-11-21T08:00:00Z") -> bytes:
    """Run git with an identity of its own and nobody's configuration."""
    return run("git", "-C", str(repository), *arguments, date=date)


def run(*arguments: str, date: str = "2026-11-21T08:00:00Z", stdin: bytes = b"") -> bytes:
    """Run a program in a clean environment and return its standard output."""
    names = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", "Maker"), ("EMAIL", "maker@localhost"), ("DATE", date))
    }
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **names,
    }
    done = subprocess.run(arguments, env=environment, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
