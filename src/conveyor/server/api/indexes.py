"""Indexes, and claims: names that belong to the house, so that no index asks upstream for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast, get_args

from conveyor.domain.indexes.definitions import IndexMode
from conveyor.operations.indexes.claims import claim_name, list_claims, name_to_ask_for
from conveyor.operations.indexes.definitions import create_index, visible_indexes
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import (
    FLAG,
    INDEX_NAME,
    MOMENT,
    PROJECT,
    TEXT,
    given,
    listed,
    named,
    nullable,
    one_of,
    record,
)

if TYPE_CHECKING:
    from conveyor.domain.indexes.definitions import Index
    from conveyor.server.api.endpoints import Call


def get_indexes(call: Call) -> Answer:
    """The indexes that the caller may read, by name."""
    return Answer({"indexes": [_as_json(index) for index in visible_indexes(call.store, call.identity)]})


def post_index(call: Call) -> Answer:
    """Make a local index; whether it accepts uploads is fixed from here on."""
    fields = call.fields("the index")
    name = fields.text("name", max_length=200)
    mode = fields.choice("mode", get_args(IndexMode))
    bases = fields.texts("bases", default=())
    gates = fields.texts("gates", default=())
    is_private = fields.flag("is_private", default=False)
    fields.finish(is_closed=True)
    index = create_index(
        call.store,
        call.identity,
        name,
        mode=cast("IndexMode", mode),
        bases=bases,
        gates=gates,
        is_private=is_private,
    )
    return Answer(_as_json(index), 201)


def _as_json(index: Index) -> dict[str, Any]:
    return {
        "name": index.name,
        "kind": index.kind,
        "mode": index.mode,
        "bases": list(index.bases),
        "gates": list(index.gates),
        "is_private": index.is_private,
    }


def get_claims(call: Call) -> Answer:
    """Every claim, by name."""
    return Answer({"claims": [asdict(claim) for claim in list_claims(call.store, call.identity)]})


def post_claim(call: Call) -> Answer:
    """Claim a project's name, or every name that begins with a prefix; for ever.

    As with a first upload, upstream is asked for the name unless an administrator claims it.
    """
    fields = call.fields("the claim")
    name = fields.text("name", max_length=300)
    is_prefix = fields.flag("is_prefix", default=False)
    fields.finish(is_closed=True)
    asked = name_to_ask_for(call.store, call.identity, name, is_prefix=is_prefix)
    claim, is_new = claim_name(
        call.store,
        call.identity,
        name,
        is_prefix=is_prefix,
        upstream_has=call.upstream_has(asked) if asked is not None else None,
    )
    return Answer(asdict(claim), 201 if is_new else 200)


_CLAIM = record({"name": TEXT, "is_prefix": FLAG, "claimed_by": TEXT, "claimed_at": MOMENT})

ENDPOINTS = (
    Endpoint(
        "GET",
        "/indexes",
        get_indexes,
        right="read",
        answers={200: record({"indexes": listed(named("Index"))})},
    ),
    Endpoint(
        "POST",
        "/indexes",
        post_index,
        right="admin",
        body=record(
            {"name": INDEX_NAME, "mode": one_of(*get_args(IndexMode))},
            {"bases": nullable(listed(INDEX_NAME)), "gates": nullable(listed(given())), "is_private": FLAG},
        ),
        answers={201: named("Index")},
    ),
    Endpoint("GET", "/claims", get_claims, right="admin", answers={200: record({"claims": listed(_CLAIM)})}),
    Endpoint(
        "POST",
        "/claims",
        post_claim,
        right="claim",
        body=record({"name": PROJECT}, {"is_prefix": FLAG}),
        answers={201: _CLAIM, 200: _CLAIM},
    ),
)
