"""The store as a whole, its indexes, and claims: names for which no index asks upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import installed_version
from conveyor.domain.indexes.definitions import Index, IndexSettings, MadeClaim, NewClaim, NewIndex
from conveyor.domain.words.notation import Event, StoreStatus
from conveyor.domain.words.records import Count
from conveyor.operations.indexes.claims import claim_name, list_claims, name_to_ask_for
from conveyor.operations.indexes.definitions import create_index, set_index, visible_indexes
from conveyor.operations.releases.advances import judge_due
from conveyor.operations.store.facts import list_events, store_id
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_status(call: Call) -> Answer:
    """The version of the product, the id of the store, the serial of its newest change."""
    store = call.store
    url = store.public_url.rstrip("/") if store.public_url else None
    return Answer(StoreStatus(installed_version(), store_id(store), store.newest.read(), url))


def get_events(call: Call) -> Answer:
    """The changes after a serial, oldest first, a thousand at most."""
    since = call.query_number("since", default=0)
    return Answer({"events": list_events(call.store, call.identity, since=since)})


def get_indexes(call: Call) -> Answer:
    """The indexes that the caller may read, by name."""
    return Answer({"indexes": visible_indexes(call.store, call.identity)})


def post_index(call: Call) -> Answer:
    """Make a local index; whether it accepts uploads is fixed from here on."""
    return Answer(create_index(call.store, call.identity, call.read(NewIndex, what="the index")), 201)


def put_index_settings(call: Call) -> Answer:
    """Change the settings of an index; those that the body leaves out are emptied."""
    changed = set_index(call.store, call.identity, call.read(IndexSettings, what="the index"))
    judge_due(call.store)
    return Answer(changed)


def get_claims(call: Call) -> Answer:
    """Every claim, by name."""
    return Answer({"claims": list_claims(call.store, call.identity)})


def post_claim(call: Call) -> Answer:
    """Claim a project's name, or every name that begins with a prefix, permanently.

    As with a first upload, upstream is asked for the name unless an administrator claims it.
    """
    wanted = call.read(NewClaim, what="the claim")
    asked = name_to_ask_for(call.store, call.identity, wanted.name, is_prefix=wanted.is_prefix)
    claim, is_new = claim_name(
        call.store,
        call.identity,
        wanted.name,
        is_prefix=wanted.is_prefix,
        upstream_has=call.upstream_has(asked) if asked is not None else None,
    )
    return Answer(claim, 201 if is_new else 200)


ENDPOINTS = (
    Endpoint("GET", "/status", get_status, right=None, answers={200: StoreStatus}),
    Endpoint(
        "GET",
        "/events",
        get_events,
        right="admin",
        query={"since": Count},
        answers={200: ListOf("events", Event)},
    ),
    Endpoint("GET", "/indexes", get_indexes, right="read", answers={200: ListOf("indexes", Index)}),
    Endpoint("POST", "/indexes", post_index, right="admin", body=NewIndex, answers={201: Index}),
    Endpoint(
        "PUT",
        "/indexes/settings",
        put_index_settings,
        right="admin",
        body=IndexSettings,
        answers={200: Index},
    ),
    Endpoint("GET", "/claims", get_claims, right="admin", answers={200: ListOf("claims", MadeClaim)}),
    Endpoint(
        "POST",
        "/claims",
        post_claim,
        right="claim",
        body=NewClaim,
        answers={201: MadeClaim, 200: MadeClaim},
    ),
)
