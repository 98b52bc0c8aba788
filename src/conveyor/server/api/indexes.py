"""Indexes, and claims: names that belong to the house, so that no index asks upstream for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import Index, MadeClaim, NewClaim, NewIndex
from conveyor.operations.indexes.claims import claim_name, list_claims, name_to_ask_for
from conveyor.operations.indexes.definitions import create_index, visible_indexes
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_indexes(call: Call) -> Answer:
    """The indexes that the caller may read, by name."""
    return Answer({"indexes": visible_indexes(call.store, call.identity)})


def post_index(call: Call) -> Answer:
    """Make a local index; whether it accepts uploads is fixed from here on."""
    return Answer(create_index(call.store, call.identity, call.read(NewIndex, what="the index")), 201)


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
    Endpoint("GET", "/indexes", get_indexes, right="read", answers={200: ListOf("indexes", Index)}),
    Endpoint("POST", "/indexes", post_index, right="admin", body=NewIndex, answers={201: Index}),
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
