"""Those whose signatures count: signers, who are people with SSH keys, and pipeline workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.operations.people.signers import (
    ROLES,
    add_signer,
    add_worker,
    list_signers,
    list_workers,
    revoke_signer,
    revoke_worker,
)
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import MOMENT, TEXT, given, listed, named, nullable, one_of, record

if TYPE_CHECKING:
    from conveyor.catalog.people.signers import Signer
    from conveyor.server.api.endpoints import Call


def get_signers(call: Call) -> Answer:
    """Every signer in the order of registration, revoked ones too."""
    return Answer({"signers": [_as_json(signer) for signer in list_signers(call.store, call.identity)]})


def post_signer(call: Call) -> Answer:
    """Register a person's public SSH key."""
    fields = call.fields("the signer")
    principal = fields.text("principal", max_length=200)
    public_key = fields.text("public_key", max_length=16_384)
    role = fields.choice("role", ROLES) if fields.has("role") else "qa"
    valid_until = fields.optional_text("valid_until", max_length=100)
    fields.finish(is_closed=True)
    signer = add_signer(call.store, call.identity, principal, public_key, role=role, valid_until=valid_until)
    return Answer(_as_json(signer), 201)


def delete_signer(call: Call) -> Answer:
    """Revoke every key of a person; earlier signatures count no more either."""
    revoke_signer(call.store, call.identity, call.path["principal"])
    return Answer(None, 204)


def _as_json(signer: Signer) -> dict[str, Any]:
    return {
        "principal": signer.principal,
        "role": signer.role,
        "kind": signer.kind,
        "public_key": signer.public_key,
        "valid_until": signer.valid_until,
        "registered_at": signer.registered_at,
        "revoked_at": signer.revoked_at,
    }


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
        "GET",
        "/signers",
        get_signers,
        right="admin",
        answers={200: record({"signers": listed(named("Signer"))})},
    ),
    Endpoint(
        "POST",
        "/signers",
        post_signer,
        right="admin",
        body=record(
            {"principal": given(200), "public_key": given(16_384)},
            {"role": one_of(*ROLES), "valid_until": nullable(MOMENT)},
        ),
        answers={201: named("Signer")},
    ),
    Endpoint("DELETE", "/signers/{principal}", delete_signer, right="admin", answers={204: None}),
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
