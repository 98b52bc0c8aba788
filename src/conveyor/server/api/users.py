"""Users: make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.access import SCOPES
from conveyor.operations.users import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, add_user
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import TEXT, USER, given, listed, nullable, one_of, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def post_user(call: Call) -> Answer:
    """Make a user; without a password it can only use tokens."""
    fields = call.fields("the user")
    name = fields.text("name", max_length=200)
    password = fields.optional_text("password")
    scopes = fields.texts("scopes")
    fields.finish(is_closed=True)
    add_user(call.store, call.identity, name, password=password, scopes=scopes)
    return Answer({"name": name, "scopes": sorted(set(scopes))}, 201)


_SCOPES = listed(one_of(*SCOPES))
_PASSWORD = given(MAX_PASSWORD_LENGTH) | {"minLength": MIN_PASSWORD_LENGTH}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/users",
        post_user,
        right="admin",
        body=record({"name": USER, "scopes": _SCOPES}, {"password": nullable(_PASSWORD)}),
        answers={201: record({"name": TEXT, "scopes": _SCOPES})},
    ),
)
