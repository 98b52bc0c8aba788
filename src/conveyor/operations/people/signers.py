"""Signers, who are people with SSH or OpenPGP keys, and pipeline workers: register, revoke, list them.

A worker is a machine whose evidence counts: it has an Ed25519 key for its signatures, and a user with a token
for its requests. The private key never comes here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people import signers as rows
from conveyor.catalog.people.users import disable_user, find_user, insert_user, revoke_tokens_of
from conveyor.domain.people.access import (
    WORKER_SCOPES,
    Identity,
    NewToken,
    check_user_name,
    may_administer,
)
from conveyor.domain.people.keys import (
    IssuedWorker,
    check_principal,
    fingerprint,
    key_id,
    parse_public_key,
    read_public_key,
    write_public_key,
)
from conveyor.domain.people.openpgp import is_openpgp, read_certificate, write_certificate
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import future_text, utc_text
from conveyor.domain.words.records import as_json
from conveyor.errors import Conflict, InvalidInput, NotFound
from conveyor.operations.people.tokens import insert_new_token
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from conveyor.domain.people.keys import NewSigner, Signer, Worker
    from conveyor.domain.people.openpgp import Certificate
    from conveyor.operations.store.store import Store


def add_signer(store: Store, identity: Identity, asked: NewSigner) -> Signer:
    """Register a person's key, or change what it may sign; an OpenPGP key is renewed if it has changed since.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the name, the key, the time or a project is not allowed, or there is no
            such index.
        Conflict: the key is already registered; a revoked key never counts again.
    """
    may_administer(identity)
    check_principal(asked.principal)
    now = store.clock()
    until = None if asked.valid_until is None else future_text(asked.valid_until, now)
    if asked.valid_until is not None and until is None:
        raise InvalidInput(f'"{asked.valid_until[:40]}" is not a future time, such as 2030-12-31T00:00:00Z')
    certificate = None
    if is_openpgp(asked.public_key):
        read_key = read_certificate(asked.public_key)
        key, certificate = read_key.name, write_certificate(read_key)
        until = _earlier(until, read_key, now)
    else:
        key = parse_public_key(asked.public_key)
    projects = (
        None if asked.projects is None else tuple(sorted({project_name(one) for one in asked.projects}))
    )
    checked = replace(asked, public_key=key, valid_until=until, projects=projects)
    with record_change(store, actor=identity.name) as change:
        _check_indexes(asked.indexes or (), all_indexes(change.connection))
        known = rows.find_signer(change.connection, key)
        if known is None:
            rows.insert_signer(change.connection, checked, certificate=certificate, registered_at=change.at)
        elif (
            known.revoked_at
            or known.principal != asked.principal
            or _says_the_same(known, checked, certificate)
        ):
            state = "was revoked" if known.revoked_at else "is already registered"
            raise Conflict(
                f"the key {fingerprint(key)} of {known.principal} {state}",
                hint="make a new key: ssh-keygen -t ed25519",
            )
        else:
            rows.renew_signer(change.connection, checked, certificate=certificate)
        detail = {name: value for name, value in as_json(checked).items() if name != "public_key"}
        change.event("add-signer", detail={**detail, "key": fingerprint(key)})
        signer = rows.find_signer(change.connection, key)
    assert signer is not None  # noqa: S101 - written above, in the same transaction
    return signer


def _says_the_same(known: Signer, asked: NewSigner, certificate: str | None) -> bool:
    """Whether registering the key again would change nothing."""
    is_same_key = certificate in (None, known.certificate)
    return is_same_key and (known.projects, known.indexes) == (asked.projects, asked.indexes)


def _check_indexes(names: Iterable[str], existing: Collection[str]) -> None:
    faults = [f'there is no index "{name}"' for name in names if name not in existing]
    if faults:
        raise InvalidInput(faults[0], faults=faults, hint="see conveyor store index list")


def _earlier(until: str | None, key: Certificate, now: datetime) -> str | None:
    """The time until which an OpenPGP key counts: its own expiry, unless the administrator's is earlier."""
    if key.valid_until is None:
        return until
    own = utc_text(datetime.fromtimestamp(key.valid_until, UTC))
    if own <= utc_text(now):
        raise InvalidInput(f"the key {key.fingerprint} expired at {own}", hint=_RENEWAL)
    return own if until is None else min(own, until)


