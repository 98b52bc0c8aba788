"""Promotions: what the gates say, and moving a release."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.operations.releases.promotions import find_way, judge_release, promote_release
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import INDEX_NAME, PROJECT, TEXT, VERSION, listed, named, nullable, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_way(call: Call) -> Answer:
    """The indexes that a pipeline run carries a release through, from where it enters to the last."""
    return Answer({"indexes": list(find_way(call.store, call.identity, call.query.get("index") or None))})


def get_verdicts(call: Call) -> Answer:
    """One verdict per gate between where a release is now and an index, or the one that follows."""
    to = call.query.get("to") or None
    judged = judge_release(call.store, call.identity, call.path["project"], call.path["version"], to=to)
    return Answer(
        {
            "project": judged.project,
            "version": judged.version,
            "to": judged.target,
            "verdicts": [asdict(verdict) for verdict in judged.verdicts],
        }
    )


def post_promotion(call: Call) -> Answer:
    """Move every file of a release to an index, if all gates on the way let it pass."""
    fields = call.fields("the promotion")
    project = fields.text("project", max_length=300)
    version = fields.text("version", max_length=300)
    to = fields.text("to", max_length=200)
    source = fields.optional_text("from", max_length=200)
    fields.finish(is_closed=True)
    promotion = promote_release(call.store, call.identity, project, version, to=to, source=source)
    return Answer(
        {
            "project": promotion.project,
            "version": promotion.version,
            "from": promotion.source,
            "to": promotion.target,
            "files": list(promotion.files),
            "verdicts": [asdict(verdict) for verdict in promotion.verdicts],
        }
    )


_VERDICTS = listed(named("Verdict"))

ENDPOINTS = (
    Endpoint(
        "GET",
        "/way",
        get_way,
        right="read",
        query={"index": INDEX_NAME},
        answers={200: record({"indexes": listed(TEXT)})},
    ),
    Endpoint(
        "GET",
        "/projects/{project}/releases/{version}/verdicts",
        get_verdicts,
        right="read",
        query={"to": INDEX_NAME},
        answers={200: record({"project": TEXT, "version": TEXT, "to": TEXT, "verdicts": _VERDICTS})},
    ),
    Endpoint(
        "POST",
        "/promotions",
        post_promotion,
        right="promote",
        body=record(
            {"project": PROJECT, "version": VERSION, "to": INDEX_NAME}, {"from": nullable(INDEX_NAME)}
        ),
        answers={
            200: record(
                {
                    "project": TEXT,
                    "version": TEXT,
                    "from": nullable(TEXT),
                    "to": TEXT,
                    "files": listed(TEXT),
                    "verdicts": _VERDICTS,
                }
            )
        },
    ),
)
