"""API tokens, and the trusted publishers that exchange ID tokens for some: make, list and end them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.people.access import IssuedToken, NewToken, Token
from conveyor.domain.people.publishers import NewPublisher, Publisher
from conveyor.domain.words.records import Count, Text
from conveyor.operations.people.publishers import add_publisher, list_publishers, remove_publisher
from conveyor.operations.people.tokens import create_token, list_tokens, revoke_token
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def post_token(call: Call) -> Answer:
    """Make a token for a user; it is shown only once."""
    return Answer(create_token(call.store, call.identity, call.read(NewToken, what="the token")), 201)


def get_tokens(call: Call) -> Answer:
    """Every token without its secret, oldest first, or those of one user."""
    return Answer({"tokens": list_tokens(call.store, call.identity, call.query.get("user"))})


def delete_token(call: Call) -> Answer:
    """Revoke a token; it stops working at the next request."""
    revoke_token(call.store, call.identity, call.number("token"))
    return Answer(None, 204)


def get_publishers(call: Call) -> Answer:
    """Every trusted publisher, by number."""
    return Answer({"publishers": list_publishers(call.store, call.identity)})


def post_publisher(call: Call) -> Answer:
    """Let jobs of a CI host publish a project into an index."""
    asked = call.read(NewPublisher, what="the publisher")
    return Answer(add_publisher(call.store, call.identity, asked), 201)


def delete_publisher(call: Call) -> Answer:
    """Remove a trusted publisher; its tokens stop working at the next request."""
    remove_publisher(call.store, call.identity, call.number("publisher"))
    return Answer(None, 204)


ENDPOINTS = (
    Endpoint("POST", "/tokens", post_token, right="admin", body=NewToken, answers={201: IssuedToken}),
    Endpoint(
        "GET",
        "/tokens",
        get_tokens,
        right="admin",
        query={"user": Text},
        answers={200: ListOf("tokens", Token)},
    ),
    Endpoint(
        "DELETE",
        "/tokens/{token}",
        delete_token,
        right="admin",
        in_path={"token": Count},
        answers={204: None},
    ),
    Endpoint(
        "GET", "/publishers", get_publishers, right="admin", answers={200: ListOf("publishers", Publisher)}
    ),
    Endpoint(
        "POST", "/publishers", post_publisher, right="admin", body=NewPublisher, answers={201: Publisher}
    ),
    Endpoint(
        "DELETE",
        "/publishers/{publisher}",
        delete_publisher,
        right="admin",
        in_path={"publisher": Count},
        answers={204: None},
    ),
)
