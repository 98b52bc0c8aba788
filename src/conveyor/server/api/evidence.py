"""Evidence: envelopes of workers, tag objects of signers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from conveyor.domain.releases.evidence import MAX_ENVELOPE_BYTES
from conveyor.domain.releases.tags import MAX_TAG_OBJECT_BYTES
from conveyor.domain.words.notation import PAYLOAD_TYPE
from conveyor.operations.releases.evidence import add_evidence, add_tag
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import BASE64, COUNT, PROJECT, TEXT, given, listed, one_of, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call

_MAX_TAG_TEXT = MAX_TAG_OBJECT_BYTES * 4 // 3 + 4


def post_evidence(call: Call) -> Answer:
    """Hand in a DSSE envelope with an in-toto statement about one distribution of this store."""
    received = add_evidence(call.store, call.identity, call.body)
    return Answer({"id": received.id}, 201 if received.is_new else 200)


def post_tag(call: Call) -> Answer:
    """Hand in the object of a signed git tag: a signer's word on the tagged commit."""
    fields = call.fields("the tag")
    project = fields.text("project", max_length=300)
    text = fields.text("tag_object", max_length=_MAX_TAG_TEXT)
    try:
        tag_object = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        fields.fault("tag_object", "is not base64")
        tag_object = b""
    fields.finish(is_closed=True)
    received = add_tag(call.store, call.identity, project, tag_object)
    answer = {"version": received.version, "principal": received.signed_by}
    return Answer(answer, 201 if received.is_new else 200)


_ENVELOPE = {
    "type": "object",
    "properties": {
        "payload": BASE64,
        "payloadType": one_of(PAYLOAD_TYPE),
        "signatures": listed(
            {"type": "object", "properties": {"keyid": given(), "sig": BASE64}, "required": ["keyid", "sig"]}
        ),
    },
    "required": ["payload", "payloadType", "signatures"],
}
_TAG_ANSWER = record({"version": TEXT, "principal": TEXT})

ENDPOINTS = (
    Endpoint(
        "POST",
        "/evidence",
        post_evidence,
        right="upload",
        body=_ENVELOPE,
        answers={201: record({"id": COUNT}), 200: record({"id": COUNT})},
        # One more, so that the operation itself says what is too large.
        max_body_bytes=MAX_ENVELOPE_BYTES + 1,
    ),
    Endpoint(
        "POST",
        "/tags",
        post_tag,
        right="upload",
        body=record({"project": PROJECT, "tag_object": BASE64}),
        answers={201: _TAG_ANSWER, 200: _TAG_ANSWER},
    ),
)
