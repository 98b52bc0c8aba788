"""Promotions: what the gates say, and moving a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.releases.promotions import Judgement, NewPromotion, Promotion, RunWay
from conveyor.operations.releases.advances import judge_now
from conveyor.operations.releases.promotions import find_way, judge_release, promote_release
from conveyor.server.api.endpoints import Answer, Endpoint

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_way(call: Call) -> Answer:
    """The indexes that a pipeline run carries a release through, from where it enters to the last."""
    return Answer(RunWay(find_way(call.store, call.identity, call.query.get("index") or None)))


def get_verdicts(call: Call) -> Answer:
    """One verdict per gate between a release's current index and another, or the one that follows."""
    to = call.query.get("to") or None
    return Answer(judge_release(call.store, call.identity, call.path["project"], call.path["version"], to=to))


def post_judgement(call: Call) -> Answer:
    """Have the store judge a release now: it moves as far as its gates allow. Says what is missing then."""
    to = call.query.get("to") or None
    return Answer(judge_now(call.store, call.identity, call.path["project"], call.path["version"], to=to))


def post_promotion(call: Call) -> Answer:
    """Move every file of a release to an index, if all gates on the way let it pass."""
    asked = call.read(NewPromotion, what="the promotion")
    promotion = promote_release(
        call.store, call.identity, asked.project, asked.version, to=asked.target, source=asked.source
    )
    return Answer(promotion)


ENDPOINTS = (
    Endpoint("GET", "/way", get_way, right="read", query={"index": IndexName}, answers={200: RunWay}),
    Endpoint(
        "GET",
        "/projects/{project}/releases/{version}/verdicts",
        get_verdicts,
        right="read",
        query={"to": IndexName},
        answers={200: Judgement},
    ),
    Endpoint(
        "POST",
        "/projects/{project}/releases/{version}/judgement",
        post_judgement,
        right=None,
        query={"to": IndexName},
        answers={200: Judgement},
    ),
    Endpoint(
        "POST",
        "/promotions",
        post_promotion,
        right="promote",
        body=NewPromotion,
        answers={200: Promotion},
    ),
)
