"""API tokens: make one, list them, revoke one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.domain.people.access import SCOPES
from conveyor.operations.people.tokens import create_token, list_tokens, revoke_token
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, MOMENT, TEXT, given, listed, nullable, one_of, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def post_token(call: Call) -> Answer:
    """Make a token for a user; it is shown this once."""
    fields = call.fields("the token")
    user = fields.text("user", max_length=200)
    scopes = fields.texts("scopes", default=None)
    indexes = fields.texts("indexes", default=None)
    projects = fields.texts("projects", default=None)
    expires_at = fields.optional_text("expires_at", max_length=100)
    description = fields.optional_text("description", max_length=1000)
    fields.finish(is_closed=True)
    token = create_token(
        call.store,
        call.identity,
        user,
        scopes=scopes,
        indexes=indexes,
        projects=projects,
        expires_at=expires_at,
        description=description or "",
    )
    return Answer({"id": token.id, "token": token.secret}, 201)


def get_tokens(call: Call) -> Answer:
    """Every token without its secret, oldest first, or those of one user."""
    found = list_tokens(call.store, call.identity, call.query.get("user"))
    return Answer({"tokens": [asdict(token) for token in found]})


def delete_token(call: Call) -> Answer:
    """Revoke a token; it stops working at the next request."""
    revoke_token(call.store, call.identity, call.number("token"))
    return Answer(None, 204)


_SCOPES = listed(one_of(*SCOPES))
_NAMES = nullable(listed(TEXT))
_TOKEN = record(
    {
        "id": COUNT,
        "user": TEXT,
        "scopes": _SCOPES,
        "indexes": _NAMES,
        "projects": _NAMES,
        "description": TEXT,
        "created_at": MOMENT,
        "expires_at": nullable(MOMENT),
        "revoked_at": nullable(MOMENT),
        "last_used_at": nullable(MOMENT),
    }
)

ENDPOINTS = (
    Endpoint(
        "POST",
        "/tokens",
        post_token,
        right="admin",
        body=record(
            {"user": given(200)},
            {
                "scopes": nullable(_SCOPES),
                "indexes": _NAMES,
                "projects": _NAMES,
                "expires_at": nullable(MOMENT),
                "description": nullable(given(1000)),
            },
        ),
        answers={201: record({"id": COUNT, "token": TEXT})},
    ),
    Endpoint(
        "GET",
        "/tokens",
        get_tokens,
        right="admin",
        query={"user": given()},
        answers={200: record({"tokens": listed(_TOKEN)})},
    ),
    Endpoint(
        "DELETE",
        "/tokens/{token}",
        delete_token,
        right="admin",
        path_schemas={"token": COUNT},
        answers={204: None},
    ),
)
