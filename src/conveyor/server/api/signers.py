"""Signers, who are people with SSH or OpenPGP keys, and pipeline workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.people.keys import IssuedWorker, NewSigner, NewWorker, Signer, Worker
from conveyor.operations.people.signers import (
    add_signer,
    add_worker,
    list_signers,
    list_workers,
    revoke_signer,
    revoke_worker,
)
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_signers(call: Call) -> Answer:
    """Every signer in order of registration, including revoked ones."""
    return Answer({"signers": list_signers(call.store, call.identity)})


def post_signer(call: Call) -> Answer:
    """Register a person's public key, SSH or OpenPGP."""
    return Answer(add_signer(call.store, call.identity, call.read(NewSigner, what="the signer")), 201)


def delete_signer(call: Call) -> Answer:
    """Revoke every key of a person; earlier signatures no longer count either."""
    revoke_signer(call.store, call.identity, call.path["principal"])
    return Answer(None, 204)


def get_workers(call: Call) -> Answer:
    """Every worker by name, including revoked ones."""
    return Answer({"workers": list_workers(call.store, call.identity)})


def post_worker(call: Call) -> Answer:
    """Register a worker with its public key; its token is shown only once."""
    asked = call.read(NewWorker, what="the worker")
    return Answer(add_worker(call.store, call.identity, asked.name, asked.public_key), 201)


def delete_worker(call: Call) -> Answer:
    """Revoke a worker: its evidence no longer counts, and its tokens stop working."""
    revoke_worker(call.store, call.identity, call.path["worker"])
    return Answer(None, 204)


ENDPOINTS = (
    Endpoint("GET", "/signers", get_signers, right="admin", answers={200: ListOf("signers", Signer)}),
    Endpoint("POST", "/signers", post_signer, right="admin", body=NewSigner, answers={201: Signer}),
    Endpoint("DELETE", "/signers/{principal}", delete_signer, right="admin", answers={204: None}),
    Endpoint("GET", "/workers", get_workers, right="admin", answers={200: ListOf("workers", Worker)}),
    Endpoint("POST", "/workers", post_worker, right="admin", body=NewWorker, answers={201: IssuedWorker}),
    Endpoint("DELETE", "/workers/{worker}", delete_worker, right="admin", answers={204: None}),
)
