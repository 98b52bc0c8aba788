"""Claims: names that belong to the house, so that no index asks upstream for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.operations.indexes.claims import claim_name, list_claims, name_to_ask_for
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import FLAG, MOMENT, PROJECT, TEXT, listed, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


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
