"""Answers as errors: what a store refuses is raised here as it was raised there."""

from __future__ import annotations

import json
from typing import Any

from conveyor import errors
from conveyor.client.answers import read_verdicts
from conveyor.errors import (
    ConveyorError,
    InvalidInput,
    PromotionRefused,
    StoreUnreachable,
    TooManyAttempts,
    UpstreamBusy,
)

MAX_ERROR_CHARACTERS = 2000
"""How much of an answer that is none of ours is shown."""

_CLASSES: dict[int, type[ConveyorError]] = {
    400: errors.InvalidInput,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    429: errors.TooManyAttempts,
    502: errors.UpstreamFailed,
    503: errors.StorageFailed,
    507: errors.StorageFull,
}
"""For answers that name no class of ours."""


def error_of(status: int, content_type: str, body: bytes) -> ConveyorError:
    """The error that an answer tells of, of the class that the store raised."""
    text = body.decode(errors="replace")
    if content_type.startswith("application/problem+json"):
        try:
            return _from_problem(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
    if content_type.startswith("text/plain") and status in _CLASSES:
        return _from_plain_text(status, text)
    return StoreUnreachable(
        f"the store answered {status}: {text[:MAX_ERROR_CHARACTERS].strip() or 'nothing'}",
        hint="is this URL that of a store?",
    )


def _from_problem(problem: dict[str, Any]) -> ConveyorError:
    message, hint = str(problem["detail"]), problem.get("hint")
    kind = getattr(errors, str(problem["title"]), None)
    if not isinstance(kind, type) or not issubclass(kind, ConveyorError):
        kind = _CLASSES.get(int(problem["status"]), StoreUnreachable)
    if issubclass(kind, PromotionRefused):
        return kind(message, verdicts=read_verdicts(problem), hint=hint)
    if issubclass(kind, InvalidInput):
        return kind(message, faults=tuple(problem.get("faults", ())), hint=hint, rule=problem.get("rule"))
    if issubclass(kind, (TooManyAttempts, UpstreamBusy)):
        return kind(message, retry_after_seconds=int(problem["retry_after_seconds"]), hint=hint)
    error = kind(message, hint=hint)
    error.rule = problem.get("rule")
    return error


def _from_plain_text(status: int, text: str) -> ConveyorError:
    """What upload clients are told: what happened, one line per fault, the hint last."""
    lines = text.strip().splitlines() or [f"the store answered {status}"]
    hint = lines.pop().removeprefix("hint: ") if len(lines) > 1 and lines[-1].startswith("hint: ") else None
    kind = _CLASSES[status]
    if issubclass(kind, InvalidInput):
        return kind(lines[0], faults=tuple(lines[1:]), hint=hint)
    return kind("; ".join(lines), hint=hint)