_RENEWAL = (
    "let its owner extend it: gpg --quick-set-expire FINGERPRINT 2y; "
    "then register the output of: gpg --armor --export FINGERPRINT"
)


def revoke_signer(store: Store, identity: Identity, principal: str, public_key: str | None = None) -> int:
    """Revoke a person's key (``None``: every key), for old signatures too; returns how many were revoked.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such signer, or all its keys are already revoked.
    """
    may_administer(identity)
    key = None if public_key is None else _key_of(public_key)
    with record_change(store, actor=identity.name) as change:
        revoked = [
            signer
            for signer in rows.list_signers(change.connection)
            if signer.principal == principal
            and key in (None, signer.public_key)
            and rows.revoke_signer(change.connection, signer.public_key, revoked_at=change.at)
        ]
        if not revoked:
            raise NotFound(f"{principal} has no key to revoke", hint="see conveyor store signer list")
        keys = [fingerprint(signer.public_key) for signer in revoked]
        change.event("revoke-signer", detail={"principal": principal, "keys": keys})
    return len(revoked)


def _key_of(text: str) -> str:
    return read_certificate(text).name if "BEGIN PGP" in text else parse_public_key(text)


def list_signers(store: Store, identity: Identity) -> list[Signer]:
    """Every signer in order of registration, including revoked ones; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.list_signers(connection)


def add_worker(store: Store, identity: Identity, name: str, public_key: str) -> IssuedWorker:
    """Register a worker with its public key (PEM, Ed25519), a user of the same name and a token.

    The token may read, ask for runs, get the token of each run that the worker holds, and hand in what the
    worker signed.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidName, InvalidInput: the name is not allowed, or the key is not an Ed25519 key.
        Conflict: the name or the key is already registered, even if revoked.
    """
    may_administer(identity)
    check_user_name(name)
    raw = read_public_key(public_key)
    known_as = key_id(raw)
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        if find_user(connection, name) is not None:
            raise Conflict(f'there is already a user or worker "{name}"', hint="choose another name")
        if rows.workers_of_keys(connection, [known_as]):
            raise Conflict("this key is already registered", hint="make a separate key for each worker")
        insert_user(connection, name=name, password_hash=None, scopes=WORKER_SCOPES, created_at=change.at)
        rows.insert_worker(
            connection,
            name=name,
            user=name,
            key_id=known_as,
            public_key=write_public_key(raw),
            registered_at=change.at,
        )
        wanted = NewToken(name, scopes=tuple(sorted(WORKER_SCOPES)), description="pipeline worker")
        token = insert_new_token(change, wanted).secret
        change.event("add-worker", detail={"worker": name, "key_id": known_as})
    return IssuedWorker(token=token, key_id=known_as)


def revoke_worker(store: Store, identity: Identity, name: str) -> None:
    """Revoke a worker: its evidence, earlier evidence too, no longer counts, and its tokens stop working.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such worker, or it is already revoked.
    """
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        if not rows.revoke_worker(change.connection, name, revoked_at=change.at):
            raise NotFound(f'there is no worker "{name}" to revoke', hint="see conveyor store worker list")
        disable_user(change.connection, name, disabled_at=change.at)
        revoke_tokens_of(change.connection, name, revoked_at=change.at)
        change.event("revoke-worker", detail={"worker": name})


def list_workers(store: Store, identity: Identity) -> list[Worker]:
    """Every worker by name, including revoked ones; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.list_workers(connection)
