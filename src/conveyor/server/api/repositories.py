"""Repositories that runs may be asked for, and webhooks that ask: register, list and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.runs.repositories import NewRepository, Repository, RepositoryRemoval
from conveyor.domain.runs.webhooks import NewWebhook, Webhook, WebhookAnswer, WebhookMade
from conveyor.operations.runs.repositories import add_repository, list_repositories, remove_repository
from conveyor.operations.runs.webhooks import add_webhook, list_webhooks, receive_delivery, remove_webhook
from conveyor.server.api.endpoints import Answer, DocumentOf, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_repositories(call: Call) -> Answer:
    """Every repository that runs may be asked for, by project."""
    return Answer({"repositories": list_repositories(call.store, call.identity)})


def post_repository(call: Call) -> Answer:
    """Let runs of a repository be asked for and release this project."""
    asked = call.read(NewRepository, what="the repository")
    return Answer(add_repository(call.store, call.identity, asked), 201)


def post_repository_removal(call: Call) -> Answer:
    """Stop a repository's runs from releasing this project."""
    asked = call.read(RepositoryRemoval, what="the repository")
    remove_repository(call.store, call.identity, asked.project, asked.url)
    return Answer(None, 204)


def get_webhooks(call: Call) -> Answer:
    """Every webhook of a git host, by repository."""
    return Answer({"webhooks": list_webhooks(call.store, call.identity)})


def post_webhook(call: Call) -> Answer:
    """Register a webhook; the answer holds its secret, this once."""
    return Answer(add_webhook(call.store, call.identity, call.read(NewWebhook, what="the webhook")), 201)


def delete_webhook(call: Call) -> Answer:
    """Refuse the deliveries of a webhook from now on."""
    remove_webhook(call.store, call.identity, call.path["webhook"])
    return Answer(None, 204)


def post_delivery(call: Call) -> Answer:
    """Tell of a push, as a git host does; signed as this host signs."""
    return Answer(receive_delivery(call.store, call.path["webhook"], call.headers, call.body), 202)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/repositories",
        get_repositories,
        right="admin",
        answers={200: ListOf("repositories", Repository)},
    ),
    Endpoint(
        "POST",
        "/repositories",
        post_repository,
        right="admin",
        body=NewRepository,
        answers={201: Repository},
    ),
    Endpoint(
        "POST",
        "/repositories/removals",
        post_repository_removal,
        right="admin",
        body=RepositoryRemoval,
        answers={204: None},
    ),
    Endpoint("GET", "/webhooks", get_webhooks, right="admin", answers={200: ListOf("webhooks", Webhook)}),
    Endpoint("POST", "/webhooks", post_webhook, right="admin", body=NewWebhook, answers={201: WebhookMade}),
    Endpoint("DELETE", "/webhooks/{webhook}", delete_webhook, right="admin", answers={204: None}),
    Endpoint(
        "POST",
        "/webhooks/{webhook}/deliveries",
        post_delivery,
        right=None,
        document=DocumentOf("application/json"),
        answers={202: WebhookAnswer},
    ),
)
