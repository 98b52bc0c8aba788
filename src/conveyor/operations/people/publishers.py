"""Trusted publishers: register one, and exchange the ID token of its job for a token that publishes.

A publisher acts as a user of its own, ``publisher-N``, which has neither a password nor a lasting token. An
ID token is exchanged in these steps:

1. it is well-formed, and a publisher of its issuer is registered   (``publishers_of_issuer``)
2. its signature is genuine, by a key that the server has fetched from the issuer
3. its times and its audience hold: an ID token for another store gains nothing here
4. it is a registered publisher, by repository, workflow and environment; several publishers of one workflow
   publish into one index
5. it was not exchanged before, if it has an id at all (``jti``)
6. its repository and owner have the numbers that they had at the first exchange: a name may be registered
   again by somebody else

The token that it gets reaches that index and these projects, and ends after a quarter of an hour; or, if the
job asks for that, with its ID token, which was as good until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.catalog.people import users as rows
from conveyor.domain.indexes.policy import accepting_index
from conveyor.domain.people.access import OF_PUBLISHERS, HostedJob, NewToken, may_administer
from conveyor.domain.people.publishers import (
    Publisher,
    check_claims,
    check_publisher,
    lasting_ids,
    mismatches,
    user_of,
)
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, Forbidden, NotFound
from conveyor.operations.people.tokens import digest_of, insert_new_token
from conveyor.operations.store.facts import store_id
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from conveyor.domain.people.access import Identity, Scope
    from conveyor.domain.people.publishers import IdToken, IssuerKey, NewPublisher
    from conveyor.operations.store.store import Store

PUBLISHER_SCOPES: frozenset[Scope] = frozenset({"read", "upload"})
LIFETIME = timedelta(minutes=16)
"""PEP 807 (draft) asks for at least a quarter of an hour from the time of the request."""
NOTED_CLAIMS = ("ref", "sha", "run_id", "pipeline_id", "job_id", "actor", "user_login", "environment")
"""Claims that the audit log keeps: what the CI host says about the job."""
_OF_PERSONS = ("actor", "user_login")
"""Those that only the audit log keeps; the others are shown with what the job told."""


@dataclass(frozen=True)
class Exchanged:
    """What an ID token was exchanged for."""

    secret: str = field(repr=False)
    expires_at: str


def add_publisher(store: Store, identity: Identity, asked: NewPublisher) -> Publisher:
    """Register a publisher.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store, or the index takes no uploads.
        InvalidName, InvalidInput: the project or another value is not allowed; names every fault.
        NotFound: there is no such index.
        Conflict: the same publisher is registered already.
    """
    may_administer(identity)
    check_publisher(asked)
    name, issuer = project_name(asked.project), asked.issuer.rstrip("/")
    with record_change(store, actor=identity.name) as change:
        connection = change.connection
        accepting_index(asked.index, all_indexes(connection), identity)
        wanted = replace(asked, project=name, issuer=issuer)
        if any(_is_same(one, wanted) for one in rows.publishers_of(connection, issuer)):
            raise Conflict("this publisher is registered already", hint="see conveyor store publisher list")
        number = rows.insert_publisher(
            connection, wanted, registered_by=identity.name, registered_at=change.at
        )
        publisher = next(one for one in rows.publishers_of(connection, issuer) if one.id == number)
        rows.insert_user(
            connection, name=publisher.user, password_hash=None, scopes=PUBLISHER_SCOPES,
            created_at=change.at,
        )  # fmt: skip
        detail = {"publisher": number, "project": name, "issuer": issuer, "repository": asked.repository}
        change.event("add-publisher", index=asked.index, detail=detail)
    return publisher


def _is_same(known: Publisher, wanted: NewPublisher) -> bool:
    return all(getattr(known, name) == value for name, value in vars(wanted).items())


def list_publishers(store: Store, identity: Identity) -> list[Publisher]:
    """Every publisher, by number; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.list_publishers(connection)


def remove_publisher(store: Store, identity: Identity, number: int) -> None:
    """Remove a publisher; its tokens stop working at once.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        NotFound: there is no such publisher.
    """
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        if not rows.remove_publisher(change.connection, number, removed_at=change.at):
            raise NotFound(f"there is no publisher {number}", hint="see conveyor store publisher list")
        user = user_of(number)
        rows.disable_user(change.connection, user, disabled_at=change.at)
        rows.revoke_tokens_of(change.connection, user, revoked_at=change.at)
        change.event("remove-publisher", detail={"publisher": number})


def audience(store: Store, host: str | None) -> str | None:
    """What ID tokens for this store are made out to; ``None`` if it has no publisher.

    That is the host of its public URL, if it has one, else a word made of the store's id: never what a
    request says, or a token for another store could be exchanged here.
    """
    with read(store) as connection:
        if not rows.list_publishers(connection):
            return None
    return host or f"conveyor-{store_id(store)[:12]}"


def upload_places(store: Store) -> list[str]:
    """The paths at which indexes of this store take uploads."""
    with read(store) as connection:
        indexes = all_indexes(connection)
    return [f"/{name}/legacy/" for name, index in indexes.items() if index.mode == "uploads"]


def publishers_of_issuer(store: Store, issuer: str) -> list[Publisher]:
    """The publishers of an issuer, before its keys are asked for; raises Forbidden if there are none."""
    with read(store) as connection:
        found = rows.publishers_of(connection, issuer)
    if not found:
        raise Forbidden(
            f'no publisher of the issuer "{issuer[:200]}" is registered here',
            hint="an administrator registers it: conveyor store publisher add --help",
        )
    return found


