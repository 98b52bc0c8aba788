"""Pipeline workers: register one, list them, revoke one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.operations.people.signers import add_worker, list_workers, revoke_worker
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import MOMENT, TEXT, given, listed, nullable, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_workers(call: Call) -> Answer:
    """Every worker by name, revoked ones too."""
    return Answer(
        {
            "workers": [
                {
                    "name": worker.name,
                    "key_id": worker.key_id,
                    "public_key": worker.public_key,
                    "registered_at": worker.registered_at,
                    "revoked_at": worker.revoked_at,
                }
                for worker in list_workers(call.store, call.identity)
            ]
        }
    )


def post_worker(call: Call) -> Answer:
    """Register a worker with its public key; its token is shown this once."""
    fields = call.fields("the worker")
    name = fields.text("name", max_length=200)
    public_key = fields.text("public_key", max_length=4096)
    fields.finish(is_closed=True)
    registered = add_worker(call.store, call.identity, name, public_key)
    return Answer({"token": registered.token, "key_id": registered.key_id}, 201)


def delete_worker(call: Call) -> Answer:
    """Revoke a worker: its evidence counts no more, its tokens open nothing."""
    revoke_worker(call.store, call.identity, call.path["worker"])
    return Answer(None, 204)


_WORKER = record(
    {
        "name": TEXT,
        "key_id": TEXT,
        "public_key": TEXT,
        "registered_at": MOMENT,
        "revoked_at": nullable(MOMENT),
    }
)

ENDPOINTS = (
    Endpoint(
        "GET", "/workers", get_workers, right="admin", answers={200: record({"workers": listed(_WORKER)})}
    ),
    Endpoint(
        "POST",
        "/workers",
        post_worker,
        right="admin",
        body=record({"name": given(200), "public_key": given(4096)}),
        answers={201: record({"token": TEXT, "key_id": TEXT})},
    ),
    Endpoint("DELETE", "/workers/{worker}", delete_worker, right="admin", answers={204: None}),
)
