"""Endpoints: each is one line of the table from which the routes and the OpenAPI document are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.words.notation import read_json
from conveyor.domain.words.records import Record, as_json, read_record, reference_to
from conveyor.errors import InvalidInput, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conveyor.blobs import BlobStore
    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.domain.people.access import Identity, Scope
    from conveyor.domain.words.names import NormalizedName
    from conveyor.domain.words.records import Schema
    from conveyor.operations.store.store import Store
    from conveyor.operations.uploads.incoming_files import IncomingFile

R = TypeVar("R", bound=Record)
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

PIECE_BYTES = 1024 * 1024
MAX_BODY_BYTES = 1024 * 1024
"""The limit of a request's body, unless the endpoint has its own."""


def nobody_to_ask(project: NormalizedName) -> bool:
    """Raise UpstreamFailed: only a server can ask upstream."""
    raise UpstreamFailed(
        f"upstream cannot be asked for {project} without a server",
        hint="ask a server: --url URL",
    )


def nobody_to_fetch(file: MirroredFile) -> None:
    """Raise UpstreamFailed: only a server can fetch a mirrored file."""
    raise UpstreamFailed(
        f"{file.filename} cannot be fetched from upstream without a server", hint="ask a server: --url URL"
    )


@dataclass(frozen=True)
class Call:
    """One request, read and authenticated."""

    store: Store
    identity: Identity
    path: Mapping[str, str]
    """Parameters in the path, decoded."""
    query: Mapping[str, str]
    body: bytes
    """Empty if the endpoint takes a file."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    limits: UploadLimits = field(default_factory=UploadLimits)
    file: IncomingFile | None = None
    """The body of an endpoint that takes a file; whoever made it closes it."""
    upstream_has: Callable[[NormalizedName], bool] = nobody_to_ask
    """Whether upstream has a project of that name; raises UpstreamFailed."""
    keep: Callable[[MirroredFile], None] = nobody_to_fetch
    """Fetches a mirrored file and stores it; raises UpstreamFailed."""

    def read(self, record: type[R], *, what: str) -> R:
        """The record in the JSON body; ``what`` names it in faults, such as ``the token``."""
        return read_record(record, read_json(self.body, what="the body"), what=what)

    def number(self, name: str) -> int:
        """A whole number in the path; InvalidInput when no row could have it."""
        return _number(name, self.path[name])

    def query_number(self, name: str, *, default: int) -> int:
        """A whole number in the query."""
        return _number(name, self.query[name]) if name in self.query else default

    def query_text(self, name: str) -> str:
        """A required parameter of the query."""
        value = self.query.get(name)
        if not value:
            raise InvalidInput(f"the query lacks {name}", faults=[f"{name} is missing"])
        return value


@dataclass(frozen=True)
class Answer:
    """The answer: a record, a list of records under its name, or a (stored) document; ``None``: no body."""

    value: object
    status: int = 200

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The value as JSON."""
        return as_json(self.value)


@dataclass(frozen=True)
class Document:
    """Bytes that are not JSON, as the body of an answer."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class StoredDocument:
    """A blob as the body of an answer, read piece by piece while it is sent."""

    sha256: str
    size_bytes: int
    media_type: str

    def pieces(self, blobs: BlobStore) -> Iterator[bytes]:
        """Its bytes; raises StorageFailed."""
        with blobs.open(self.sha256) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece


@dataclass(frozen=True)
class DocumentOf:
    """An answer, or the body of a request, that is not JSON."""

    media_type: str


@dataclass(frozen=True)
class ListOf:
    """An answer that is an object with one list of records, under a name."""

    name: str
    record: type[Record]

    def schema(self) -> Schema:
        """Its schema."""
        items = {"type": "array", "items": reference_to(self.record)}
        return {
            "type": "object",
            "properties": {self.name: items},
            "required": [self.name],
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class Endpoint:
    """A method on a path."""

    method: Method
    path: str
    """Below ``/api/v1``, with parameters in braces."""
    handler: Callable[[Call], Answer]
    """Its docstring's first line is the summary in the OpenAPI document."""
    right: Scope | None
    """The scope that a caller needs, if any. For "read", public data needs no credentials."""
    answers: Mapping[int, type[Record] | ListOf | DocumentOf | None]
    """Status → type of the body, ``None`` for no body. Errors are the same everywhere and not listed here."""
    body: type[Record] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    """Name → type, declared as for a record's field."""
    required_query: tuple[str, ...] = ()
    in_path: Mapping[str, Any] = field(default_factory=dict)
    """The same for parameters in the path that are not plain text."""
    max_body_bytes: int = MAX_BODY_BYTES
    document: DocumentOf | None = None
    """The body, if it is not JSON."""
    takes_file: Callable[[Call], None] | None = None
    """For a body that is a file, has a limit of its own and is not held in memory: raises unless the caller
    may send it; called before it is read."""

    @property
    def operation_id(self) -> str:
        """The handler's name: unique, and the name of the method in generated clients."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


_MAX_NUMBER = 2**63 - 1


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > _MAX_NUMBER:
        raise InvalidInput(f"{name} is not a whole number", faults=[f"{name} is not a whole number"])
    return int(text)
