"""Every error Conveyor raises on purpose, on one page.

Each class fixes how the error looks from outside: an HTTP status for the store's clients and an exit code
for the command line. Each instance says what happened, with values, and what to do next (``hint``)::

    ConveyorError
    ├── InvalidInput               400  2   the input is not well-formed
    │   ├── InvalidName            400  2   a project, index or user name
    │   ├── InvalidVersion         400  2   not PEP 440, or not in canonical form
    │   └── InvalidDistribution    400  2   a wheel or sdist that breaks the standards (all faults at once)
    ├── Unauthorized               401  3   who are you?
    ├── Forbidden                  403  3   known, but not allowed
    │   └── PromotionRefused       403  4   a gate did not pass; carries one verdict per gate
    ├── ChainBroken                403  4   a link between a file and a signed commit is missing or wrong
    ├── NotFound                   404  5   not here
    │   └── Gone                   410  5   no longer here: it was deleted
    ├── MethodNotAllowed           405  2   something is here, but it does not answer this method
    ├── TooSlow                    408  7   the body of a request did not come in time
    ├── Conflict                   409  6   the state of the store does not allow it
    │   └── DistributionExists     409  6   same filename, other bytes
    ├── PreconditionFailed         412  6   the state is not the one that the request requires
    ├── TooLarge                   413  2   over a limit
    ├── TooManyAttempts            429  7   a password was not checked: try again later
    ├── StorageFailed              503  7   disk, database or object store failed; nothing was acknowledged
    │   └── StorageFull            507  7   no space is left
    ├── UpstreamFailed             502  7   another index did not answer as it should
    │   └── UpstreamBusy           503  7   it asks not to be queried for a while
    ├── StoreUnreachable           502  7   the store did not answer a client
    ├── ProjectError               400  8   a checkout that cannot be packaged as it is
    ├── StepFailed                 500  9   a step of a pipeline run failed
    │   └── EquivalenceFailed      500  9   the final is not the tested release candidate
    ├── MissingTool                500 10   a program or an extra is not installed
    └── UnexpectedError            500  1   a bug of ours, as far as a client may know about it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.domain.releases.gates.judged import Verdict


Rule = Literal[
    # the form
    "form", "form-protocol", "form-repeated", "form-digest", "form-filename", "form-metadata", "attestations",
    # the filename
    "filename", "filename-extension", "filename-normalized",
    # any archive
    "archive-paths", "archive-twice", "archive-case", "archive-size",
    # wheels
    "zip-structure", "zip-compression", "zip-encryption", "zip-data-descriptor", "zip-comment", "zip-members",
    "wheel-dist-info", "wheel-data", "wheel-file", "record", "record-complete", "record-hash", "entry-points",
    # sdists
    "tar-structure", "tar-format", "tar-members", "tar-links", "sdist-folder", "sdist-pkg-info",
    # core metadata
    "metadata-size", "metadata-version", "metadata-fields", "metadata-syntax", "metadata-filename", "summary",
    "requirements", "requirement-urls", "addresses", "links", "link-labels", "classifiers", "dynamic",
    "licence-fields", "licence-files", "description-rendering",
    # the store
    "index-unknown", "index-closed", "project-closed", "name-upstream", "name-misleads", "filename-taken",
    "filename-deleted", "version-spelling", "release-closed", "file-size", "project-size",
]  # fmt: skip
"""Rules that refuse uploads, each a row of ``docs/reference/uploads.md``; answers name them in brackets."""


class ConveyorError(Exception):
    """Base of the tree: ``message`` says what happened; ``hint``, if set, says what to do next.

    ``rule`` is the upload rule that was broken, if any.
    """

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, rule: Rule | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.rule = rule

    @property
    def named_message(self) -> str:
        """The message, followed by the rule in brackets."""
        return f"{self.message} [{self.rule}]" if self.rule else self.message

    def __str__(self) -> str:
        return f"{self.named_message}\nhint: {self.hint}" if self.hint else self.named_message


class InvalidInput(ConveyorError):
    """The input is not well-formed; ``faults`` lists every fault found, one sentence each."""

    http_status = 400
    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        faults: Sequence[str] = (),
        hint: str | None = None,
        rule: Rule | None = None,
    ) -> None:
        super().__init__(message, hint=hint, rule=rule)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        if len(self.faults) <= 1:
            return super().__str__()
        listed = "".join(f"\n- {fault}" for fault in self.faults)
        hint = f"\nhint: {self.hint}" if self.hint else ""
        return f"{self.message}{listed}{hint}"


class InvalidName(InvalidInput):
    """A project, index or user name that the standards or the store's rules refuse."""