def exchange(
    store: Store, token: IdToken, key: IssuerKey, *, audience: str, is_lasting: bool = False
) -> Exchanged:
    """Steps 2 to 6: a token for the job of a publisher, and when it ends.

    ``is_lasting``: it ends with the ID token, if that is later; a build may take hours.

    Raises:
        Forbidden: a step refuses it; says what was wanted and what was seen.
        Conflict: it was exchanged before.
    """
    # 2. the signature
    if not is_genuine(token, key):
        raise Forbidden(
            "the signature of the ID token is not genuine", hint="is it whole, and of this issuer?"
        )
    # 3. times and audience
    now = store.clock()
    check_claims(token, audience=audience, now=now.timestamp())
    # 4. which publisher
    chosen = _matching(publishers_of_issuer(store, token.issuer), token)
    expires = datetime.fromtimestamp(float(token.claims["exp"]), UTC)
    first, until = chosen[0], utc_text(max(now + LIFETIME, expires if is_lasting else now))
    noted = {name: str(token.claims[name])[:200] for name in NOTED_CLAIMS if name in token.claims}
    asked = NewToken(
        first.user,
        scopes=tuple(sorted(PUBLISHER_SCOPES)),
        indexes=(first.index,),
        projects=tuple(sorted({one.project for one in chosen})),
        expires_at=until,
        description=f"job of {first.repository}",
    )
    shown = {name: value for name, value in noted.items() if name not in _OF_PERSONS}
    shown |= {"issuer": first.issuer, "repository": first.repository, "workflow": first.workflow}
    job = HostedJob({one.project: one.id for one in chosen}, shown)
    with record_change(store, actor=first.user) as change:
        # 5. once
        token_id = token.claims.get("jti")
        rows.forget_exchanges(change.connection, before=utc_text(now - timedelta(minutes=5)))
        if token_id is not None and not rows.note_exchange(
            change.connection, token.issuer, str(token_id)[:500], expires_at=utc_text(expires)
        ):
            raise Conflict(
                "this ID token was exchanged before",
                hint="let the job ask for a new one for each publication",
            )
        # 6. still the same repository
        noted |= _pin(change.connection, chosen, token)
        detail = {"publishers": [one.id for one in chosen], "repository": first.repository, **noted}
        issued = insert_new_token(change, asked, job=job)
        change.event("exchange-id-token", detail={"token": issued.id, **detail})
    return Exchanged(issued.secret, until)


def _pin(connection: Connection, chosen: Sequence[Publisher], token: IdToken) -> dict[str, str]:
    """Step 6: remember by which numbers the host calls the repository and its owner, if that is new.

    Raises:
        Forbidden: a job with other numbers came first, at the same time.
    """
    told: dict[str, str] = {}
    for one in chosen:
        ids = lasting_ids(one, token.claims)
        rows.pin_publisher(connection, one.id, ids)
        told |= ids
    if told:
        _matching(rows.publishers_of(connection, token.issuer), token)
    return told


def burn(store: Store, secret: str) -> None:
    """Revoke a token that a publisher got; any other text changes nothing, and no answer tells which."""
    digest = digest_of(secret)
    with read(store) as connection:
        known = rows.find_token(connection, digest)
    if known is None or not known.user.startswith(OF_PUBLISHERS):
        return
    with record_change(store, actor=known.user) as change:
        if rows.revoke_token(change.connection, known.id, revoked_at=change.at) is not None:
            change.event("revoke-token", detail={"token": known.id, "user": known.user})


def is_genuine(token: IdToken, key: IssuerKey) -> bool:
    """Whether that key made the signature of an ID token; the key says by which algorithm, not the token."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    if key.algorithm != token.algorithm:
        return False
    try:
        if key.algorithm == "RS256":
            modulus, exponent = key.numbers
            public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
            public.verify(token.signature, token.signed, padding.PKCS1v15(), SHA256())
        elif len(token.signature) == 64:  # RFC 7518, section 3.4
            halves = (
                int.from_bytes(token.signature[:32], "big"),
                int.from_bytes(token.signature[32:], "big"),
            )
            point = ec.EllipticCurvePublicNumbers(*key.numbers, ec.SECP256R1()).public_key()
            point.verify(encode_dss_signature(*halves), token.signed, ec.ECDSA(SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _matching(known: Sequence[Publisher], token: IdToken) -> list[Publisher]:
    """The publishers that an ID token is of; raises Forbidden, with what the nearest one lacks."""
    found = {one.id: mismatches(one, token.claims) for one in known}
    chosen = [one for one in known if not found[one.id]]
    if not chosen:
        nearest = min(found.values(), key=len)
        raise Forbidden(
            f"this job is not a publisher that is registered here: {'; '.join(nearest)}",
            hint="an administrator compares them: conveyor store publisher list",
        )
    named = [one for one in chosen if one.environment is not None]  # more exact than any environment
    chosen = named or chosen
    indexes = sorted({one.index for one in chosen})
    if len(indexes) > 1:
        raise Forbidden(
            f"this job is a publisher for several indexes: {', '.join(indexes)}",
            hint="register each for an environment of its own: conveyor store publisher list",
        )
    return chosen
