"""Webhooks: administrators register them, git hosts deliver to them, and a push becomes runs.

A delivery asks for runs of the repository that its webhook was registered for, whatever it says of itself,
and with no right beyond that. One that was received before is refused: nothing tells it from a replay.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from conveyor.catalog.runs import queue as rows
from conveyor.domain.people.access import Identity, may_administer
from conveyor.domain.releases.tags import ref_of_run
from conveyor.domain.runs.repositories import canonical_url, command_to_register
from conveyor.domain.runs.states import NewRun
from conveyor.domain.runs.webhooks import (
    Webhook,
    WebhookAnswer,
    WebhookMade,
    check_delivery,
    delivery_digest,
    pushed_refs,
)
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, Forbidden, InvalidInput, NotFound
from conveyor.operations.runs.queue import run_in
from conveyor.operations.store.store import read, record_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.domain.runs.webhooks import NewWebhook
    from conveyor.operations.store.store import Store

REMEMBERED = timedelta(days=90)
"""For how long a delivery is known again."""


def add_webhook(store: Store, identity: Identity, asked: NewWebhook) -> WebhookMade:
    """Register a webhook of a registered repository; its secret is returned this once.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
        InvalidInput: the repository is not registered.
    """
    may_administer(identity)
    repository = canonical_url(asked.repository)
    secret = asked.secret or secrets.token_urlsafe(32)
    with record_change(store, actor=identity.name) as change:
        if not rows.projects_of(change.connection, repository):
            raise InvalidInput(
                f"the repository {repository[:200]} is registered for no project",
                hint=f"register it first: {command_to_register(repository)}",
            )
        webhook = Webhook(
            secrets.token_hex(16), repository, asked.host, asked.index, identity.name, change.at
        )
        rows.insert_webhook(change.connection, webhook, secret=secret)
        detail = {"webhook": webhook.id, "url": repository, "host": asked.host}
        change.event("add-webhook", index=asked.index, detail=detail)
    return WebhookMade(webhook, f"/api/v1/webhooks/{webhook.id}/deliveries", secret)


def list_webhooks(store: Store, identity: Identity) -> list[Webhook]:
    """Every webhook, by repository, without secrets; raises Unauthorized, Forbidden."""
    may_administer(identity)
    with read(store) as connection:
        return rows.all_webhooks(connection)


def remove_webhook(store: Store, identity: Identity, webhook_id: str) -> None:
    """Refuse the deliveries of a webhook from now on; raises Unauthorized, Forbidden, NotFound."""
    may_administer(identity)
    with record_change(store, actor=identity.name) as change:
        if not rows.delete_webhook(change.connection, webhook_id):
            raise _no_webhook()
        change.event("remove-webhook", detail={"webhook": webhook_id})


def receive_delivery(store: Store, webhook_id: str, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
    """Ask for the runs of a push that a git host tells.

    Args:
        store: the store.
        webhook_id: from the path.
        headers: names in lower case.
        body: as it was received.

    Raises:
        NotFound: there is no such webhook.
        Forbidden: it is not signed with the secret of this webhook.
        Conflict: it was received before.
        InvalidInput: it is not a push as this host tells one.
    """
    with read(store) as connection:
        found = rows.find_webhook(connection, webhook_id)
    if found is None:
        raise _no_webhook()
    webhook, secret = found
    check_delivery(webhook.host, secret, headers, body, now_seconds=store.clock().timestamp())
    pushed = pushed_refs(webhook.host, headers, body)
    if not pushed:
        return WebhookAnswer(())
    actor = f"webhook {webhook.id[:8]}"
    with record_change(store, actor=actor) as change:
        if not rows.note_delivery(
            change.connection, webhook.id, delivery_digest(body), received_at=change.at
        ):
            raise Conflict(
                "this delivery was received before",
                hint="to carry its push once more: conveyor pipeline retry RUN --store URL",
            )
        rows.forget_deliveries(change.connection, utc_text(store.clock() - REMEMBERED))
        detail = {"webhook": webhook.id, "refs": [one.ref for one in pushed]}
        change.event("receive-webhook", detail=detail)
        projects = rows.projects_of(change.connection, webhook.repository)
        sender = Identity(actor, frozenset({"run"}), projects=frozenset(projects))
        runs, refused = [], []
        for one in pushed:  # with the delivery, so that a host that repeats it after a crash is not refused
            wanted, reason = ref_of_run(one.ref, one.old, one.new)
            if wanted is not None:
                try:
                    asked = NewRun(webhook.repository, wanted, webhook.index)
                    runs.append(run_in(change, sender, asked).id)
                except (InvalidInput, Forbidden, NotFound, Conflict) as error:
                    reason = error.message
            if reason:
                refused.append(f"{one.ref}: {reason}")
    return WebhookAnswer(tuple(runs), tuple(refused))


def _no_webhook() -> NotFound:
    return NotFound("there is no such webhook", hint="see conveyor store webhook list")