class InvalidVersion(InvalidInput):
    """A version that is not PEP 440, or not in canonical form where that is required."""


class InvalidDistribution(InvalidInput):
    """A wheel or sdist that breaks the packaging standards, or does not agree with its upload form."""


class Unauthorized(ConveyorError):
    """Credentials are missing or wrong; the answer carries a challenge."""

    http_status = 401
    exit_code = 3


class Forbidden(ConveyorError):
    """The caller is known but not allowed to do this."""

    http_status = 403
    exit_code = 3


class PromotionRefused(Forbidden):
    """At least one gate of the target index did not pass; ``verdicts`` holds one verdict per gate."""

    exit_code = 4

    def __init__(self, message: str, *, verdicts: Sequence[Verdict], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.verdicts = tuple(verdicts)


class ChainBroken(ConveyorError):
    """A link of the chain from a file to a signed commit is missing or wrong; the message names the links."""

    http_status = 403
    exit_code = 4


class NotFound(ConveyorError):
    """The thing asked for is not in this store, or not visible to the caller."""

    http_status = 404
    exit_code = 5


class Gone(NotFound):
    """The thing asked for was in this store and has been deleted."""

    http_status = 410


class MethodNotAllowed(ConveyorError):
    """The resource at this path does not support this method; ``allowed`` lists the methods it supports."""

    http_status = 405
    exit_code = 2

    def __init__(self, message: str, *, allowed: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.allowed = tuple(allowed)


class TooSlow(ConveyorError):
    """A client stopped sending the body of its request, or sent it more slowly than any network link."""

    http_status = 408
    exit_code = 7


class Conflict(ConveyorError):
    """The request is valid, but the state of the store does not allow it."""

    http_status = 409
    exit_code = 6


class DistributionExists(Conflict):
    """A file of that name exists with other bytes; published files never change."""


class PreconditionFailed(ConveyorError):
    """The resource is not the version that the request names (``If-Match``)."""

    http_status = 412
    exit_code = 6


class TooLarge(ConveyorError):
    """A file, a form or an archive is over its limit."""

    http_status = 413
    exit_code = 2


class TooManyAttempts(ConveyorError):
    """A password was not checked: too many wait, or were wrong; retry after ``retry_after_seconds``."""

    http_status = 429
    exit_code = 7

    def __init__(self, message: str, *, retry_after_seconds: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or f"try again in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class StorageFailed(ConveyorError):
    """Disk, database or object store failed; the change was not acknowledged and is not visible."""

    http_status = 503
    exit_code = 7


class StorageFull(StorageFailed):
    """No space is left on a disk of the store: nothing more is accepted until some is freed."""

    http_status = 507


class UpstreamFailed(ConveyorError):
    """Another index did not answer, or its answer breaks the standards."""

    http_status = 502
    exit_code = 7


class UpstreamBusy(UpstreamFailed):
    """Another index is overloaded; ``retry_after_seconds``: how long it asks us to wait."""

    http_status = 503

    def __init__(self, message: str, *, retry_after_seconds: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or f"try again in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class StoreUnreachable(ConveyorError):
    """The store did not answer a client, or answered with something that is not a store's answer."""

    http_status = 502
    exit_code = 7


class ProjectError(ConveyorError):
    """A checkout that cannot be packaged, trained or released as it stands."""

    http_status = 400
    exit_code = 8


class StepFailed(ConveyorError):
    """A step of a pipeline run failed; ``log`` is the tail of what the step printed."""

    exit_code = 9

    def __init__(self, message: str, *, log: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log


class EquivalenceFailed(StepFailed):
    """The rebuilt final release differs from the tested release candidate in more than its version."""


class MissingTool(ConveyorError):
    """A program on the PATH or an extra of this package is missing."""

    exit_code = 10


class UnexpectedError(ConveyorError):
    """A bug of ours: the store's log says what happened; the client is told only where in the log to look."""
