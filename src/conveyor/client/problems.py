"""Errors as plain data: written into answers and states, and raised again as the same classes.

``problem_of`` is the only writer and ``error_from`` the only reader of answers of a store (problem+json, RFC
9457) and of errors that a pipeline keeps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from conveyor import errors
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.words.records import Count, Record, read_record
from conveyor.errors import (
    ConveyorError,
    InvalidInput,
    PromotionRefused,
    StepFailed,
    StoreUnreachable,
    TooManyAttempts,
    UpstreamBusy,
)


@dataclass(frozen=True)
class Problem(Record):
    """An error, with its next step."""

    leaves_out_defaults = True
    title: Annotated[str, "The class of the error."]
    detail: Annotated[str, "What happened, with values."]
    status: Annotated[int, "The HTTP status."]
    type: Annotated[str, "Always about:blank; the title says which error it is."] = ""
    hint: Annotated[str | None, "What to do next."] = None
    rule: Annotated[str | None, "The rule for uploads that was broken."] = None
    faults: Annotated[tuple[str, ...], "Every fault of what was given, one sentence each."] = ()
    retry_after_seconds: Annotated[Count | None, "After how many seconds to try again."] = None
    verdicts: Annotated[tuple[Verdict, ...], "One per gate, when a promotion was refused."] = ()
    log: Annotated[str, "What a step of a pipeline wrote last."] = ""


def problem_of(error: ConveyorError) -> Problem:
    """The error as plain data."""
    return Problem(
        type="about:blank",
        title=type(error).__name__,
        status=error.http_status,
        detail=error.message,
        hint=error.hint or None,
        rule=error.rule,
        faults=error.faults if isinstance(error, InvalidInput) else (),
        retry_after_seconds=(
            error.retry_after_seconds if isinstance(error, (TooManyAttempts, UpstreamBusy)) else None
        ),
        verdicts=error.verdicts if isinstance(error, PromotionRefused) else (),
        log=error.log if isinstance(error, StepFailed) else "",
    )


def error_from(problem: Problem) -> ConveyorError:
    """The error again, of its own class; if the class is unknown here, one that fits the status."""
    kind = getattr(errors, problem.title, None)
    if not isinstance(kind, type) or not issubclass(kind, ConveyorError):
        kind = _CLASSES.get(problem.status, StoreUnreachable)
    error = _made(kind, problem)
    error.hint = problem.hint
    error.rule = problem.rule  # type: ignore[assignment]  # of a newer store, perhaps
    return error


def _made(kind: type[ConveyorError], problem: Problem) -> ConveyorError:
    if issubclass(kind, PromotionRefused):
        return kind(problem.detail, verdicts=problem.verdicts)
    if issubclass(kind, InvalidInput):
        return kind(problem.detail, faults=problem.faults)
    if issubclass(kind, StepFailed):
        return kind(problem.detail, log=problem.log)
    if issubclass(kind, (TooManyAttempts, UpstreamBusy)):
        return kind(problem.detail, retry_after_seconds=problem.retry_after_seconds or 0)
    return kind(problem.detail)


MAX_ERROR_CHARACTERS = 2000
"""How much is shown of an answer that is not ours."""

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
"""Status → class, for answers that name no class of ours."""


def error_of(status: int, content_type: str, body: bytes) -> ConveyorError:
    """The error in an answer, of the class that the store raised."""
    text = body.decode(errors="replace")
    if content_type.startswith("application/problem+json"):
        try:
            problem = read_record(Problem, json.loads(text), what="the answer", is_told=True)
            if problem.title != PromotionRefused.__name__ or problem.verdicts:
                return error_from(problem)
        except (ValueError, InvalidInput):
            pass
    if content_type.startswith("text/plain") and status in _CLASSES:
        return _from_plain_text(status, text)
    return StoreUnreachable(
        f"the store answered {status}: {text[:MAX_ERROR_CHARACTERS].strip() or 'nothing'}",
        hint="is this the URL of a store?",
    )


def _from_plain_text(status: int, text: str) -> ConveyorError:
    """Read the plain text for upload clients: the message, one line per fault, and the hint."""
    lines = text.strip().splitlines() or [f"the store answered {status}"]
    hint = lines.pop().removeprefix("hint: ") if len(lines) > 1 and lines[-1].startswith("hint: ") else None
    kind = _CLASSES[status]
    if issubclass(kind, InvalidInput):
        return kind(lines[0], faults=tuple(lines[1:]), hint=hint)
    return kind("; ".join(lines), hint=hint)
