"""Users: make one, change a password, disable one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.people.access import scopes_from
from conveyor.domain.people.passwords import MadeUser, NewPassword, NewUser, PasswordChange
from conveyor.operations.people.users import add_user, disable_user, set_password
from conveyor.server.api.endpoints import Answer, Endpoint

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def post_user(call: Call) -> Answer:
    """Make a user; a user who has no password can only use tokens."""
    asked = call.read(NewUser, what="the user")
    add_user(call.store, call.identity, asked.name, password=asked.password, scopes=asked.scopes)
    return Answer(MadeUser(asked.name, tuple(sorted(scopes_from(asked.scopes)))), 201)


def put_password(call: Call) -> Answer:
    """Give a user a new password; the old one stops working at once, tokens only on request."""
    asked = call.read(NewPassword, what="the password")
    done = set_password(
        call.store,
        call.identity,
        call.path["user"],
        asked.password,
        revoke_tokens=asked.revoke_tokens,
    )
    return Answer(done)


def delete_user(call: Call) -> Answer:
    """Disable a user permanently: neither its password nor its tokens work any longer."""
    disable_user(call.store, call.identity, call.path["user"])
    return Answer(None, 204)


ENDPOINTS = (
    Endpoint("POST", "/users", post_user, right="admin", body=NewUser, answers={201: MadeUser}),
    Endpoint(
        "PUT",
        "/users/{user}/password",
        put_password,
        right="admin",
        body=NewPassword,
        answers={200: PasswordChange},
    ),
    Endpoint("DELETE", "/users/{user}", delete_user, right="admin", answers={204: None}),
)
