"""Users: make one, change a password, disable one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.domain.people.access import SCOPES
from conveyor.domain.people.passwords import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH
from conveyor.operations.people.users import add_user, disable_user, set_password
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, FLAG, TEXT, USER, given, listed, nullable, one_of, record

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


def put_password(call: Call) -> Answer:
    """Give a user a new password; the old one stops working at the next request, tokens only if asked for."""
    fields = call.fields("the password")
    password = fields.text("password", max_length=MAX_PASSWORD_LENGTH)
    revoke_tokens = fields.flag("revoke_tokens", default=False)
    fields.finish(is_closed=True)
    done = set_password(call.store, call.identity, call.path["user"], password, revoke_tokens=revoke_tokens)
    return Answer(asdict(done))


def delete_user(call: Call) -> Answer:
    """Disable a user for ever: neither its password nor its tokens open anything any more."""
    disable_user(call.store, call.identity, call.path["user"])
    return Answer(None, 204)


_SCOPES = listed(one_of(*SCOPES))
_PASSWORD = given(MAX_PASSWORD_LENGTH) | {
    "minLength": MIN_PASSWORD_LENGTH,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",  # no control characters
}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/users",
        post_user,
        right="admin",
        body=record({"name": USER, "scopes": _SCOPES}, {"password": nullable(_PASSWORD)}),
        answers={201: record({"name": TEXT, "scopes": _SCOPES})},
    ),
    Endpoint(
        "PUT",
        "/users/{user}/password",
        put_password,
        right="admin",
        body=record({"password": _PASSWORD}, {"revoke_tokens": FLAG}),
        answers={200: record({"working_tokens": COUNT, "revoked_tokens": COUNT})},
    ),
    Endpoint("DELETE", "/users/{user}", delete_user, right="admin", answers={204: None}),
)
